//! Workflows: runs of playbooks, with their stages and steps.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::enums::words;
use crate::{
    Activation, InitialInputPacket, Json, JsonObject, Lifecycle, PlaybookId, PlaybookKind,
    TaskError, TaskId, TaskState, TenantId, Timestamp, WorkItem, WorkItemId, WorkflowId,
    WorkflowRelations, WorkspaceId,
};

words! {
    /// Where a run is in its life. It follows from its steps and work items, and is derived after every move.
    WorkflowState {
        /// Nothing of it is open yet, or for the moment.
        Pending = "pending",
        /// Something of it is open.
        Active = "active",
        /// Nothing new is begun until it is resumed.
        Paused = "paused",
        /// Everything has ended well.
        Completed = "completed",
        /// A step has failed, and nothing else can go on.
        Failed = "failed",
        /// It was called off.
        Cancelled = "cancelled",
    }

    /// Where a step of a graph is in its life.
    StepState {
        /// It waits for the steps that it needs, or for its run to be resumed.
        Pending = "pending",
        /// Its tasks are open.
        Running = "running",
        /// A person has to decide.
        Waiting = "waiting",
        /// It has ended well.
        Completed = "completed",
        /// It has ended badly.
        Failed = "failed",
        /// Its condition was not met, or all that it needs was skipped.
        Skipped = "skipped",
        /// It was called off.
        Cancelled = "cancelled",
    }

    /// How a stage is doing.
    StageStatus {
        /// Nothing of it has begun.
        Pending = "pending",
        /// Something of it is open.
        Active = "active",
        /// A person has to decide.
        AwaitingGate = "awaiting_gate",
        /// All of it has ended.
        Completed = "completed",
        /// It cannot go on.
        Blocked = "blocked",
    }

    /// How the gate of a stage is doing.
    GateStatus {
        /// Nobody has asked for a decision.
        NotRequested = "not_requested",
        /// A person has to decide.
        AwaitingApproval = "awaiting_approval",
        /// It was approved.
        Approved = "approved",
        /// It was rejected.
        Rejected = "rejected",
        /// Changes were asked for.
        ChangesRequested = "changes_requested",
        /// It was blocked.
        Blocked = "blocked",
    }

    /// Where a run comes from.
    AttemptKind {
        /// It was launched.
        Initial = "initial",
        /// It tries again what an earlier run did.
        Redrive = "redrive",
    }

    /// How much of a run its viewers are shown while it happens.
    LiveVisibilityMode {
        /// What matters.
        Standard = "standard",
        /// Everything.
        Enhanced = "enhanced",
    }

    /// Where the visibility of a run comes from.
    VisibilitySource {
        /// The platform's setting.
        AgenticSettings = "agentic_settings",
        /// The run's own setting.
        WorkflowOverride = "workflow_override",
    }

    /// What a person decides about what a step asks.
    StepDecision {
        /// Yes: the step ends well.
        Approve = "approve",
        /// No: the step fails, unless its `on_failure` lets the run go on.
        Reject = "reject",
    }

    /// What a redrive takes over from the run that it repeats.
    InheritancePolicy {
        /// The outputs of steps that had completed: it goes on where the run had failed.
        InheritAll = "inherit_all",
        /// Nothing: it begins anew.
        InheritNone = "inherit_none",
    }
}

impl WorkflowState {
    /// Whether the run has ended: completed, failed or cancelled.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// What a run may use up. Told to orchestrators, not enforced.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkflowBudget {
    /// Tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub token_budget: Option<i64>,
    /// Money.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_cap_usd: Option<f64>,
    /// Time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_duration_minutes: Option<i32>,
}

/// Launches a run of a playbook.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWorkflow {
    /// The version of the playbook: the run is frozen to it.
    pub playbook_id: PlaybookId,
    /// Where it runs.
    pub workspace_id: WorkspaceId,
    /// For people.
    #[schema(min_length = 1, max_length = 255)]
    pub name: String,
    /// For people who follow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub operator_note: Option<String>,
    /// What the playbook asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<JsonObject>,
    /// What it is given to work with; its orchestrator is told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_input_packet: Option<InitialInputPacket>,
    /// Kept as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
    /// Kept as given, for agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_overrides: Option<JsonObject>,
    /// Kept as given, for agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction_config: Option<JsonObject>,
    /// What it may use up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<WorkflowBudget>,
    /// How much its viewers are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_visibility_mode: Option<LiveVisibilityMode>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// How the work items of a run are doing.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct WorkItemSummary {
    /// All of them.
    pub total_work_items: i64,
    /// Neither completed nor called off.
    pub open_work_item_count: i64,
    /// Open, and blocked.
    pub blocked_work_item_count: i64,
    /// Completed.
    pub completed_work_item_count: i64,
    /// Stages that are active.
    pub active_stage_count: i64,
    /// Decisions that people have to make.
    pub awaiting_gate_count: i64,
    /// Which stages are active.
    pub active_stage_names: Vec<String>,
}

/// A run of a playbook.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Workflow {
    /// Names the run.
    pub id: WorkflowId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Where it runs.
    pub workspace_id: WorkspaceId,
    /// The name of that workspace.
    pub workspace_name: Option<String>,
    /// The version of the playbook that it follows.
    pub playbook_id: PlaybookId,
    /// The name of that playbook.
    pub playbook_name: Option<String>,
    /// The number of that version.
    pub playbook_version: i32,
    /// Who decides what happens next.
    pub kind: PlaybookKind,
    /// For people.
    pub name: String,
    /// Where it is in its life.
    pub state: WorkflowState,
    /// Whether it ends by itself.
    pub lifecycle: Lifecycle,
    /// The first stage that has not ended; of planned runs only.
    pub current_stage: Option<String>,
    /// What it was launched with.
    pub parameters: JsonObject,
    /// What its work may look at.
    pub context: JsonObject,
    /// How large that is.
    pub context_size_bytes: i64,
    /// How large it may become.
    pub context_max_bytes: i64,
    /// Kept as given at its launch.
    pub config_overrides: JsonObject,
    /// Kept as given at its launch.
    pub instruction_config: JsonObject,
    /// Tokens it may use.
    pub token_budget: Option<i64>,
    /// Money it may use: a decimal number.
    pub cost_cap_usd: Option<String>,
    /// Time it may use.
    pub max_duration_minutes: Option<i32>,
    /// Kept as given, with what was said of it since.
    pub metadata: JsonObject,
    /// The request that launched it.
    pub request_id: Option<String>,
    /// The first run of those that try the same.
    pub root_workflow_id: WorkflowId,
    /// The run that launched it.
    pub parent_workflow_id: Option<WorkflowId>,
    /// The run that this one tries again.
    pub previous_attempt_workflow_id: Option<WorkflowId>,
    /// Which of those runs it is, from 1.
    pub attempt_number: i32,
    /// Where it comes from.
    pub attempt_kind: AttemptKind,
    /// Why it tries again.
    pub redrive_reason: Option<String>,
    /// What came of it, as its playbook defines.
    #[schema(value_type = Json)]
    pub output: Option<Json>,
    /// Why it failed.
    pub error: Option<TaskError>,
    /// Its tasks, counted by their state.
    pub task_counts: BTreeMap<TaskState, i64>,
    /// Its steps, counted by their state; of graphs only.
    pub step_counts: BTreeMap<StepState, i64>,
    /// Its work items, counted.
    pub work_item_summary: WorkItemSummary,
    /// When something of it first began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// When pausing it was asked for.
    pub pause_requested_at: Option<Timestamp>,
    /// When calling it off was asked for.
    pub cancel_requested_at: Option<Timestamp>,
    /// When it was launched.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A stage of a run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkflowStage {
    /// Names the stage of this run.
    pub id: uuid::Uuid,
    /// Its name in the playbook.
    pub name: String,
    /// Its place, from 0.
    pub position: i32,
    /// What it is for.
    pub goal: String,
    /// How to go about it.
    pub guidance: Option<String>,
    /// How it is doing.
    pub status: StageStatus,
    /// Whether something of it is open.
    pub is_active: bool,
    /// How its gate is doing.
    pub gate_status: GateStatus,
    /// How often it was gone through.
    pub iteration_count: i32,
    /// What came of it.
    pub summary: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// Its open work items.
    pub open_work_item_count: i64,
    /// Its work items.
    pub total_work_item_count: i64,
}

/// A step of a run of a graph.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkflowStep {
    /// Its name in the definition.
    pub step_id: String,
    /// What kind of step it is.
    pub kind: String,
    /// The stage that it belongs to.
    pub stage_name: Option<String>,
    /// Where it is in its life.
    pub state: StepState,
    /// How many of the steps that it needs have not ended.
    pub unmet_needs: i32,
    /// How many tasks it makes in all.
    pub tasks_total: i32,
    /// How many of them are open.
    pub tasks_open: i32,
    /// How many of them have completed.
    pub tasks_completed: i32,
    /// How many of them have failed or were cancelled.
    pub tasks_failed: i32,
    /// The work item that it made.
    pub work_item_id: Option<WorkItemId>,
    /// Its task, where it makes one.
    pub task_id: Option<TaskId>,
    /// Why it failed.
    pub error: Option<TaskError>,
    /// What it asks a person: a `message`, the JSON Schema of the `fields` that can be filled in, and the
    /// `values` they begin with.
    pub question: Option<JsonObject>,
    /// When it gives up waiting for a person.
    pub expires_at: Option<Timestamp>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
}

/// A task of a run, without what it works on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskSummary {
    /// Names the task.
    pub id: TaskId,
    /// Its work item.
    pub work_item_id: Option<WorkItemId>,
    /// Its stage.
    pub stage_name: Option<String>,
    /// For people.
    pub title: String,
    /// Which agents may take it.
    pub role: Option<String>,
    /// Where it is in its life.
    pub state: TaskState,
    /// How many claims it has had.
    pub attempt: i32,
    /// How many retries it has had.
    pub retry_count: i32,
    /// When it came into its state.
    pub state_changed_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A run with its parts. Of tasks, steps and work items the first ones are shown; their lists have them all.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WorkflowDetail {
    /// The run.
    #[serde(flatten)]
    pub workflow: Workflow,
    /// Its stages, in their order.
    pub workflow_stages: Vec<WorkflowStage>,
    /// Its steps, in their order, 200 at most: those that have not ended come first.
    pub steps: Vec<WorkflowStep>,
    /// Its work items, newest first, 100 at most.
    pub work_items: Vec<WorkItem>,
    /// Its tasks, newest first, 100 at most.
    pub tasks: Vec<TaskSummary>,
    /// What has woken its orchestrator, or will, newest first, 20 at most.
    pub activations: Vec<Activation>,
    /// The run that launched it, and those that it launched.
    pub workflow_relations: WorkflowRelations,
    /// Whether there is more of it than is shown here.
    pub is_truncated: bool,
}

// Not derived: what is flattened is read by way of a tree, in which JSON does not stay as it was sent.
impl<'de> Deserialize<'de> for WorkflowDetail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Parts {
            workflow_stages: Vec<WorkflowStage>,
            steps: Vec<WorkflowStep>,
            work_items: Vec<WorkItem>,
            tasks: Vec<TaskSummary>,
            activations: Vec<Activation>,
            workflow_relations: WorkflowRelations,
            is_truncated: bool,
        }
        let whole = Json::deserialize(deserializer)?;
        let parts: Parts = whole.parse().map_err(D::Error::custom)?;
        Ok(Self {
            workflow: whole.parse().map_err(D::Error::custom)?,
            workflow_stages: parts.workflow_stages,
            steps: parts.steps,
            work_items: parts.work_items,
            tasks: parts.tasks,
            activations: parts.activations,
            workflow_relations: parts.workflow_relations,
            is_truncated: parts.is_truncated,
        })
    }
}

/// Settings of a run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkflowSettings {
    /// The run.
    pub workflow_id: WorkflowId,
    /// How much its viewers are shown.
    pub effective_live_visibility_mode: LiveVisibilityMode,
    /// Its own setting.
    pub workflow_live_visibility_mode_override: Option<LiveVisibilityMode>,
    /// Which setting holds.
    pub source: VisibilitySource,
    /// Which change it is: to be named by the next one.
    pub revision: i32,
    /// The key that changed it last.
    pub updated_by_operator_id: Option<uuid::Uuid>,
    /// When it was changed last.
    pub updated_at: Option<Timestamp>,
}

/// Changes settings of a run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateWorkflowSettings {
    /// How much its viewers are shown; null for the platform's setting.
    pub live_visibility_mode: Option<LiveVisibilityMode>,
    /// The revision that this change is based on.
    pub settings_revision: i32,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Tries again what a run did, in a new run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RedriveWorkflow {
    /// The name of the new run; "<name> redrive" unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub name: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub reason: Option<String>,
    /// For people who follow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub summary: Option<String>,
    /// For orchestrators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub steering_instruction: Option<String>,
    /// What is taken over; everything unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inheritance_policy: Option<InheritancePolicy>,
    /// Other parameters: these begin anew, and need `inherit_none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<JsonObject>,
    /// How much its viewers are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_visibility_mode: Option<LiveVisibilityMode>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// How runs that try the same hang together.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RedriveLineage {
    /// The first of them.
    pub attempt_group_id: WorkflowId,
    /// Which one this is.
    pub attempt_number: i32,
    /// The one before.
    pub source_workflow_id: WorkflowId,
    /// Why it was tried again.
    pub redrive_reason: Option<String>,
    /// Steps whose outputs were taken over.
    pub inherited_steps: i64,
}

/// A run that tries again what another one did.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Redriven {
    /// The run before.
    pub source_workflow_id: WorkflowId,
    /// Which attempt the new run is.
    pub attempt_number: i32,
    /// The new run.
    pub workflow: WorkflowDetail,
    /// How they hang together.
    pub redrive_lineage: RedriveLineage,
}

/// A run that was deleted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeletedWorkflow {
    /// The run.
    pub id: WorkflowId,
    /// Always true.
    pub deleted: bool,
}

/// Deletes several runs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkDeleteWorkflows {
    /// Which runs: all of them must have ended.
    #[schema(min_items = 1, max_items = 10000)]
    pub workflow_ids: Vec<WorkflowId>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Runs that were deleted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BulkDeletedWorkflows {
    /// How many.
    pub deleted_workflow_count: i64,
    /// Which ones.
    pub deleted_workflow_ids: Vec<WorkflowId>,
}

/// Answers what a step of a run asks.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideStep {
    /// The answer.
    pub action: StepDecision,
    /// The fields that were asked for, filled in or changed; as they were proposed unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<JsonObject>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub comment: Option<String>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Launches a run that belongs to another one, in the same workspace.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChainWorkflow {
    /// The version of the playbook: the run is frozen to it.
    pub playbook_id: PlaybookId,
    /// For people; that of the parent unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub name: Option<String>,
    /// What the playbook asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<JsonObject>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
