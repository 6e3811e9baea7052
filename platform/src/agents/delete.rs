//! An agent goes for good.

use protocol::{AgentId, EntityType};
use serde_json::Map;

use super::store;
use crate::db::{Note, Tx};
use crate::error::Error;
use crate::http::Caller;
use crate::keys::revoke_keys_of;
use crate::{events, holders, queue};

/// Deletes an agent, revokes its keys, and lets its leases run out now.
///
/// # Errors
/// 404.
pub(super) async fn delete_agent(
    tx: &mut Tx,
    caller: &Caller,
    agent: AgentId,
) -> Result<(), Error> {
    let tenant = caller.tenant();
    if !store::delete(tx.conn(), tenant, agent).await? {
        return Err(Error::not_found("agent", agent));
    }
    queue::expire_leases_of(tx.conn(), tenant, Some(agent), None).await?;
    revoke_keys_of(tx, tenant, &[agent.uuid()]).await?;
    let kind = EntityType::Agent;
    let event = holders::event(caller, "agent.deregistered", kind, agent.uuid(), Map::new());
    events::append(tx.conn(), tenant, &[event]).await?;
    tx.note(Note::EventsAppended);
    tx.note(Note::DueSooner {
        name: "expire_leases".to_owned(),
    });
    Ok(())
}
