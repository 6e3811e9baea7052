//! The gates of a run: pause, cancellation with a deadline, limits. The runs are made with the queue's own
//! operations, so that nothing but the gates decides.

mod cancel;
mod limits;
mod pause;

use std::collections::BTreeSet;

use stint_platform::queue::{self, Limits, Run};
use stint_protocol::{
    AgentHeartbeat, HeartbeatLease, LeaseRef, Priority, ReasonCode, RetryPolicy, TaskId, TaskState,
    TenantId, WhyReason, WorkItemId, WorkflowId,
};
use stint_tests::{TestPlatform, TestWorker, refused_because, test};
use uuid::Uuid;

/// A run in the default tenant.
struct TestRun<'a> {
    t: &'a TestPlatform,
    tenant: TenantId,
    run: Run,
}

impl<'a> TestRun<'a> {
    async fn with(t: &'a TestPlatform, limits: Limits) -> Self {
        let tenant: Uuid = sqlx::query_scalar("select id from tenants")
            .fetch_one(t.sql())
            .await
            .expect("the default tenant");
        let tenant = TenantId::from(tenant);
        let run = Run {
            workflow: WorkflowId::new(),
            work_item: None,
        };
        let made = Self { t, tenant, run };
        made.change(async |tx| queue::set_limits(tx, tenant, run, limits).await)
            .await;
        made
    }

    async fn open(t: &'a TestPlatform) -> Self {
        Self::with(t, Limits::default()).await
    }

    fn item(&self) -> Self {
        Self {
            t: self.t,
            tenant: self.tenant,
            run: Run {
                workflow: self.run.workflow,
                work_item: Some(WorkItemId::new()),
            },
        }
    }

    async fn change(
        &self,
        operation: impl AsyncFnOnce(
            &mut stint_platform::db::Tx,
        ) -> Result<(), stint_platform::error::Error>,
    ) {
        let app = self.t.app();
        let mut tx = app.db.begin_internal().await.expect("a transaction");
        operation(&mut tx).await.expect("the operation works");
        queue::settle(&mut tx).await.expect("the gates are settled");
        tx.commit(app).await.expect("it commits");
    }

    async fn pause(&self) {
        self.change(async |tx| queue::pause(tx, self.tenant, self.run).await)
            .await;
    }

    async fn resume(&self) {
        self.change(async |tx| queue::resume(tx, self.tenant, self.run).await)
            .await;
    }

    async fn cancel(&self) {
        self.change(async |tx| queue::cancel(tx, self.tenant, self.run, 60).await)
            .await;
    }

    /// Makes a task of the run, as the engine does.
    async fn task(&self, change: impl FnOnce(&mut queue::NewTask)) -> TaskId {
        let mut task = queue::NewTask {
            id: TaskId::new(),
            request_holder: Uuid::nil(),
            request_id: None,
            fingerprint: None,
            title: "part of a run".to_owned(),
            description: None,
            task_type: "custom",
            task_kind: "delivery",
            role: None,
            stage_name: None,
            priority: Priority::Normal.rank(),
            workflow_id: Some(self.run.workflow.uuid()),
            work_item_id: self.run.work_item.map(WorkItemId::uuid),
            workspace_id: None,
            parent_id: None,
            preferred_agent_id: None,
            preferred_worker_id: None,
            is_orchestrator_task: false,
            timeout_minutes: 5,
            max_abandons: 3,
            max_reworks: 10,
            requires_approval: false,
            on_dependency_failure: "fail",
            depends_on: Vec::new(),
            has_output_schema: false,
            retry_policy: None,
            settings: "{}".to_owned(),
            input: "{}".to_owned(),
            context: "{}".to_owned(),
            role_config: "{}".to_owned(),
            environment: "{}".to_owned(),
            resource_bindings: "[]".to_owned(),
            metadata: "{}".to_owned(),
            lane: String::new(),
            available_at: None,
            actor_type: "system",
            actor: None,
        };
        change(&mut task);
        self.change(async |tx| {
            let placed = queue::place_in_run(tx, self.tenant, &[&task]).await?;
            assert!(placed[0].is_made);
            Ok(())
        })
        .await;
        task.id
    }

    async fn tasks(&self, count: usize) -> Vec<TaskId> {
        let mut made = Vec::new();
        for _ in 0..count {
            made.push(self.task(|_| {}).await);
        }
        made
    }
}

async fn why(t: &TestPlatform, task: TaskId) -> WhyReason {
    let why = t.admin().explain_task(task).await.expect("a reason");
    assert!(why.message.len() > 10);
    why.reason
}

async fn states(t: &TestPlatform, tasks: &[TaskId]) -> Vec<TaskState> {
    let mut states = Vec::new();
    for task in tasks {
        states.push(t.state(*task).await);
    }
    states
}

/// Which of these tasks can be claimed.
async fn ready(t: &TestPlatform, tasks: &[TaskId]) -> BTreeSet<usize> {
    let states = states(t, tasks).await;
    (0..tasks.len())
        .filter(|place| states[*place] == TaskState::Ready)
        .collect()
}

async fn beat(worker: &TestWorker, leases: &[LeaseRef]) -> stint_protocol::AgentHeartbeatAnswer {
    let beat = AgentHeartbeat {
        leases: Some(
            leases
                .iter()
                .map(|lease| HeartbeatLease {
                    task_id: lease.task_id,
                    attempt: lease.attempt,
                    progress: None,
                })
                .collect(),
        ),
        ..AgentHeartbeat::default()
    };
    worker
        .agent
        .heartbeat_agent(worker.agent_id, &beat)
        .await
        .expect("a heartbeat")
}

fn one_retry() -> String {
    serde_json::to_string(&RetryPolicy {
        max_attempts: 1,
        backoff_strategy: None,
        initial_backoff_seconds: Some(100.0),
        jitter: Some(0.0),
        retryable_categories: None,
    })
    .expect("a policy")
}
