//! Reports: what holders tell of their tasks, from their start to their end.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    AgentId, Json, JsonObject, Refusal, TaskError, TaskId, TaskState, Timestamp, WorkerId,
};

/// The holder begins to work.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartTask {
    /// The attempt that the claim returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// The agent that holds the task, if named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// Its worker, if named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// Accepted for compatibility; the database clock counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Accepted like everywhere; a start is safe to repeat without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// The holder reports success.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteTask {
    /// What came out: any JSON value.
    pub output: Json,
    /// The attempt that the claim returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// What the holder measured. `verification_passed: false` holds the output for assessment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<JsonObject>,
    /// What the holder did with git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_info: Option<JsonObject>,
    /// What the holder verified. `passed: false` holds the output for assessment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<JsonObject>,
    /// The agent that holds the task, if named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// Its worker, if named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// Accepted like everywhere; a completion is safe to repeat without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Reports several completions at once; each is judged on its own.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteTasks {
    /// The reports, 1 to 100.
    #[schema(min_items = 1, max_items = 100)]
    pub completions: Vec<Completion>,
    /// Accepted like everywhere; completions are safe to repeat without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// One of several completions.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// The task.
    pub task_id: TaskId,
    /// The attempt that the claim returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// What came out: any JSON value.
    pub output: Json,
    /// What the holder measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<JsonObject>,
    /// What the holder did with git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_info: Option<JsonObject>,
    /// What the holder verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<JsonObject>,
    /// Accepted like everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What became of several completions, in their order.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CompletionResults {
    /// One result per completion.
    pub results: Vec<CompletionResult>,
}

/// What became of one completion.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CompletionResult {
    /// The task.
    pub task_id: TaskId,
    /// The HTTP status a single completion would have had.
    pub status: u16,
    /// The state the task is in now, when the completion was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<TaskState>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal>,
}

/// The holder reports failure.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FailTask {
    /// What went wrong.
    pub error: TaskError,
    /// The attempt that the claim returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// How long to wait before a retry, in place of the policy's pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 86400)]
    pub retry_after_seconds: Option<f64>,
    /// What the holder measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<JsonObject>,
    /// What the holder did with git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_info: Option<JsonObject>,
    /// The agent that holds the task, if named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// Its worker, if named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// Accepted like everywhere; a failure is safe to repeat without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// The holder hands a task back: no failure, no abandon.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseTask {
    /// The attempt that the claim returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// Why: free text, such as `drain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub reason: Option<String>,
    /// How far it has come, for the next holder: free data, 8 KiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<JsonObject>,
    /// The agent that holds the task, if named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// Its worker, if named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// Accepted like everywhere; a release is safe to repeat without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
