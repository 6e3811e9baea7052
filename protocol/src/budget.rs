//! Budgets of runs, and what work reports to have used.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::enums::words;
use crate::{AgentId, TaskId, TenantId, Timestamp, WorkerId, WorkflowId};

words! {
    /// Something of which a run may have only so much.
    BudgetDimension {
        /// Tokens of models.
        Tokens = "tokens",
        /// Money.
        Cost = "cost",
        /// Time.
        Duration = "duration",
    }
}

/// What a run has used, and may use. It is told, and stops nothing.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BudgetReport {
    /// Tokens it has used, as those who work for it have reported.
    pub tokens_used: i64,
    /// Tokens it may use.
    pub tokens_limit: Option<i64>,
    /// Tokens that are left.
    pub tokens_remaining: Option<i64>,
    /// Money it has used, as those who work for it have reported.
    pub cost_usd: f64,
    /// Money it may use.
    pub cost_limit_usd: Option<f64>,
    /// Money that is left.
    pub cost_remaining_usd: Option<f64>,
    /// Time since it was launched, until it ended.
    pub elapsed_minutes: f64,
    /// Time it may take.
    pub duration_limit_minutes: Option<i32>,
    /// Time that is left.
    pub time_remaining_minutes: Option<f64>,
    /// Tasks it has made, those of its orchestrator aside.
    pub task_count: i64,
    /// How often its orchestrator was woken.
    pub orchestrator_activations: i64,
    /// From which part of a limit on it counts as near.
    pub warning_threshold_ratio: f64,
    /// Limits that are near, and not exceeded.
    pub warning_dimensions: Vec<BudgetDimension>,
    /// Limits that are exceeded.
    pub exceeded_dimensions: Vec<BudgetDimension>,
}

/// Reports what work on a task has used since the last such report.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MeterUsage {
    /// The task.
    pub task_id: TaskId,
    /// The attempt under which it is held. A holder that registered with a `protocol_version` must name it as long
    /// as it holds the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// The run of the task, to be sure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<WorkflowId>,
    /// The worker; that of the task unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// The agent; that of the task unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// Tokens that models were given.
    #[serde(default)]
    #[schema(minimum = 0)]
    pub tokens_input: i64,
    /// Tokens that models gave.
    #[serde(default)]
    #[schema(minimum = 0)]
    pub tokens_output: i64,
    /// Money.
    #[serde(default)]
    pub cost_usd: f64,
    /// Time that passed.
    #[serde(default)]
    #[schema(minimum = 0)]
    pub wall_time_ms: i64,
    /// Time of processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub cpu_ms: Option<i64>,
    /// The most memory that was in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub memory_peak_bytes: Option<i64>,
    /// What went over the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub network_bytes: Option<i64>,
    /// Makes the request safe to repeat.
    #[serde(
        default,
        rename = "request_id",
        skip_serializing_if = "Option::is_none"
    )]
    pub request_id: Option<String>,
}

/// What work on a task has used, as it was reported.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MeteredUsage {
    /// Names the report.
    pub id: Uuid,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The task.
    pub task_id: TaskId,
    /// The run of the task.
    pub workflow_id: Option<WorkflowId>,
    /// The worker.
    pub worker_id: Option<WorkerId>,
    /// The agent.
    pub agent_id: Option<AgentId>,
    /// Tokens that models were given.
    pub tokens_input: i64,
    /// Tokens that models gave.
    pub tokens_output: i64,
    /// Money.
    pub cost_usd: f64,
    /// Time that passed.
    pub wall_time_ms: i64,
    /// Time of processors.
    pub cpu_ms: Option<i64>,
    /// The most memory that was in use.
    pub memory_peak_bytes: Option<i64>,
    /// What went over the network.
    pub network_bytes: Option<i64>,
    /// When it was reported.
    pub created_at: Timestamp,
}
