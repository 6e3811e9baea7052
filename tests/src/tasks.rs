//! Making tasks, and looking at them.

use serde::Serialize;
use sqlx::Row as _;
use stint_protocol::{CreateTask, Json, JsonObject, Task, TaskId, TaskState, TaskType};

use crate::platform::TestPlatform;

/// JSON from anything that can be written as JSON.
///
/// # Panics
/// When it cannot.
pub fn json(value: impl Serialize) -> Json {
    Json::of(&value).expect("it can be written as JSON")
}

/// A JSON object from `serde_json::json!({..})`.
///
/// # Panics
/// When it is something else.
pub fn object(value: impl Serialize) -> JsonObject {
    JsonObject::try_from(json(value)).expect("it is an object")
}

/// The simplest task.
pub fn new_task(title: &str) -> CreateTask {
    CreateTask {
        title: title.to_owned(),
        task_type: TaskType::Code,
        task_kind: None,
        description: None,
        priority: None,
        workflow_id: None,
        work_item_id: None,
        workspace_id: None,
        activation_id: None,
        parent_id: None,
        subject_task_id: None,
        subject_work_item_id: None,
        subject_handoff_id: None,
        subject_revision: None,
        assessment_prompt: None,
        stage_name: None,
        role: None,
        is_orchestrator_task: None,
        execution_backend: None,
        input: None,
        context: None,
        role_config: None,
        environment: None,
        metadata: None,
        resource_bindings: None,
        retry_policy: None,
        depends_on: Vec::new(),
        on_dependency_failure: None,
        run_at: None,
        timeout_minutes: None,
        max_abandons: None,
        max_reworks: None,
        requires_approval: None,
        preferred_agent_id: None,
        preferred_worker_id: None,
        token_budget: None,
        cost_cap_usd: None,
        auto_retry: None,
        max_retries: None,
        max_iterations: None,
        llm_max_retries: None,
        request_id: None,
    }
}

/// One move of a task, as its events tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it was; none for its creation.
    pub from: Option<String>,
    /// Where it went.
    pub to: Option<String>,
    /// The operation.
    pub reason: String,
    /// Its attempt.
    pub attempt: Option<i32>,
    /// Whether the holder had to name its attempt.
    pub fenced: Option<bool>,
}

impl TestPlatform {
    /// Makes a task with nothing but a title.
    pub async fn create(&self, title: &str) -> Task {
        self.create_with(title, |_| {}).await
    }

    /// Makes a task.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn create_with(&self, title: &str, change: impl FnOnce(&mut CreateTask)) -> Task {
        let mut task = new_task(title);
        change(&mut task);
        self.admin()
            .create_task(&task)
            .await
            .expect("the task is accepted")
    }

    /// Reads a task.
    ///
    /// # Panics
    /// When there is none.
    pub async fn task(&self, id: TaskId) -> Task {
        self.admin().get_task(id).await.expect("the task exists")
    }

    /// The state a task is in.
    pub async fn state(&self, id: TaskId) -> TaskState {
        self.task(id).await.state
    }

    /// Every move of a task, in order.
    ///
    /// # Panics
    /// When the events cannot be read.
    pub async fn steps(&self, id: TaskId) -> Vec<Step> {
        let rows = sqlx::query(
            "select from_state, to_state, reason, attempt, fenced from task_moves
             where task_id = $1 order by task_seq",
        )
        .bind(id.uuid())
        .fetch_all(&self.sql)
        .await
        .expect("events can be read");
        rows.iter()
            .map(|row| Step {
                from: row.get("from_state"),
                to: row.get("to_state"),
                reason: row.get::<Option<String>, _>("reason").unwrap_or_default(),
                attempt: row.get("attempt"),
                fenced: row.get("fenced"),
            })
            .collect()
    }

    /// The operations that moved a task, in order.
    pub async fn reasons(&self, id: TaskId) -> Vec<String> {
        let steps = self.steps(id).await;
        steps.into_iter().map(|step| step.reason).collect()
    }
}

/// The statement that makes 1200 copies of the one row of a table, each of them older than it: ids are in the order
/// of time.
pub fn older_copies(table: &str) -> String {
    format!(
        "insert into {table}
         select (jsonb_populate_record(r, jsonb_build_object(
             'id', overlay(gen_random_uuid()::text placing '0000' from 1)))).*
         from {table} r, generate_series(1, 1200)"
    )
}
