//! An agent without a worker.

use stint_protocol::client::Client;
use stint_protocol::{AgentId, ClaimTask, CompleteTask, PROTOCOL_VERSION, RegisterAgent};

use crate::json;
use crate::processes::Tenant;

/// An agent that speaks for itself, with its own client.
pub struct Holder {
    /// Names it.
    pub id: AgentId,
    /// Its key.
    pub key: String,
    /// A client with its key.
    pub client: Client,
}

impl Holder {
    /// Registers it.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn register(tenant: &Tenant, name: &str) -> Self {
        let agent = RegisterAgent {
            name: name.to_owned(),
            protocol: None,
            routing_tags: vec!["role:alone".to_owned()],
            execution_mode: None,
            capacity: None,
            worker_id: None,
            playbook_id: None,
            heartbeat_interval_seconds: Some(5),
            protocol_version: Some(PROTOCOL_VERSION),
            issue_api_key: None,
            tools: None,
            acp: None,
            profile: None,
            metadata: None,
            request_id: None,
        };
        let agent = tenant
            .client
            .register_agent(&agent)
            .await
            .expect("an agent");
        let key = agent.api_key.expect("a key");
        Self {
            id: agent.id,
            client: tenant.client.with_key(&key).expect("a key"),
            key,
        }
    }

    /// Asks for a task of the role "alone", started, for ten seconds at a time.
    pub fn claim(&self) -> ClaimTask {
        ClaimTask {
            agent_id: self.id,
            worker_id: None,
            routing_tags: vec!["role:alone".to_owned()],
            workflow_id: None,
            playbook_id: None,
            include_context: None,
            start: Some(true),
            wait_seconds: None,
            lease_seconds: Some(10),
            request_id: None,
        }
    }
}

/// A report of success that names its attempt.
pub fn completion(attempt: i32, output: &str) -> CompleteTask {
    CompleteTask {
        output: json(output),
        attempt: Some(attempt),
        metrics: None,
        git_info: None,
        verification: None,
        agent_id: None,
        worker_id: None,
        request_id: None,
    }
}
