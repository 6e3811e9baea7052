//! The workers of a run, each with one agent, registered through the API with an admin key.

use std::net::SocketAddr;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use stint_protocol::client::Client;
use stint_protocol::{AgentId, HostedAgent, PROTOCOL_VERSION, RegisterWorker, WorkerId};

use crate::wire::{self, CreateRequest, TaskRequest};

/// The role of tasks, unless a scenario needs several.
pub(crate) const ROLE: &str = "bench";
/// How many workers there are; a connection of a scenario is one of them.
pub(crate) const FLEET: usize = 1_000;
/// How often they say that they mean to beat: a database is cloned long after they registered, and nobody
/// must take them for dead.
const HEARTBEAT_SECONDS: i32 = 3_600;
/// Registrations under way at once.
const AT_ONCE: usize = 16;

/// A worker with its agent.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) worker: WorkerId,
    pub(crate) worker_key: String,
    pub(crate) agent: AgentId,
    pub(crate) agent_key: String,
}

/// Registers the fleet.
pub(crate) async fn register(admin: &Client) -> anyhow::Result<Vec<Member>> {
    stream::iter(0..FLEET)
        .map(|number| register_one(admin, number))
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

async fn register_one(admin: &Client, number: usize) -> anyhow::Result<Member> {
    let name = format!("bench-{number}");
    let tags = vec![format!("role:{ROLE}")];
    let agent = HostedAgent {
        name: name.clone(),
        routing_tags: tags.clone(),
        execution_mode: None,
        capacity: Some(1),
        metadata: None,
    };
    let made = admin
        .register_worker(&RegisterWorker {
            name,
            runtime_type: None,
            connection_mode: None,
            routing_tags: tags,
            capacity: Some(1),
            host_info: None,
            heartbeat_interval_seconds: Some(HEARTBEAT_SECONDS),
            protocol_version: Some(PROTOCOL_VERSION),
            metadata: None,
            agents: vec![agent],
            request_id: None,
        })
        .await?;
    let agent = made
        .agents
        .into_iter()
        .next()
        .ok_or_else(|| anyhow::anyhow!("a worker was registered without its agent"))?;
    Ok(Member {
        worker: made.worker_id,
        worker_key: made.worker_api_key,
        agent: agent.id,
        agent_key: agent.api_key,
    })
}

/// What a claim says beside whose it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClaimWords {
    pub(crate) start: bool,
    pub(crate) wait_seconds: u32,
}

impl Member {
    /// A claim for these roles.
    pub(crate) fn claim(&self, address: SocketAddr, roles: &[&str], words: ClaimWords) -> Vec<u8> {
        let tags: Vec<String> = roles
            .iter()
            .map(|role| format!(r#""role:{role}""#))
            .collect();
        let body = format!(
            r#"{{"agent_id":"{}","routing_tags":[{}],"start":{},"wait_seconds":{}}}"#,
            self.agent,
            tags.join(","),
            words.start,
            words.wait_seconds
        );
        wire::request(
            address,
            "POST",
            "/api/v1/tasks/claim",
            &self.agent_key,
            &body,
        )
    }

    /// A start of the first attempt of a task.
    pub(crate) fn start(&self, address: SocketAddr) -> TaskRequest {
        TaskRequest::new(address, &self.agent_key, "start", r#"{"attempt":1}"#)
    }

    /// A completion of the first attempt of a task.
    pub(crate) fn complete(&self, address: SocketAddr, output: &str) -> TaskRequest {
        let body = format!(r#"{{"attempt":1,"output":{output}}}"#);
        TaskRequest::new(address, &self.agent_key, "complete", &body)
    }

    /// A create of a task with this role.
    pub(crate) fn create(&self, address: SocketAddr, role: &str, input: &str) -> CreateRequest {
        CreateRequest::new(address, &self.agent_key, role, input, "")
    }

    /// The worker's heartbeat; it holds nothing.
    pub(crate) fn beat(&self, address: SocketAddr) -> Vec<u8> {
        let path = format!("/api/v1/workers/{}/heartbeat", self.worker);
        wire::request(address, "POST", &path, &self.worker_key, r#"{"leases":[]}"#)
    }
}
