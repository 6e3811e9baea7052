//! What operators ask of workers.

use protocol::{EntityType, ReasonCode, SignalId, SignalType, SignalWorker, TenantId, WorkerId};
use serde_json::{Map, Value};

use super::{signal_store, store};
use crate::app::App;
use crate::db::{Note, Tx};
use crate::error::Error;
use crate::events::NewEvent;
use crate::http::Caller;
use crate::{events, holders};

/// Signals that may wait for one worker: all of them are in every heartbeat answer.
const PENDING_MAX: i64 = 100;
/// Largest free data of a signal.
const DATA_BYTES_MAX: usize = 8 * 1024;

/// Stores a signal for a worker. Asking it to drain is also a fact: see [`drain_worker`].
///
/// # Errors
/// 404 for the worker or the task; 409 `limit_reached`; 422 for bad fields.
pub(super) async fn signal_worker(
    tx: &mut Tx,
    caller: &Caller,
    worker: WorkerId,
    wanted: &SignalWorker,
) -> Result<SignalId, Error> {
    let tenant = caller.tenant();
    holders::check_free_data("data", wanted.data.as_ref(), DATA_BYTES_MAX)?;
    if wanted.signal_type == SignalType::Cancel && wanted.task_id.is_none() {
        return Err(Error::field(
            "task_id",
            "name the task that the worker shall stop",
        ));
    }
    if !store::lock(tx.conn(), tenant, worker).await? {
        return Err(Error::not_found("worker", worker));
    }
    if let Some(task) = wanted.task_id
        && !signal_store::task_exists(tx.conn(), tenant, task).await?
    {
        return Err(Error::not_found("task", task));
    }
    let mut happened = Vec::new();
    if wanted.signal_type == SignalType::Drain
        && store::request_drain(tx.conn(), tenant, worker).await?
    {
        happened.push(drain_requested(caller, worker));
    }
    let signal = send(tx, caller, tenant, worker, wanted, &mut happened).await?;
    events::append(tx.conn(), tenant, &happened).await?;
    tx.note(Note::EventsAppended);
    Ok(signal)
}

/// Makes a worker take nothing new, and asks it to finish what runs. Asking twice changes nothing.
///
/// # Errors
/// 404; 409 `limit_reached`.
pub(super) async fn drain_worker(
    tx: &mut Tx,
    caller: &Caller,
    worker: WorkerId,
) -> Result<(), Error> {
    let tenant = caller.tenant();
    if !store::lock(tx.conn(), tenant, worker).await? {
        return Err(Error::not_found("worker", worker));
    }
    if !store::request_drain(tx.conn(), tenant, worker).await? {
        return Ok(());
    }
    let mut happened = vec![drain_requested(caller, worker)];
    let signal = SignalWorker {
        signal_type: SignalType::Drain,
        task_id: None,
        data: None,
        request_id: None,
    };
    send(tx, caller, tenant, worker, &signal, &mut happened).await?;
    events::append(tx.conn(), tenant, &happened).await?;
    tx.note(Note::EventsAppended);
    Ok(())
}

async fn send(
    tx: &mut Tx,
    caller: &Caller,
    tenant: TenantId,
    worker: WorkerId,
    wanted: &SignalWorker,
    happened: &mut Vec<NewEvent>,
) -> Result<SignalId, Error> {
    if signal_store::count_pending(tx.conn(), tenant, worker).await? >= PENDING_MAX {
        return Err(Error::conflict(
            ReasonCode::LimitReached,
            format!(
                "{PENDING_MAX} signals wait for worker {worker} already; it must acknowledge some first"
            ),
        ));
    }
    let signal = SignalId::new();
    let word = stored_word(wanted.signal_type);
    signal_store::insert(tx.conn(), tenant, worker, signal, word, wanted).await?;
    let mut data = Map::from_iter([
        ("signal_id".to_owned(), Value::from(signal.to_string())),
        ("signal_type".to_owned(), Value::from(word)),
    ]);
    if let Some(task) = wanted.task_id {
        data.insert("task_id".to_owned(), Value::from(task.to_string()));
    }
    let kind = EntityType::Worker;
    happened.push(holders::event(
        caller,
        "worker.signaled",
        kind,
        worker.uuid(),
        data,
    ));
    Ok(signal)
}

fn drain_requested(caller: &Caller, worker: WorkerId) -> NewEvent {
    let kind = EntityType::Worker;
    holders::event(
        caller,
        "worker.drain_requested",
        kind,
        worker.uuid(),
        Map::new(),
    )
}

/// The word under which a signal is stored, and reaches the worker.
fn stored_word(signal_type: SignalType) -> &'static str {
    match signal_type {
        SignalType::Cancel => "cancel_task",
        SignalType::Drain => "set_draining",
        SignalType::ConfigUpdate => "config_update",
    }
}

/// Loop body: forgets signals that were acknowledged a day ago.
pub async fn forget_signals(app: App) -> Result<u64, Error> {
    let mut db = app.db.internal().await?;
    Ok(signal_store::forget(&mut db).await?)
}
