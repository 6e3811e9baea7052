//! What only time changes: delays and pauses that are over, orchestrators that take long, runs in which
//! nothing happens.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use protocol::{TaskId, TaskState, TenantId, WorkflowId};
use serde_json::json;

use super::advance::{advance, notice_stale};
use super::store;
use super::wake::{Wake, wake};
use crate::app::App;
use crate::consequences;
use crate::error::Error;
use crate::loops::Turn;
use crate::queue::{Destination, Order};
use crate::{queue, workflows};

/// Runs that one turn looks at.
const RUNS_PER_TURN: i64 = 100;
/// A little later than what is waited for, so that it is over then.
const SLACK: Duration = Duration::from_millis(5);

/// Loop body: takes the next step in runs in which something is due.
///
/// # Errors
/// Those of the database.
pub async fn dispatch_activations(app: App) -> Result<Turn, Error> {
    let due = {
        let mut db = app.db.internal().await?;
        store::due(&mut db, RUNS_PER_TURN).await?
    };
    let is_full = i64::try_from(due.len()).unwrap_or(i64::MAX) >= RUNS_PER_TURN;
    let mut changed = 0;
    let mut failed = None;
    for (tenant, run) in due {
        // Whatever is wrong with one run, the others go on.
        match AssertUnwindSafe(step(&app, tenant, run))
            .catch_unwind()
            .await
        {
            Ok(Ok(is_changed)) => changed += u64::from(is_changed),
            Ok(Err(error)) => {
                tracing::error!(%error, workflow.id = %run, "the orchestrator of a run could not be woken");
                failed = Some(error);
            }
            Err(_) => {
                tracing::error!(workflow.id = %run, "waking the orchestrator of a run panicked");
                failed =
                    Some(anyhow::anyhow!("waking the orchestrator of run {run} panicked").into());
            }
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    let mut db = app.db.internal().await?;
    let next = store::next_due(&mut db).await?;
    let again_in = match (is_full, next) {
        (true, _) => Some(Duration::ZERO),
        (false, Some(seconds)) => Some(Duration::from_secs_f64(seconds.max(0.0)) + SLACK),
        (false, None) => None,
    };
    Ok(Turn { changed, again_in })
}

/// One run; false when somebody else is at it.
async fn step(app: &App, tenant: TenantId, run: WorkflowId) -> Result<bool, Error> {
    let mut tx = app.db.begin_internal().await?;
    if !store::lock_if_free(tx.conn(), tenant, run).await? {
        return Ok(false);
    }
    if let Some(task) = advance(&mut tx, tenant, run).await? {
        call_off(&mut tx, tenant, task).await?;
    }
    notice_stale(&mut tx, tenant, run).await?;
    workflows::derive(&mut tx, tenant, run).await?;
    queue::settle(&mut tx).await?;
    tx.commit(app).await?;
    Ok(true)
}

/// Nobody needs the task of an orchestrator any more, and nobody has taken it.
async fn call_off(tx: &mut crate::db::Tx, tenant: TenantId, task: TaskId) -> Result<(), Error> {
    let mut order = Order::by_system(
        task,
        vec![TaskState::Pending, TaskState::Ready],
        Destination::Ended(TaskState::Cancelled),
        "cancel",
    );
    order.event_data = Some(json!({ "cancel_reason": "its run has ended" }).to_string());
    consequences::move_and_follow(tx, tenant, &[order]).await?;
    Ok(())
}

/// Loop body: wakes the orchestrators of runs in which nothing has happened for
/// `STINT_ACTIVATION_HEARTBEAT_MINUTES`, and in which nothing would happen by itself.
///
/// # Errors
/// Those of the database.
pub async fn wake_idle_runs(app: App) -> Result<u64, Error> {
    let minutes = i32::try_from(app.config.limits.activation_heartbeat_minutes).unwrap_or(i32::MAX);
    let mut tx = app.db.begin_internal().await?;
    let idle = store::idle(tx.conn(), minutes, RUNS_PER_TURN).await?;
    let changed = idle.len() as u64;
    for (tenant, run) in idle {
        let reason = format!("nothing has happened for {minutes} minutes");
        let beat = Wake::new("heartbeat", reason, json!({}));
        wake(&mut tx, tenant, run, &[beat]).await?;
    }
    queue::settle(&mut tx).await?;
    tx.commit(&app).await?;
    Ok(changed)
}
