//! The one projection of a task: facts and position, as every answer shows them.

use protocol::{Json, JsonObject, Priority, RetryPolicy, Task, TaskError, TaskState, TenantId};
use serde::{Deserialize, Serialize};
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use super::state;
use crate::error::Error;
use crate::queue::NewTask;

/// What only agents interpret: stored as one JSON document.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Settings {
    pub(super) subject_task_id: Option<Uuid>,
    pub(super) subject_work_item_id: Option<Uuid>,
    pub(super) subject_handoff_id: Option<Uuid>,
    pub(super) subject_revision: Option<i32>,
    pub(super) assessment_prompt: Option<String>,
    pub(super) token_budget: Option<i64>,
    pub(super) cost_cap_usd: Option<f64>,
    pub(super) auto_retry: bool,
    pub(super) max_retries: i32,
    pub(super) max_iterations: Option<i32>,
    pub(super) llm_max_retries: Option<i32>,
    pub(super) execution_backend: Option<protocol::ExecutionBackend>,
}

impl Settings {
    /// Where the task is meant to run.
    pub(super) fn backend(&self, is_orchestrator_task: bool) -> protocol::ExecutionBackend {
        self.execution_backend.unwrap_or(if is_orchestrator_task {
            protocol::ExecutionBackend::RuntimeOnly
        } else {
            protocol::ExecutionBackend::RuntimePlusTask
        })
    }

    /// Money as the contract writes it: a decimal number in a string.
    pub(super) fn cost_cap(&self) -> Option<String> {
        self.cost_cap_usd.map(|usd| usd.to_string())
    }
}

/// A row of the projection.
pub(super) struct Row {
    pub(super) tenant_id: Uuid,
    pub(super) id: Uuid,
    pub(super) workflow_id: Option<Uuid>,
    pub(super) work_item_id: Option<Uuid>,
    pub(super) workspace_id: Option<Uuid>,
    pub(super) activation_id: Option<Uuid>,
    pub(super) parent_id: Option<Uuid>,
    pub(super) title: String,
    pub(super) description: Option<String>,
    pub(super) task_type: String,
    pub(super) task_kind: String,
    pub(super) role: Option<String>,
    pub(super) stage_name: Option<String>,
    pub(super) priority: i16,
    pub(super) state: String,
    pub(super) state_changed_at: DateTime<Utc>,
    pub(super) attempt: i32,
    pub(super) retry_count: i32,
    pub(super) abandon_count: i32,
    pub(super) rework_count: i32,
    pub(super) agent_id: Option<Uuid>,
    pub(super) worker_id: Option<Uuid>,
    pub(super) claimed_at: Option<DateTime<Utc>>,
    pub(super) started_at: Option<DateTime<Utc>>,
    pub(super) expires_at: Option<DateTime<Utc>>,
    pub(super) progress: Option<String>,
    pub(super) available_at: Option<DateTime<Utc>>,
    pub(super) depends_on: Vec<Uuid>,
    pub(super) blocked_count: i32,
    pub(super) on_dependency_failure: String,
    pub(super) input: String,
    pub(super) context: String,
    pub(super) output: Option<String>,
    pub(super) error: Option<String>,
    pub(super) metrics: Option<String>,
    pub(super) git_info: Option<String>,
    pub(super) verification: Option<String>,
    pub(super) role_config: String,
    pub(super) environment: String,
    pub(super) metadata: String,
    pub(super) retry_policy: Option<String>,
    pub(super) settings: String,
    pub(super) request_id: Option<String>,
    pub(super) is_orchestrator_task: bool,
    pub(super) timeout_minutes: i32,
    pub(super) max_abandons: i32,
    pub(super) max_reworks: i32,
    pub(super) requires_approval: bool,
    pub(super) question: Option<String>,
    pub(super) preferred_agent_id: Option<Uuid>,
    pub(super) preferred_worker_id: Option<Uuid>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
}

impl Row {
    /// What the projection shows of a task that was just made and can be claimed: nothing has happened to it.
    pub(super) fn of_new(tenant: TenantId, task: &NewTask, made_at: DateTime<Utc>) -> Self {
        Self {
            tenant_id: tenant.uuid(),
            id: task.id.uuid(),
            workflow_id: task.workflow_id,
            work_item_id: task.work_item_id,
            workspace_id: task.workspace_id,
            activation_id: None,
            parent_id: task.parent_id,
            title: task.title.clone(),
            description: task.description.clone(),
            task_type: task.task_type.to_owned(),
            task_kind: task.task_kind.to_owned(),
            role: task.role.clone(),
            stage_name: task.stage_name.clone(),
            priority: task.priority,
            state: TaskState::Ready.as_str().to_owned(),
            state_changed_at: made_at,
            attempt: 0,
            retry_count: 0,
            abandon_count: 0,
            rework_count: 0,
            agent_id: None,
            worker_id: None,
            claimed_at: None,
            started_at: None,
            expires_at: None,
            progress: None,
            available_at: None,
            depends_on: task.depends_on.clone(),
            blocked_count: 0,
            on_dependency_failure: task.on_dependency_failure.to_owned(),
            input: task.input.clone(),
            context: task.context.clone(),
            output: None,
            error: None,
            metrics: None,
            git_info: None,
            verification: None,
            role_config: task.role_config.clone(),
            environment: task.environment.clone(),
            metadata: task.metadata.clone(),
            retry_policy: task.retry_policy.clone(),
            settings: task.settings.clone(),
            request_id: task.request_id.clone(),
            is_orchestrator_task: task.is_orchestrator_task,
            timeout_minutes: task.timeout_minutes,
            max_abandons: task.max_abandons,
            max_reworks: task.max_reworks,
            requires_approval: task.requires_approval,
            question: None,
            preferred_agent_id: task.preferred_agent_id,
            preferred_worker_id: task.preferred_worker_id,
            created_at: made_at,
            updated_at: made_at,
        }
    }
}

/// Reads a column that holds a JSON object.
pub(super) fn object(text: String) -> Result<JsonObject, Error> {
    Ok(JsonObject::from_text(text)?)
}

/// Reads a word of a closed set.
pub(super) fn word<W: std::str::FromStr<Err = protocol::UnknownWord>>(
    text: &str,
) -> Result<W, Error> {
    text.parse()
        .map_err(|error: protocol::UnknownWord| anyhow::Error::from(error).into())
}

impl TryFrom<Row> for Task {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let state: TaskState = word(&row.state)?;
        let settings: Settings = serde_json::from_str(&row.settings)?;
        let optional_object = |text: Option<String>| text.map(object).transpose();
        Ok(Self {
            id: row.id.into(),
            latest_handoff: None,
            tenant_id: row.tenant_id.into(),
            workflow_id: row.workflow_id.map(Into::into),
            work_item_id: row.work_item_id.map(Into::into),
            workspace_id: row.workspace_id.map(Into::into),
            activation_id: row.activation_id.map(Into::into),
            parent_id: row.parent_id.map(Into::into),
            title: row.title,
            description: row.description,
            task_type: word(&row.task_type)?,
            task_kind: word(&row.task_kind)?,
            role: row.role,
            stage_name: row.stage_name,
            priority: Priority::from_rank(row.priority),
            state,
            state_changed_at: row.state_changed_at.into(),
            available_actions: state::actions(state),
            attempt: row.attempt,
            retry_count: row.retry_count,
            abandon_count: row.abandon_count,
            rework_count: row.rework_count,
            assigned_agent_id: row.agent_id.map(Into::into),
            assigned_worker_id: row.worker_id.map(Into::into),
            claimed_at: row.claimed_at.map(Into::into),
            started_at: row.started_at.map(Into::into),
            lease_expires_at: row.expires_at.map(Into::into),
            progress: optional_object(row.progress)?,
            available_at: row.available_at.map(Into::into),
            depends_on: row.depends_on.into_iter().map(Into::into).collect(),
            blocked_count: row.blocked_count,
            on_dependency_failure: word(&row.on_dependency_failure)?,
            input: object(row.input)?,
            context: object(row.context)?,
            output: row.output.map(Json::from_text).transpose()?,
            error: row
                .error
                .map(|text| serde_json::from_str::<TaskError>(&text))
                .transpose()?,
            metrics: optional_object(row.metrics)?,
            git_info: optional_object(row.git_info)?,
            verification: optional_object(row.verification)?,
            role_config: object(row.role_config)?,
            environment: object(row.environment)?,
            metadata: object(row.metadata)?,
            retry_policy: row
                .retry_policy
                .map(|text| serde_json::from_str::<RetryPolicy>(&text))
                .transpose()?,
            request_id: row.request_id,
            is_orchestrator_task: row.is_orchestrator_task,
            execution_backend: settings.backend(row.is_orchestrator_task),
            timeout_minutes: row.timeout_minutes,
            max_abandons: row.max_abandons,
            max_reworks: row.max_reworks,
            requires_approval: row.requires_approval,
            question: optional_object(row.question)?,
            preferred_agent_id: row.preferred_agent_id.map(Into::into),
            preferred_worker_id: row.preferred_worker_id.map(Into::into),
            token_budget: settings.token_budget,
            cost_cap_usd: settings.cost_cap(),
            auto_retry: settings.auto_retry,
            max_retries: settings.max_retries,
            max_iterations: settings.max_iterations,
            llm_max_retries: settings.llm_max_retries,
            completed_at: state.is_final().then(|| row.state_changed_at.into()),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
    }
}
