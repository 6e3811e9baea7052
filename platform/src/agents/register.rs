//! An agent registers, by itself or with its worker.

use protocol::{
    AgentId, AgentProtocol, AgentStatus, EntityType, ExecutionMode, HostedAgent, JsonObject,
    RegisterAgent, RegisteredAgent, Scope, WorkerId,
};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{INTERVAL_SECONDS, store};
use crate::db::{Note, Tx};
use crate::error::Error;
use crate::events::{self, NewEvent};
use crate::holders::{self, FREE_DATA_BYTES_MAX};
use crate::http::Caller;
use crate::keys::{Mint, mint};

/// The tag that agents which take orchestrator tasks have.
const ORCHESTRATOR_TAG: &str = "orchestrator";

/// An agent that is about to be stored, checked and with its defaults.
#[derive(Clone, Debug)]
pub struct NewAgent<'a> {
    /// The worker that hosts it.
    pub worker: Option<WorkerId>,
    /// For people.
    pub name: &'a str,
    /// How it speaks.
    pub protocol: AgentProtocol,
    /// Which tasks it takes.
    pub execution_mode: ExecutionMode,
    /// The tags it is meant for.
    pub routing_tags: Vec<String>,
    /// How many leases it may hold at once.
    pub capacity: i32,
    /// How often it means to beat.
    pub heartbeat_interval_seconds: i32,
    /// The worker protocol it speaks.
    pub protocol_version: Option<i32>,
    /// A playbook it works for.
    pub playbook: Option<Uuid>,
    /// Tools it needs and can use.
    pub tools: Option<&'a JsonObject>,
    /// Free data.
    pub metadata: Option<&'a JsonObject>,
    /// Facts about its ACP side.
    pub acp: Option<&'a JsonObject>,
    /// A description of itself.
    pub profile: Option<&'a JsonObject>,
}

impl<'a> NewAgent<'a> {
    /// An agent that registers with its worker, which must have been checked.
    pub fn hosted(agent: &'a HostedAgent) -> Self {
        let mode = agent.execution_mode.unwrap_or(ExecutionMode::Specialist);
        Self {
            worker: None,
            name: agent.name.trim(),
            protocol: AgentProtocol::Rest,
            execution_mode: mode,
            routing_tags: with_mode(&agent.routing_tags, mode),
            capacity: agent.capacity.unwrap_or(1),
            heartbeat_interval_seconds: INTERVAL_SECONDS,
            protocol_version: None,
            playbook: None,
            tools: None,
            metadata: agent.metadata.as_ref(),
            acp: None,
            profile: None,
        }
    }

    /// An agent that registers by itself.
    fn alone(wanted: &'a RegisterAgent) -> Result<Self, Error> {
        holders::check_name("name", &wanted.name)?;
        holders::check_routing_tags("routing_tags", &wanted.routing_tags)?;
        for (path, data) in [
            ("tools", &wanted.tools),
            ("acp", &wanted.acp),
            ("profile", &wanted.profile),
            ("metadata", &wanted.metadata),
        ] {
            holders::check_free_data(path, data.as_ref(), FREE_DATA_BYTES_MAX)?;
        }
        let mode = wanted.execution_mode.unwrap_or(ExecutionMode::Specialist);
        Ok(Self {
            worker: wanted.worker_id,
            name: wanted.name.trim(),
            protocol: wanted.protocol.unwrap_or(AgentProtocol::Rest),
            execution_mode: mode,
            routing_tags: with_mode(&wanted.routing_tags, mode),
            capacity: holders::check_capacity("capacity", wanted.capacity)?,
            heartbeat_interval_seconds: holders::check_interval(
                wanted.heartbeat_interval_seconds,
                INTERVAL_SECONDS,
            )?,
            protocol_version: holders::protocol_version(wanted.protocol_version)?,
            playbook: wanted.playbook_id,
            tools: wanted.tools.as_ref(),
            metadata: wanted.metadata.as_ref(),
            acp: wanted.acp.as_ref(),
            profile: wanted.profile.as_ref(),
        })
    }
}

/// The tags of an agent, with the one that its mode brings along.
fn with_mode(tags: &[String], mode: ExecutionMode) -> Vec<String> {
    let mut tags = tags.to_vec();
    let steers = match mode {
        ExecutionMode::Orchestrator | ExecutionMode::Hybrid => true,
        ExecutionMode::Specialist => false,
    };
    if steers && !tags.iter().any(|tag| tag == ORCHESTRATOR_TAG) {
        tags.push(ORCHESTRATOR_TAG.to_owned());
    }
    tags
}

/// Stores an agent, and returns the event that tells of it for the caller to append.
///
/// # Errors
/// Those of the database.
pub async fn add(
    db: &mut PgConnection,
    caller: &Caller,
    agent: &NewAgent<'_>,
) -> Result<(AgentId, NewEvent), Error> {
    let id = AgentId::new();
    store::insert(db, caller.tenant(), id, agent).await?;
    let mut data = Map::from_iter([("name".to_owned(), Value::from(agent.name))]);
    if let Some(worker) = agent.worker {
        data.insert("worker_id".to_owned(), Value::from(worker.to_string()));
    }
    let kind = EntityType::Agent;
    Ok((
        id,
        holders::event(caller, "agent.registered", kind, id.uuid(), data),
    ))
}

/// Stores an agent and makes a key for it, unless it wants none.
///
/// # Errors
/// 403 for a worker that is not the caller's own; 404; 409 `upgrade_required`; 422 for bad fields.
pub(super) async fn register_agent(
    tx: &mut Tx,
    caller: &Caller,
    key_days: u32,
    wanted: &RegisterAgent,
) -> Result<RegisteredAgent, Error> {
    let agent = NewAgent::alone(wanted)?;
    let tenant = caller.tenant();
    if let Some(worker) = agent.worker {
        caller.must_be(None, Some(worker))?;
        // Kept from being deleted until the agent is stored.
        if !store::hold_worker(tx.conn(), tenant, worker).await? {
            return Err(Error::not_found("worker", worker));
        }
    }
    let (id, event) = add(tx.conn(), caller, &agent).await?;
    let api_key = if wanted.issue_api_key.unwrap_or(true) {
        let key = Mint::for_holder(caller, Scope::Agent, id.uuid(), agent.name, key_days);
        let (_, secret) = mint(tx.conn(), tenant, &key).await?;
        Some(secret.reveal().to_owned())
    } else {
        None
    };
    events::append(tx.conn(), tenant, &[event]).await?;
    tx.note(Note::EventsAppended);
    let status = store::statuses(tx.conn(), tenant, &[id]).await?;
    Ok(RegisteredAgent {
        id,
        name: agent.name.to_owned(),
        status: status.get(&id).copied().unwrap_or(AgentStatus::Active),
        api_key,
        heartbeat_interval_seconds: agent.heartbeat_interval_seconds,
        metadata: agent.metadata.cloned().unwrap_or_default(),
        tools: agent.tools.cloned().unwrap_or_default(),
        routing_tags: agent.routing_tags,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_that_take_orchestrator_tasks_have_their_tag_once() {
        let tags = ["role:a".to_owned()];
        assert_eq!(with_mode(&tags, ExecutionMode::Specialist), ["role:a"]);
        let both = with_mode(&tags, ExecutionMode::Hybrid);
        assert_eq!(both, ["role:a", "orchestrator"]);
        assert_eq!(with_mode(&both, ExecutionMode::Orchestrator), both);
    }
}
