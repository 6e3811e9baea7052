//! What the platform does by itself about holders that went silent: it tells, and in the end forgets.

use protocol::{EntityType, JsonObject, TenantId};
use uuid::Uuid;

use crate::app::App;
use crate::db::{Note, Tx};
use crate::error::Error;
use crate::events::{self, NewEvent};
use crate::keys::revoke_keys_of;
use crate::loops::Turn;
use crate::{agents, workers};

/// Holders that one turn tells about, or forgets.
pub(crate) const TURN_MAX: i64 = 500;

/// A holder whose standing has changed since an event last told of it.
pub(crate) struct Changed {
    pub(crate) tenant: TenantId,
    pub(crate) id: Uuid,
    /// Its standing now.
    pub(crate) standing: String,
}

/// A holder that was forgotten, with the agents it hosted.
pub(crate) struct Forgotten {
    pub(crate) tenant: TenantId,
    pub(crate) id: Uuid,
}

/// Loop body: tells by events which workers and agents went silent.
pub async fn mark_silent(app: App) -> Result<Turn, Error> {
    let mut tx = app.db.begin_internal().await?;
    let workers = workers::tell_changed(tx.conn(), TURN_MAX).await?;
    let agents = agents::tell_changed(tx.conn(), TURN_MAX).await?;
    let changed = workers.len() + agents.len();
    let is_full = [&workers, &agents]
        .iter()
        .any(|list| i64::try_from(list.len()).is_ok_and(|count| count >= TURN_MAX));
    let happened = workers
        .iter()
        .filter_map(|worker| {
            let event_type = match worker.standing.as_str() {
                "disconnected" => "worker.disconnected",
                "offline" => "worker.offline",
                _ => return None,
            };
            Some((
                worker.tenant,
                by_itself(event_type, EntityType::Worker, worker.id),
            ))
        })
        // An agent that is offline is so with its worker, whose event has told of it.
        .chain(
            agents
                .iter()
                .filter(|agent| agent.standing == "inactive")
                .map(|agent| {
                    let event = by_itself("agent.heartbeat_missed", EntityType::Agent, agent.id);
                    (agent.tenant, event)
                }),
        )
        .collect();
    append(&mut tx, happened).await?;
    tx.commit(&app).await?;
    Ok(Turn {
        changed: changed as u64,
        again_in: is_full.then_some(std::time::Duration::ZERO),
    })
}

/// Loop body: forgets workers and agents that were not heard from for the time of retention.
///
/// Their keys end with them. Nobody who holds a lease is forgotten.
pub async fn forget_holders(app: App) -> Result<u64, Error> {
    let days = app.config.retention.holder_retention_days;
    let mut tx = app.db.begin_internal().await?;
    let agents = agents::forget(tx.conn(), days, TURN_MAX).await?;
    let workers = workers::forget(tx.conn(), days, TURN_MAX).await?;
    let happened = agents
        .iter()
        .map(|agent| (agent, "agent.deregistered", EntityType::Agent))
        .chain(
            workers
                .iter()
                .map(|worker| (worker, "worker.deregistered", EntityType::Worker)),
        )
        .map(|(gone, event_type, kind)| (gone.tenant, by_itself(event_type, kind, gone.id)))
        .collect();
    append(&mut tx, happened).await?;
    for (tenant, ids) in by_tenant(
        agents
            .iter()
            .chain(&workers)
            .map(|gone| (gone.tenant, gone.id)),
    ) {
        revoke_keys_of(&mut tx, tenant, &ids).await?;
    }
    tx.commit(&app).await?;
    Ok((agents.len() + workers.len()) as u64)
}

fn by_itself(event_type: &'static str, entity_type: EntityType, entity: Uuid) -> NewEvent {
    NewEvent {
        event_type,
        entity_type,
        entity,
        actor_type: "system",
        actor: None,
        data: JsonObject::empty(),
    }
}

async fn append(tx: &mut Tx, happened: Vec<(TenantId, NewEvent)>) -> Result<(), Error> {
    if happened.is_empty() {
        return Ok(());
    }
    for (tenant, happened) in by_tenant(happened) {
        events::append(tx.conn(), tenant, &happened).await?;
    }
    tx.note(Note::EventsAppended);
    Ok(())
}

fn by_tenant<T>(
    things: impl IntoIterator<Item = (TenantId, T)>,
) -> std::collections::BTreeMap<TenantId, Vec<T>> {
    let mut groups = std::collections::BTreeMap::<_, Vec<T>>::new();
    for (tenant, thing) in things {
        groups.entry(tenant).or_default().push(thing);
    }
    groups
}
