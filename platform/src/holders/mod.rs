//! Holders: workers and agents, the two identities that keep leases alive.
//!
//! An agent holds leases. A worker hosts agents and speaks for all of them, so that one heartbeat
//! of one process is enough. What both have in common lives here; what they are lives in `workers`
//! and `agents`.
//!
//! ```text
//! POST /workers/{id}/heartbeat ─┐  200 ms      ┌─ touch the holder           (workers, agents)
//! POST /agents/{id}/heartbeat  ─┴─► one batch ─┼─ renew what it lists        (queue)
//!                                              └─ tell: lost, cancelled, unlisted, signals
//! ```
//!
//! No status is stored. It follows from the database clock at the moment of reading (the views
//! `worker_standing` and `agent_standing`); `told_status` only remembers what events have told.
//! Whether a lease lives is the lease's own business: a silent holder loses tasks because nobody
//! renews them, and for no other reason.

mod admit;
mod heartbeat;
mod silence;
mod store;

use protocol::{AgentId, EntityType, JsonObject, ReasonCode, WorkerId};
use uuid::Uuid;

use crate::error::Error;
use crate::events::NewEvent;
use crate::http::Caller;

pub use admit::{
    FREE_DATA_BYTES_MAX, check_capacity, check_free_data, check_interval, check_name,
    check_routing_tags, protocol_version,
};
pub use heartbeat::{Beat, HeartbeatLane, Outcome};
pub(crate) use silence::{Changed, Forgotten};
pub use silence::{forget_holders, mark_silent};

/// An identity that keeps leases alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holder {
    /// An agent: its own leases.
    Agent(AgentId),
    /// A worker: the leases of all agents it hosts.
    Worker(WorkerId),
}

/// A worker or agent that was heard from.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// Which one.
    pub holder: Holder,
    /// Whether it must name its attempts, and therefore lists every lease it works on.
    pub is_fenced: bool,
    /// Whether the caller may speak for it: a worker speaks for the agents it hosts.
    pub is_allowed: bool,
}

/// An event about a holder, caused by a caller.
pub fn event(
    caller: &Caller,
    event_type: &'static str,
    entity_type: EntityType,
    entity: Uuid,
    data: serde_json::Map<String, serde_json::Value>,
) -> NewEvent {
    NewEvent {
        event_type,
        entity_type,
        entity,
        actor_type: caller.scope().as_str(),
        actor: Some(caller.actor()),
        data: JsonObject::from(data),
    }
}

/// 403: an agent key for another agent, a worker key for an agent it does not host.
pub fn other_identity(agent: AgentId) -> Error {
    Error::forbidden(
        ReasonCode::OtherIdentity,
        format!("agent {agent} is not hosted by this key's worker; use the agent's own key"),
    )
}
