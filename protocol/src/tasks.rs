//! Tasks: units of work, each held by at most one attempt at a time.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::enums::words;
use crate::{
    ActivationId, AgentId, BackoffStrategy, ExecutionBackend, Json, JsonObject,
    OnDependencyFailure, Priority, TaskHandoff, TaskId, TaskKind, TaskState, TaskType, TenantId,
    Timestamp, WorkItemId, WorkerId, WorkflowId, WorkspaceId,
};

words! {
    /// A move from one state to another, named by the operation that makes it.
    TaskMove {
        /// Dependencies and time are fulfilled.
        BecomeReady = "become_ready",
        /// Its run is paused.
        Pause = "pause",
        /// A holder takes it.
        Claim = "claim",
        /// The holder begins.
        Start = "start",
        /// The holder reports success.
        Complete = "complete",
        /// The holder reports success, but the output must be looked at.
        HoldForAssessment = "hold_for_assessment",
        /// The holder, or a rule, reports failure.
        Fail = "fail",
        /// A failure is followed by a retry.
        ScheduleRetry = "schedule_retry",
        /// The holder hands it back.
        Release = "release",
        /// The holder was silent for too long.
        LoseLease = "lose_lease",
        /// A task it depends on failed or was cancelled.
        FailDependency = "fail_dependency",
        /// It must be approved before it runs.
        RequestApproval = "request_approval",
        /// A person lets it run.
        Approve = "approve",
        /// A person accepts the output.
        ApproveOutput = "approve_output",
        /// A person or a program wants another attempt.
        Retry = "retry",
        /// It is called off.
        Cancel = "cancel",
        /// A person refuses the output.
        Reject = "reject",
        /// A person wants the output done again.
        RequestChanges = "request_changes",
        /// A person passes over it.
        Skip = "skip",
        /// A person gives it to another holder.
        Reassign = "reassign",
        /// A person or the holder asks for help.
        Escalate = "escalate",
        /// The call for help is answered.
        ResolveEscalation = "resolve_escalation",
        /// A person gives the output.
        OverrideOutput = "override_output",
    }
}

/// When a failed attempt is followed by another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// How many retries there may be.
    #[schema(minimum = 1, maximum = 100)]
    pub max_attempts: i32,
    /// How the pause grows; `fixed` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_strategy: Option<BackoffStrategy>,
    /// The first pause; 0 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 86400)]
    pub initial_backoff_seconds: Option<f64>,
    /// By which share, from 0 to 1, a pause is lengthened or shortened at random; 0.1 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub jitter: Option<f64>,
    /// Which categories of failure are retried; `timeout`, `transient_error`,
    /// `resource_unavailable` and `network_error` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retryable_categories: Option<Vec<String>>,
}

/// Creates a task.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTask {
    /// For people.
    #[schema(min_length = 1, max_length = 500)]
    pub title: String,
    /// What sort of work it is.
    #[serde(rename = "type")]
    pub task_type: TaskType,
    /// The part it plays; by its type unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_kind: Option<TaskKind>,
    /// For people, longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 5000)]
    pub description: Option<String>,
    /// How urgent it is; `normal` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// The workflow it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<WorkflowId>,
    /// The work item it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_item_id: Option<WorkItemId>,
    /// The workspace it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<WorkspaceId>,
    /// Noted by the platform for what orchestrators make, and refused here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_id: Option<ActivationId>,
    /// The task it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<TaskId>,
    /// The task it judges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_task_id: Option<TaskId>,
    /// The work item it judges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_work_item_id: Option<WorkItemId>,
    /// The handoff it judges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_handoff_id: Option<Uuid>,
    /// The revision it judges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub subject_revision: Option<i32>,
    /// What the assessor is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2000)]
    pub assessment_prompt: Option<String>,
    /// The stage of the workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 120)]
    pub stage_name: Option<String>,
    /// Who is to do it: only claims that name the tag `role:<role>` get it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 120)]
    pub role: Option<String>,
    /// Whether it steers a workflow: only claims that name the tag `orchestrator` get it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_orchestrator_task: Option<bool>,
    /// Where it is meant to run; by `is_orchestrator_task` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_backend: Option<ExecutionBackend>,
    /// What it works on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<JsonObject>,
    /// What it should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<JsonObject>,
    /// Settings of its role. `output_schema`, a JSON Schema, is checked against the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_config: Option<JsonObject>,
    /// The environment it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<JsonObject>,
    /// Free data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
    /// Resources it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_bindings: Option<Vec<JsonObject>>,
    /// When a failed attempt is followed by another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<RetryPolicy>,
    /// The tasks that must be completed first. They must exist; 10,000 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<TaskId>,
    /// What becomes of it when one of them fails or is cancelled; `fail` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_dependency_failure: Option<OnDependencyFailure>,
    /// Not before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// How long an attempt may take; 180 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 240)]
    pub timeout_minutes: Option<i32>,
    /// How often a silent holder may lose it before it fails; 3 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 100)]
    pub max_abandons: Option<i32>,
    /// How often people may send it back for changes before it fails; 10 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 100)]
    pub max_reworks: Option<i32>,
    /// Whether a person must let it run, once nothing else keeps it from running; false unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires_approval: Option<bool>,
    /// Only this agent may claim it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_agent_id: Option<AgentId>,
    /// Only agents of this worker may claim it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_worker_id: Option<WorkerId>,
    /// A budget of model tokens, for the agent to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub token_budget: Option<i64>,
    /// A budget of money, for the agent to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(exclusive_minimum = 0)]
    pub cost_cap_usd: Option<f64>,
    /// With `max_retries`: a short way to say `retry_policy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_retry: Option<bool>,
    /// How many retries `auto_retry` gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 10)]
    pub max_retries: Option<i32>,
    /// For the agent: how many turns it may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_iterations: Option<i32>,
    /// For the agent: how often it may repeat a model call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub llm_max_retries: Option<i32>,
    /// Makes the request safe to repeat: the same id and body answer with the task made first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub request_id: Option<String>,
}

/// A task as it is now.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// Names the task.
    pub id: TaskId,
    /// What a holder of it left last to whoever goes on; shown where one task is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_handoff: Option<Box<TaskHandoff>>,
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
    /// The task it is a part of.
    pub parent_id: Option<TaskId>,
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
    /// Where it is in its life.
    pub state: TaskState,
    /// Since when.
    pub state_changed_at: Timestamp,
    /// What can be done with it now.
    pub available_actions: Vec<TaskMove>,
    /// How many claims it has had. Names the attempt that holds it, or the last one.
    pub attempt: i32,
    /// How many retries it has had.
    pub retry_count: i32,
    /// How often a silent holder lost it.
    pub abandon_count: i32,
    /// How often it was sent back for changes.
    pub rework_count: i32,
    /// The agent that holds it, or held it last.
    pub assigned_agent_id: Option<AgentId>,
    /// The worker of that agent.
    pub assigned_worker_id: Option<WorkerId>,
    /// When that agent claimed it.
    pub claimed_at: Option<Timestamp>,
    /// When that agent started it.
    pub started_at: Option<Timestamp>,
    /// When the lease ends unless it is renewed.
    pub lease_expires_at: Option<Timestamp>,
    /// What the holder last told about how far it has come.
    pub progress: Option<JsonObject>,
    /// Not before this moment: delay or pause before a retry.
    pub available_at: Option<Timestamp>,
    /// The tasks that must be completed first.
    pub depends_on: Vec<TaskId>,
    /// How many of them are not.
    pub blocked_count: i32,
    /// What becomes of it when one of them fails or is cancelled.
    pub on_dependency_failure: OnDependencyFailure,
    /// What it works on.
    pub input: JsonObject,
    /// What it should know.
    pub context: JsonObject,
    /// What came out.
    #[schema(value_type = Json)]
    pub output: Option<Json>,
    /// What went wrong.
    pub error: Option<TaskError>,
    /// What the holder measured.
    pub metrics: Option<JsonObject>,
    /// What the holder did with git.
    pub git_info: Option<JsonObject>,
    /// What the holder verified.
    pub verification: Option<JsonObject>,
    /// Settings of its role.
    pub role_config: JsonObject,
    /// The environment it runs in.
    pub environment: JsonObject,
    /// Free data.
    pub metadata: JsonObject,
    /// When a failed attempt is followed by another one.
    pub retry_policy: Option<RetryPolicy>,
    /// The id that made its creation safe to repeat.
    pub request_id: Option<String>,
    /// Whether it steers a workflow.
    pub is_orchestrator_task: bool,
    /// Where it is meant to run.
    pub execution_backend: ExecutionBackend,
    /// How long an attempt may take.
    pub timeout_minutes: i32,
    /// How often a silent holder may lose it before it fails.
    pub max_abandons: i32,
    /// How often people may send it back for changes before it fails.
    pub max_reworks: i32,
    /// Whether a person must let it run.
    pub requires_approval: bool,
    /// What a person is asked while it is escalated.
    pub question: Option<JsonObject>,
    /// Only this agent may claim it.
    pub preferred_agent_id: Option<AgentId>,
    /// Only agents of this worker may claim it.
    pub preferred_worker_id: Option<WorkerId>,
    /// A budget of model tokens.
    pub token_budget: Option<i64>,
    /// A budget of money, as a decimal number in a string.
    pub cost_cap_usd: Option<String>,
    /// Whether `max_retries` counts.
    pub auto_retry: bool,
    /// How many retries `auto_retry` gives.
    pub max_retries: i32,
    /// How many turns the agent may take.
    pub max_iterations: Option<i32>,
    /// How often the agent may repeat a model call.
    pub llm_max_retries: Option<i32>,
    /// When it ended, in whatever way.
    pub completed_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its facts were last changed; moves count in `state_changed_at`.
    pub updated_at: Timestamp,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskError {
    /// What kind of failure: free text, such as `timeout`, `infrastructure`, `network_error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 120)]
    pub category: Option<String>,
    /// What happened.
    #[schema(min_length = 1, max_length = 8000)]
    pub message: String,
    /// Whether another attempt can succeed. Decides about a retry before the category does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recoverable: Option<bool>,
    /// Free data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<JsonObject>,
}

/// Changes the facts of a task. Only what is given changes; its state does not.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateTask {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 500)]
    pub title: Option<String>,
    /// For people, longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 5000)]
    pub description: Option<String>,
    /// How urgent it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// How long an attempt may take; counts from the next claim on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 240)]
    pub timeout_minutes: Option<i32>,
    /// Merged into the free data, member by member; null removes a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
    /// The task it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<TaskId>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Wants another attempt of a task.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryTask {
    /// A new input in place of the old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_input: Option<JsonObject>,
    /// Also for tasks that have not failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<bool>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Calls a task off.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelTask {
    /// Why: free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub reason: Option<String>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
