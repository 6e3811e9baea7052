//! Execution logs: what happened while tasks ran, line by line.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::enums::words;
use crate::{
    ActivationId, ExecutionBackend, JsonObject, TaskId, TenantId, Timestamp, WorkItemId,
    WorkflowId, WorkspaceId,
};

words! {
    /// Who wrote a log entry.
    LogSource {
        /// A worker or agent about itself.
        Runtime = "runtime",
        /// A manager of containers.
        ContainerManager = "container_manager",
        /// The platform.
        Platform = "platform",
        /// The program that does a task.
        TaskContainer = "task_container",
    }

    /// What a log entry is about.
    LogCategory {
        /// A call of a model.
        Llm = "llm",
        /// A tool or command.
        Tool = "tool",
        /// A turn of an agent.
        AgentLoop = "agent_loop",
        /// A move of a task.
        TaskLifecycle = "task_lifecycle",
        /// A move of a worker.
        RuntimeLifecycle = "runtime_lifecycle",
        /// A container.
        Container = "container",
        /// A request.
        Api = "api",
        /// A setting.
        Config = "config",
        /// A key or token.
        Auth = "auth",
    }

    /// How important a log entry is.
    LogLevel {
        /// For those who look closely.
        Debug = "debug",
        /// The default.
        Info = "info",
        /// Something is not as it should be.
        Warn = "warn",
        /// Something failed.
        Error = "error",
    }

    /// Where the operation of a log entry stands.
    LogStatus {
        /// It begins.
        Started = "started",
        /// It ended well.
        Completed = "completed",
        /// It ended badly.
        Failed = "failed",
        /// It was passed over.
        Skipped = "skipped",
    }

    /// Whose tool it was.
    ToolOwner {
        /// The runtime's.
        Runtime = "runtime",
        /// The task's.
        Task = "task",
    }
}

/// Hands in log entries. The batch is judged entry by entry.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IngestLogs {
    /// The entries, 1 to 100.
    #[schema(min_items = 1, max_items = 100)]
    pub entries: Vec<LogInput>,
    /// Accepted like everywhere; entries with a `seq` are safe to repeat without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What went wrong, in a log entry.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogError {
    /// A short code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 100)]
    pub code: Option<String>,
    /// What happened.
    #[schema(min_length = 1, max_length = 5000)]
    pub message: String,
    /// Where it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 10000)]
    pub stack: Option<String>,
}

/// One log entry as it is handed in.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogInput {
    /// Ties together what belongs to one run of something.
    pub trace_id: Uuid,
    /// Names the step.
    pub span_id: Uuid,
    /// Names the step around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<Uuid>,
    /// Who wrote it.
    pub source: LogSource,
    /// What it is about.
    pub category: LogCategory,
    /// How important it is; `info` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<LogLevel>,
    /// What was done, such as `command.output`.
    #[schema(min_length = 1, max_length = 500)]
    pub operation: String,
    /// Where the operation stands.
    pub status: LogStatus,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub duration_ms: Option<i64>,
    /// Free data. A handler's line is `{stream, line, seq}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<JsonObject>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<LogError>,
    /// The workspace it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<WorkspaceId>,
    /// The workflow it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<WorkflowId>,
    /// The task it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// The attempt it belongs to; the latest unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// Its number within the attempt, from 1 without gaps. A number that was already taken is a repetition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub seq: Option<i64>,
    /// The work item it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_item_id: Option<WorkItemId>,
    /// The activation it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_id: Option<ActivationId>,
    /// Names, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500)]
    pub workflow_name: Option<String>,
    /// Names, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500)]
    pub workspace_name: Option<String>,
    /// The stage of the workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub stage_name: Option<String>,
    /// The task's title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub task_title: Option<String>,
    /// The task's role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 100)]
    pub role: Option<String>,
    /// Whether the task steers a workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_orchestrator_task: Option<bool>,
    /// Where the task runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_backend: Option<ExecutionBackend>,
    /// Whose tool it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_owner: Option<ToolOwner>,
    /// What kind of actor did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 50)]
    pub actor_type: Option<String>,
    /// Which actor did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub actor_id: Option<String>,
    /// The actor's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub actor_name: Option<String>,
    /// What kind of thing was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 100)]
    pub resource_type: Option<String>,
    /// Which thing was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub resource_id: Option<String>,
    /// The thing's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500)]
    pub resource_name: Option<String>,
    /// When it happened, by the sender's clock; kept as `occurred_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
}

/// What became of a batch of log entries.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LogsIngested {
    /// How many were taken, repetitions included.
    pub accepted: i64,
    /// How many were not.
    pub rejected: i64,
    /// Why not, the first ten.
    pub rejection_details: Vec<LogRejection>,
    /// Numbers that are missing so far, the first ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<LogGap>,
}

/// Why a log entry was not taken.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LogRejection {
    /// Its place in the batch, from 0.
    pub index: i64,
    /// Its trace.
    pub trace_id: Uuid,
    /// Its operation.
    pub operation: String,
    /// Why: `task_not_found`, `superseded_attempt`, `unknown_attempt`, `attempt_over`, `not_holder`,
    /// `outside_workspaces`.
    pub reason: String,
}

/// Numbers that are missing in an attempt's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogGap {
    /// The task.
    pub task_id: TaskId,
    /// The attempt.
    pub attempt: i32,
    /// The first missing number.
    pub from_seq: i64,
    /// The last missing number.
    pub to_seq: i64,
}

/// One log entry as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LogEntry {
    /// Names the entry, and is the cursor after which to go on reading.
    pub id: String,
    /// Whose entry it is.
    pub tenant_id: TenantId,
    /// When it arrived, by the database clock.
    pub created_at: Timestamp,
    /// When it happened, by the sender's clock.
    pub occurred_at: Option<Timestamp>,
    /// Ties together what belongs to one run of something.
    pub trace_id: Uuid,
    /// Names the step.
    pub span_id: Uuid,
    /// Names the step around it.
    pub parent_span_id: Option<Uuid>,
    /// Who wrote it.
    pub source: LogSource,
    /// What it is about.
    pub category: LogCategory,
    /// How important it is.
    pub level: LogLevel,
    /// What was done.
    pub operation: String,
    /// Where the operation stands.
    pub status: LogStatus,
    /// How long it took.
    pub duration_ms: Option<i64>,
    /// Free data.
    pub payload: Option<JsonObject>,
    /// What went wrong.
    pub error: Option<LogError>,
    /// The workspace it is about.
    pub workspace_id: Option<WorkspaceId>,
    /// The workflow it is about.
    pub workflow_id: Option<WorkflowId>,
    /// The task it is about.
    pub task_id: Option<TaskId>,
    /// The attempt it belongs to.
    pub attempt: Option<i32>,
    /// Its number within the attempt.
    pub seq: Option<i64>,
    /// The work item it is about.
    pub work_item_id: Option<WorkItemId>,
    /// The activation it is about.
    pub activation_id: Option<ActivationId>,
    /// Names, for people.
    pub workflow_name: Option<String>,
    /// Names, for people.
    pub workspace_name: Option<String>,
    /// The stage of the workflow.
    pub stage_name: Option<String>,
    /// The task's title.
    pub task_title: Option<String>,
    /// The task's role.
    pub role: Option<String>,
    /// Whether the task steers a workflow.
    pub is_orchestrator_task: Option<bool>,
    /// Where the task runs.
    pub execution_backend: Option<ExecutionBackend>,
    /// Whose tool it was.
    pub tool_owner: Option<ToolOwner>,
    /// What kind of actor did it.
    pub actor_type: Option<String>,
    /// Which actor did it.
    pub actor_id: Option<String>,
    /// The actor's name.
    pub actor_name: Option<String>,
    /// What kind of thing was acted on.
    pub resource_type: Option<String>,
    /// Which thing was acted on.
    pub resource_id: Option<String>,
    /// The thing's name.
    pub resource_name: Option<String>,
}

/// A stretch of the log.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LogPage {
    /// The entries.
    pub data: Vec<LogEntry>,
    /// Where to go on.
    pub pagination: LogPagination,
    /// Facts about the answer.
    pub meta: crate::Meta,
}

/// Where to go on reading the log.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LogPagination {
    /// How many entries a page has at most.
    pub per_page: i64,
    /// Whether there was more to read when this answer was made.
    pub has_more: bool,
    /// Pass this as `cursor` to go on. With `order=asc` always present, to follow the log.
    pub next_cursor: Option<String>,
    /// The cursor that this page was asked with.
    pub prev_cursor: Option<String>,
}
