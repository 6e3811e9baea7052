//! A worker registers together with its agents, in one transaction.

use protocol::{
    EntityType, PROTOCOL_VERSION, RegisterWorker, RegisteredHostedAgent, RegisteredWorker, Scope,
    WorkerId,
};
use serde_json::{Map, Value};

use super::{INTERVAL_SECONDS, store};
use crate::agents::{self, NewAgent};
use crate::db::{Note, Tx};
use crate::error::Error;
use crate::http::Caller;
use crate::keys::{Mint, mint};
use crate::{events, holders};

/// Agents that one worker can register with.
const HOSTED_AGENTS_MAX: usize = 100;

/// Stores the worker and its agents, and makes a key for each of them.
///
/// # Errors
/// 409 `upgrade_required`; 422 for bad fields.
pub(super) async fn register_worker(
    tx: &mut Tx,
    caller: &Caller,
    key_days: u32,
    wanted: &RegisterWorker,
) -> Result<RegisteredWorker, Error> {
    let new = check(wanted)?;
    let tenant = caller.tenant();
    let id = WorkerId::new();
    store::insert(tx.conn(), tenant, id, wanted, &new).await?;
    let key = Mint::for_holder(
        caller,
        Scope::Worker,
        id.uuid(),
        wanted.name.trim(),
        key_days,
    );
    let (_, secret) = mint(tx.conn(), tenant, &key).await?;
    let mut happened = vec![holders::event(
        caller,
        "worker.registered",
        EntityType::Worker,
        id.uuid(),
        Map::from_iter([("name".to_owned(), Value::from(wanted.name.trim()))]),
    )];
    let mut hosted = Vec::with_capacity(wanted.agents.len());
    for agent in &wanted.agents {
        let agent = NewAgent {
            worker: Some(id),
            heartbeat_interval_seconds: new.heartbeat_interval_seconds,
            protocol_version: new.protocol_version,
            ..NewAgent::hosted(agent)
        };
        let (agent_id, event) = agents::add(tx.conn(), caller, &agent).await?;
        happened.push(event);
        let key = Mint::for_holder(caller, Scope::Agent, agent_id.uuid(), agent.name, key_days);
        let (_, secret) = mint(tx.conn(), tenant, &key).await?;
        hosted.push(RegisteredHostedAgent {
            id: agent_id,
            name: agent.name.to_owned(),
            routing_tags: agent.routing_tags,
            api_key: secret.reveal().to_owned(),
        });
    }
    events::append(tx.conn(), tenant, &happened).await?;
    tx.note(Note::EventsAppended);
    Ok(RegisteredWorker {
        worker_id: id,
        worker_api_key: secret.reveal().to_owned(),
        agents: hosted,
        heartbeat_interval_seconds: new.heartbeat_interval_seconds,
        protocol_version: PROTOCOL_VERSION,
    })
}

/// The numbers of a worker, checked and with their defaults.
pub(super) struct NewWorker {
    pub(super) capacity: i32,
    pub(super) heartbeat_interval_seconds: i32,
    pub(super) protocol_version: Option<i32>,
}

fn check(wanted: &RegisterWorker) -> Result<NewWorker, Error> {
    holders::check_name("name", &wanted.name)?;
    holders::check_routing_tags("routing_tags", &wanted.routing_tags)?;
    for (path, data) in [
        ("host_info", &wanted.host_info),
        ("metadata", &wanted.metadata),
    ] {
        holders::check_free_data(path, data.as_ref(), holders::FREE_DATA_BYTES_MAX)?;
    }
    if wanted.agents.len() > HOSTED_AGENTS_MAX {
        let message = format!(
            "must have at most {HOSTED_AGENTS_MAX} entries, has {}; one agent can have a capacity",
            wanted.agents.len()
        );
        return Err(Error::field("agents", message));
    }
    for agent in &wanted.agents {
        holders::check_name("agents.name", &agent.name)?;
        holders::check_routing_tags("agents.routing_tags", &agent.routing_tags)?;
        holders::check_capacity("agents.capacity", agent.capacity)?;
        let metadata = agent.metadata.as_ref();
        holders::check_free_data("agents.metadata", metadata, holders::FREE_DATA_BYTES_MAX)?;
    }
    Ok(NewWorker {
        capacity: holders::check_capacity("capacity", wanted.capacity)?,
        heartbeat_interval_seconds: holders::check_interval(
            wanted.heartbeat_interval_seconds,
            INTERVAL_SECONDS,
        )?,
        protocol_version: holders::protocol_version(wanted.protocol_version)?,
    })
}
