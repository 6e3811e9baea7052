//! A worker goes for good, and everything that hangs on it.

use protocol::{EntityType, WorkerId};
use serde_json::Map;

use super::store;
use crate::db::{Note, Tx};
use crate::error::Error;
use crate::http::Caller;
use crate::keys::revoke_keys_of;
use crate::{agents, events, holders, queue};

/// Deletes a worker and its agents, revokes their keys, and lets their leases run out now.
///
/// # Errors
/// 404.
pub(super) async fn delete_worker(
    tx: &mut Tx,
    caller: &Caller,
    worker: WorkerId,
) -> Result<(), Error> {
    let tenant = caller.tenant();
    // From here on nobody can register another agent with it.
    if !store::lock(tx.conn(), tenant, worker).await? {
        return Err(Error::not_found("worker", worker));
    }
    let agents = agents::ids_of(tx.conn(), tenant, worker).await?;
    queue::expire_leases_of(tx.conn(), tenant, None, Some(worker)).await?;
    let mut owners: Vec<_> = agents.iter().map(|agent| agent.uuid()).collect();
    owners.push(worker.uuid());
    revoke_keys_of(tx, tenant, &owners).await?;
    store::delete(tx.conn(), tenant, worker).await?;
    let mut happened = vec![holders::event(
        caller,
        "worker.deregistered",
        EntityType::Worker,
        worker.uuid(),
        Map::new(),
    )];
    happened.extend(agents.iter().map(|agent| {
        let kind = EntityType::Agent;
        holders::event(caller, "agent.deregistered", kind, agent.uuid(), Map::new())
    }));
    events::append(tx.conn(), tenant, &happened).await?;
    tx.note(Note::EventsAppended);
    tx.note(Note::DueSooner {
        name: "expire_leases".to_owned(),
    });
    Ok(())
}
