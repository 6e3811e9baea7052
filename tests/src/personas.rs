//! Who talks to the platform: each the real typed client.

use std::future::IntoFuture;
use std::pin::Pin;

use stint_protocol::client::{Client, ClientError};
use stint_protocol::{
    AgentId, ClaimTask, ClaimedTask, CompleteTask, CreateTenant, ExecutionMode, FailTask,
    HostedAgent, PROTOCOL_VERSION, RegisterWorker, StartTask, Task, WorkerId,
};
use uuid::Uuid;

use crate::holder;
use crate::platform::{Replica, TestPlatform};
use crate::tasks::json;

type Result<T> = std::result::Result<T, ClientError>;

impl TestPlatform {
    /// The admin of the default tenant, who also makes tenants.
    pub fn admin(&self) -> Client {
        self.first().admin()
    }

    /// Somebody without a key.
    ///
    /// # Panics
    /// When no client can be made.
    pub fn stranger(&self) -> Client {
        Client::without_key(self.url()).expect("an address")
    }

    /// The admin of a tenant of its own.
    ///
    /// # Panics
    /// When the tenant is refused.
    pub async fn other_tenant(&self) -> Client {
        let made = self
            .admin()
            .create_tenant(&CreateTenant {
                name: "Other".to_owned(),
                slug: format!("other-{}", Uuid::new_v4().simple()),
                request_id: None,
            })
            .await
            .expect("a tenant can be made");
        self.first().client(&made.admin_api_key)
    }

    /// A worker with one agent, of the same name and tags. Both speak the worker protocol unless `plain`.
    pub fn worker(&self, name: &str) -> NewWorker {
        self.worker_of(&self.admin(), name)
    }

    /// A worker of another tenant.
    pub fn worker_of(&self, admin: &Client, name: &str) -> NewWorker {
        NewWorker {
            admin: admin.clone(),
            url: self.url().to_owned(),
            name: name.to_owned(),
            tags: Vec::new(),
            capacity: 1,
            agent_capacity: None,
            interval: None,
            is_plain: false,
        }
    }
}

/// A worker that is about to register; `.await` registers it.
pub struct NewWorker {
    admin: Client,
    url: String,
    name: String,
    tags: Vec<String>,
    capacity: i32,
    agent_capacity: Option<i32>,
    interval: Option<i32>,
    is_plain: bool,
}

impl NewWorker {
    /// How many leases it may hold; 1 unless given.
    pub fn capacity(mut self, capacity: i32) -> Self {
        self.capacity = capacity;
        self
    }

    /// How many leases its agent may hold; as many as the worker unless given.
    pub fn agent_capacity(mut self, capacity: i32) -> Self {
        self.agent_capacity = Some(capacity);
        self
    }

    /// The tags that it serves and names in its claims.
    pub fn tags(mut self, tags: &[&str]) -> Self {
        self.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        self
    }

    /// How often it means to beat.
    pub fn beats_every(mut self, seconds: i32) -> Self {
        self.interval = Some(seconds);
        self
    }

    /// Without a protocol version: a plain client of the contract, which need not name attempts.
    pub fn plain(mut self) -> Self {
        self.is_plain = true;
        self
    }

    async fn register(self) -> TestWorker {
        let agent = HostedAgent {
            name: self.name.clone(),
            routing_tags: self.tags.clone(),
            execution_mode: self
                .tags
                .iter()
                .any(|tag| tag == "orchestrator")
                .then_some(ExecutionMode::Hybrid),
            capacity: Some(self.agent_capacity.unwrap_or(self.capacity)),
            metadata: None,
        };
        let wanted = RegisterWorker {
            name: self.name,
            runtime_type: None,
            connection_mode: None,
            routing_tags: self.tags.clone(),
            capacity: Some(self.capacity),
            host_info: None,
            heartbeat_interval_seconds: self.interval,
            protocol_version: (!self.is_plain).then_some(PROTOCOL_VERSION),
            metadata: None,
            agents: vec![agent],
            request_id: None,
        };
        let made = self
            .admin
            .register_worker(&wanted)
            .await
            .expect("a worker can register");
        let agent = made.agents.into_iter().next().expect("one was registered");
        let client = |key: &str| Client::new(&self.url, key).expect("a key and an address");
        TestWorker {
            worker: client(&made.worker_api_key),
            agent: client(&agent.api_key),
            worker_id: made.worker_id,
            agent_id: agent.id,
            worker_key: made.worker_api_key,
            agent_key: agent.api_key,
            tags: self.tags,
        }
    }
}

impl IntoFuture for NewWorker {
    type Output = TestWorker;
    type IntoFuture = Pin<Box<dyn Future<Output = TestWorker>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.register())
    }
}

/// A registered worker with its agent. Claims and reports are the agent's.
#[derive(Clone)]
pub struct TestWorker {
    /// A client with the worker's key.
    pub worker: Client,
    /// A client with the agent's key.
    pub agent: Client,
    /// Names the worker.
    pub worker_id: WorkerId,
    /// Names the agent.
    pub agent_id: AgentId,
    /// The worker's key.
    pub worker_key: String,
    /// The agent's key.
    pub agent_key: String,
    tags: Vec<String>,
}

impl TestWorker {
    /// The same worker, talking to another replica.
    pub fn at(&self, replica: &Replica) -> Self {
        Self {
            worker: replica.client(&self.worker_key),
            agent: replica.client(&self.agent_key),
            ..self.clone()
        }
    }

    /// The claim that it sends.
    pub fn claim_request(&self) -> ClaimTask {
        ClaimTask {
            agent_id: self.agent_id,
            worker_id: None,
            routing_tags: self.tags.clone(),
            workflow_id: None,
            playbook_id: None,
            include_context: None,
            start: None,
            wait_seconds: None,
            lease_seconds: None,
            request_id: None,
        }
    }

    /// Claims.
    ///
    /// # Panics
    /// When the claim is refused.
    pub async fn claim(&self) -> Option<ClaimedTask> {
        self.claim_with(|_| {})
            .await
            .expect("the claim is accepted")
    }

    /// Claims a task that must be there.
    ///
    /// # Panics
    /// When it is not.
    pub async fn claim_one(&self) -> ClaimedTask {
        self.claim().await.expect("there is a task")
    }

    /// Claims and starts a task that must be there.
    ///
    /// # Panics
    /// When it is not.
    pub async fn begin(&self) -> ClaimedTask {
        self.claim_with(|claim| claim.start = Some(true))
            .await
            .expect("the claim is accepted")
            .expect("there is a task")
    }

    /// Claims as the test wants it.
    ///
    /// # Errors
    /// The refusal.
    pub async fn claim_with(
        &self,
        change: impl FnOnce(&mut ClaimTask),
    ) -> Result<Option<ClaimedTask>> {
        let mut claim = self.claim_request();
        change(&mut claim);
        self.agent.claim_task(&claim).await
    }

    /// Starts.
    ///
    /// # Errors
    /// The refusal.
    pub async fn start(&self, task: &ClaimedTask) -> Result<Task> {
        let start = StartTask {
            attempt: Some(task.attempt),
            ..StartTask::default()
        };
        self.agent.start_task(task.id, &start).await
    }

    /// Completes with this output.
    ///
    /// # Errors
    /// The refusal.
    pub async fn complete(&self, task: &ClaimedTask, output: serde_json::Value) -> Result<Task> {
        self.agent
            .complete_task(task.id, &Self::completion(task, output))
            .await
    }

    /// The completion that it sends.
    pub fn completion(task: &ClaimedTask, output: serde_json::Value) -> CompleteTask {
        CompleteTask {
            output: json(output),
            ..holder::completion(task.attempt, "")
        }
    }

    /// Fails with an error of this category.
    ///
    /// # Errors
    /// The refusal.
    pub async fn fail(&self, task: &ClaimedTask, category: &str) -> Result<Task> {
        self.agent
            .fail_task(task.id, &Self::failure(task, category))
            .await
    }

    /// The failure that it sends.
    pub fn failure(task: &ClaimedTask, category: &str) -> FailTask {
        holder::failure(task.attempt, category)
    }

    /// Hands a task back.
    ///
    /// # Errors
    /// The refusal.
    pub async fn release(&self, task: &ClaimedTask) -> Result<Task> {
        self.agent
            .release_task(task.id, &holder::release(task.attempt))
            .await
    }
}
