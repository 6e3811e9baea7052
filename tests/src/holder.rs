//! An agent without a worker.

use stint_protocol::client::Client;
use stint_protocol::{
    AgentHeartbeat, AgentId, ClaimTask, CompleteTask, FailTask, HeartbeatLease, PROTOCOL_VERSION,
    RegisterAgent, ReleaseTask, TaskError, TaskId,
};

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
        Self::register_with(tenant, name, 1).await
    }

    /// Registers one that can hold so many tasks.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn register_with(tenant: &Tenant, name: &str, capacity: i32) -> Self {
        let agent = RegisterAgent {
            name: name.to_owned(),
            protocol: None,
            routing_tags: vec!["role:alone".to_owned()],
            execution_mode: None,
            capacity: Some(capacity),
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

/// A report of failure that names its attempt.
pub fn failure(attempt: i32, category: &str) -> FailTask {
    FailTask {
        error: TaskError {
            category: Some(category.to_owned()),
            message: "it broke".to_owned(),
            recoverable: None,
            details: None,
        },
        attempt: Some(attempt),
        retry_after_seconds: None,
        metrics: None,
        git_info: None,
        agent_id: None,
        worker_id: None,
        request_id: None,
    }
}

/// An attempt hands its task back.
pub fn release(attempt: i32) -> ReleaseTask {
    ReleaseTask {
        attempt: Some(attempt),
        ..ReleaseTask::default()
    }
}

/// A heartbeat that lists these attempts.
pub fn beat(leases: &[(TaskId, i32)]) -> AgentHeartbeat {
    let listed = |&(task_id, attempt): &(TaskId, i32)| HeartbeatLease {
        task_id,
        attempt,
        progress: None,
    };
    AgentHeartbeat {
        leases: Some(leases.iter().map(listed).collect()),
        request_id: None,
    }
}
