//! Playbooks, runs, and working them off.

use serde_json::{Value, json};
use stint_protocol::{
    ClaimTasks, CompleteTasks, Completion, CreateWorkflow, PlaybookId, TenantId, WorkflowDetail,
    WorkflowId, WorkflowState, WorkflowStep, WorkspaceId,
};
use uuid::Uuid;

use crate::personas::TestWorker;
use crate::platform::TestPlatform;
use crate::tasks::object;

/// The tenant of the admin key.
const DEFAULT_TENANT: TenantId = TenantId::of(Uuid::from_u128(1));
/// Tasks that one request claims or completes.
const AT_ONCE: u32 = 50;

impl TestPlatform {
    /// The workspace in which runs of the default tenant happen; made when there is none.
    pub async fn workspace(&self) -> WorkspaceId {
        self.workspace_of(DEFAULT_TENANT).await
    }

    /// The workspace in which runs of a tenant happen; made when there is none.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn workspace_of(&self, tenant: TenantId) -> WorkspaceId {
        // One for each tenant, and of another id than the tenant.
        let id = Uuid::from_u128(tenant.uuid().as_u128() ^ 0xFF);
        sqlx::query(
            "insert into workspaces (tenant_id, id, name, slug, settings) values ($1, $2, 'Work', 'work', '{}')
             on conflict do nothing",
        )
        .bind(tenant.uuid())
        .bind(id)
        .execute(self.sql())
        .await
        .expect("a workspace can be made");
        id.into()
    }

    /// A published playbook of the default tenant with this definition.
    pub async fn playbook(&self, definition: &Value) -> PlaybookId {
        self.playbook_of(DEFAULT_TENANT, definition).await
    }

    /// A published playbook of a tenant with this definition.
    ///
    /// # Panics
    /// When it cannot be stored.
    pub async fn playbook_of(&self, tenant: TenantId, definition: &Value) -> PlaybookId {
        let id = PlaybookId::new();
        let kind = definition["kind"].as_str().unwrap_or("orchestrated");
        sqlx::query(
            "insert into playbooks (tenant_id, id, slug, version, name, outcome, lifecycle, kind, status, is_active,
                                    definition, published_at)
             values ($1, $2, $3, 1, 'Playbook', 'Done', 'planned', $4, 'published', true, $5::text::json, now())",
        )
        .bind(tenant.uuid())
        .bind(id.uuid())
        .bind(id.to_string())
        .bind(kind)
        .bind(definition.to_string())
        .execute(self.sql())
        .await
        .expect("a playbook can be stored");
        id
    }

    /// A request to launch a playbook.
    pub async fn launch_request(&self, playbook: PlaybookId, parameters: Value) -> CreateWorkflow {
        CreateWorkflow {
            playbook_id: playbook,
            workspace_id: self.workspace().await,
            name: "Run".to_owned(),
            operator_note: None,
            initial_input_packet: None,
            parameters: Some(object(parameters)),
            metadata: None,
            config_overrides: None,
            instruction_config: None,
            budget: None,
            live_visibility_mode: None,
            request_id: None,
        }
    }

    /// Launches a run of a graph with these steps.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn launch(&self, steps: Value) -> WorkflowDetail {
        self.launch_with(json!({ "kind": "graph", "steps": steps }), json!({}))
            .await
    }

    /// Launches a run of this definition.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn launch_with(&self, definition: Value, parameters: Value) -> WorkflowDetail {
        let playbook = self.playbook(&definition).await;
        let request = self.launch_request(playbook, parameters).await;
        let launched = self.admin().create_workflow(&request).await;
        launched.expect("the launch is accepted")
    }

    /// Reads a run.
    ///
    /// # Panics
    /// When there is none.
    pub async fn run(&self, id: WorkflowId) -> WorkflowDetail {
        self.admin().get_workflow(id).await.expect("the run exists")
    }

    /// The state of a run.
    pub async fn run_state(&self, id: WorkflowId) -> WorkflowState {
        self.run(id).await.workflow.state
    }

    /// A step of a run.
    ///
    /// # Panics
    /// When there is none of that name.
    pub async fn step(&self, id: WorkflowId, step: &str) -> WorkflowStep {
        let found = self
            .run(id)
            .await
            .steps
            .into_iter()
            .find(|known| known.step_id == step);
        found.unwrap_or_else(|| panic!("the run has a step {step}"))
    }

    /// How each step of a run is, in the order of their names.
    pub async fn step_states(&self, id: WorkflowId) -> Vec<(String, String)> {
        let mut states: Vec<_> = self
            .run(id)
            .await
            .steps
            .into_iter()
            .map(|step| (step.step_id, step.state.to_string()))
            .collect();
        states.sort();
        states
    }
}

impl TestWorker {
    /// A claim of several tasks, handed out already started.
    pub fn claims_request(&self, max_tasks: u32) -> ClaimTasks {
        let one = self.claim_request();
        ClaimTasks {
            max_tasks,
            agent_id: one.agent_id,
            worker_id: None,
            routing_tags: one.routing_tags,
            workflow_id: None,
            include_context: Some(false),
            start: Some(true),
            wait_seconds: None,
            lease_seconds: None,
            request_id: None,
        }
    }

    /// Claims and completes everything there is, many at once, until there is nothing. Each output is what
    /// `output` makes of the input. Answers with how many tasks it were.
    ///
    /// # Panics
    /// When a claim or a completion is refused.
    pub async fn work_off(&self, mut output: impl FnMut(&Value) -> Value) -> usize {
        let mut done = 0;
        loop {
            let claim = self.claims_request(AT_ONCE);
            let Some(claimed) = self.agent.claim_tasks(&claim).await.expect("a claim") else {
                return done;
            };
            let completions: Vec<Completion> = claimed
                .tasks
                .iter()
                .map(|task| Completion {
                    task_id: task.id,
                    attempt: Some(task.attempt),
                    output: crate::tasks::json(output(&Value::Object(task.input.members()))),
                    metrics: None,
                    git_info: None,
                    verification: None,
                    request_id: None,
                })
                .collect();
            done += completions.len();
            let completions = CompleteTasks {
                completions,
                request_id: None,
            };
            let ended = self.agent.complete_tasks(&completions).await;
            for result in ended.expect("completions").results {
                assert_eq!(result.status, 200, "{:?}", result.error);
            }
        }
    }
}
