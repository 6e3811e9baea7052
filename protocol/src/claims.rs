//! Claims: asking for tasks to work on, and the leases that come with them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    ActivationId, AgentId, ExecutionBackend, JsonObject, Priority, TaskId, TaskKind, TaskState,
    TaskType, TenantId, Timestamp, WorkItemId, WorkerId, WorkflowId, WorkspaceId,
};

/// Asks for a task to work on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimTask {
    /// The agent that will hold the task.
    pub agent_id: AgentId,
    /// Its worker, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// The tags served. A task with the role `r` needs `role:r`; a task without a role needs none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routing_tags: Vec<String>,
    /// Only tasks of this workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<WorkflowId>,
    /// Only tasks of runs of this playbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook_id: Option<Uuid>,
    /// Whether the answer has the context; true unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_context: Option<bool>,
    /// Whether to hand the task out already started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<bool>,
    /// How long to wait for a task, 0 to 25 seconds; 0 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 25)]
    pub wait_seconds: Option<u32>,
    /// How long the lease is to be, 2 to 86400 seconds; three heartbeat intervals, at least 30 seconds, unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 2, maximum = 86400)]
    pub lease_seconds: Option<i32>,
    /// Makes the request safe to repeat: the same task and attempt, as long as that attempt lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub request_id: Option<String>,
}

/// Asks for several tasks at once.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimTasks {
    /// How many tasks at most, 1 to 100.
    #[schema(minimum = 1, maximum = 100)]
    pub max_tasks: u32,
    /// The agent that will hold the tasks.
    pub agent_id: AgentId,
    /// Its worker, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// The tags served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routing_tags: Vec<String>,
    /// Only tasks of this workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<WorkflowId>,
    /// Whether the answer has the context; true unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_context: Option<bool>,
    /// Whether to hand the tasks out already started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<bool>,
    /// How long to wait for the first task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 25)]
    pub wait_seconds: Option<u32>,
    /// How long the leases are to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 2, maximum = 86400)]
    pub lease_seconds: Option<i32>,
    /// Makes the request safe to repeat: item n is claimed under `<request_id>#<n>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 240)]
    pub request_id: Option<String>,
}

/// A task together with the lease that was given on it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ClaimedTask {
    /// Names the task.
    pub id: TaskId,
    /// Whose task it is.
    pub tenant_id: TenantId,
    /// The workflow it belongs to.
    pub workflow_id: Option<WorkflowId>,
    /// The work item it belongs to.
    pub work_item_id: Option<WorkItemId>,
    /// The workspace it belongs to.
    pub workspace_id: Option<WorkspaceId>,
    /// The activation that made it.
    pub activation_id: Option<ActivationId>,
    /// For people.
    pub title: String,
    /// For people, longer.
    pub description: Option<String>,
    /// What sort of work it is.
    #[serde(rename = "type")]
    pub task_type: TaskType,
    /// The part it plays.
    pub task_kind: TaskKind,
    /// Who is to do it.
    pub role: Option<String>,
    /// The stage of the workflow.
    pub stage_name: Option<String>,
    /// How urgent it is.
    pub priority: Priority,
    /// `claimed`, or `in_progress` when the claim said `start`.
    pub state: TaskState,
    /// The attempt: the fence that every report must name.
    pub attempt: i32,
    /// How many retries it has had.
    pub retry_count: i32,
    /// How often a silent holder lost it.
    pub abandon_count: i32,
    /// How often it was sent back for changes.
    pub rework_count: i32,
    /// The agent that holds it now.
    pub assigned_agent_id: AgentId,
    /// The worker of that agent.
    pub assigned_worker_id: Option<WorkerId>,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// When the lease ends unless it is renewed, by the database clock.
    pub lease_expires_at: Timestamp,
    /// How long a renewal lasts.
    pub lease_seconds: i32,
    /// How long the attempt may take.
    pub timeout_minutes: i32,
    /// What it works on.
    pub input: JsonObject,
    /// What it should know. Absent when the claim said `include_context: false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<JsonObject>,
    /// Outputs of the tasks it depends on are in `GET /tasks/{id}/context`; these are their ids.
    pub depends_on: Vec<TaskId>,
    /// Settings of its role.
    pub role_config: JsonObject,
    /// The environment it runs in.
    pub environment: JsonObject,
    /// Free data.
    pub metadata: JsonObject,
    /// What the attempt before told about how far it had come.
    pub progress: Option<JsonObject>,
    /// Whether it steers a workflow.
    pub is_orchestrator_task: bool,
    /// Where it is meant to run.
    pub execution_backend: ExecutionBackend,
    /// `tpaov` for orchestrator tasks, else `reactive`.
    pub loop_mode: String,
    /// How many turns the agent may take.
    pub max_iterations: i32,
    /// How often the agent may repeat a model call.
    pub llm_max_retries: i32,
    /// A budget of model tokens.
    pub token_budget: Option<i64>,
    /// A budget of money, as a decimal number in a string.
    pub cost_cap_usd: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Several tasks with their leases.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ClaimedTasks {
    /// The tasks; never empty.
    pub tasks: Vec<ClaimedTask>,
}
