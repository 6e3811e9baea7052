//! What an orchestrator can do to its run, under its own task.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::enums::words;
use crate::{
    ActivationId, CompletionCallouts, CreateTask, Json, JsonObject, PlaybookId, Priority,
    TaskHandoff, TaskId, TaskType, UnresolvedItem, WaivedStep, WorkItemId, WorkflowStage,
};

words! {
    /// How urgent something is for the one who is told.
    Urgency {
        /// Good to know.
        Info = "info",
        /// To be looked at soon.
        Important = "important",
        /// To be looked at now.
        Critical = "critical",
    }
}

/// Asks a person to look at a stage.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestGate {
    /// What is to be looked at.
    #[schema(min_length = 1, max_length = 4000)]
    pub summary: String,
    /// What the orchestrator would do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub recommendation: Option<String>,
    /// What to look at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 50)]
    pub key_artifacts: Vec<JsonObject>,
    /// What speaks against it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 50)]
    pub concerns: Vec<String>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Ends the current stage, and goes on to the next.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdvanceStage {
    /// The next stage, to be sure; the one that follows unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_stage_name: Option<String>,
    /// What came of the stage that ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub summary: Option<String>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Stages, after one has ended.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AdvancedStage {
    /// The stage that has ended.
    pub completed_stage: WorkflowStage,
    /// The stage that has begun.
    pub next_stage: WorkflowStage,
}

/// Ends a work item.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteWorkItem {
    /// What is to be said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_callouts: Option<CompletionCallouts>,
    /// Added to those of the callouts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waived_steps: Vec<WaivedStep>,
    /// Added to those of the callouts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unresolved_advisory_items: Vec<UnresolvedItem>,
    /// In place of those of the callouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_notes: Option<String>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Ends the run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteWorkflow {
    /// What came of it.
    #[schema(min_length = 1, max_length = 4000)]
    pub summary: String,
    /// What it delivers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub final_artifacts: Vec<Json>,
    /// What is to be said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_callouts: Option<CompletionCallouts>,
    /// Added to those of the callouts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waived_steps: Vec<WaivedStep>,
    /// Added to those of the callouts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unresolved_advisory_items: Vec<UnresolvedItem>,
    /// In place of those of the callouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_notes: Option<String>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Remembers values in the workspace of the run: one by `key` and `value`, or several as `updates`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RememberForRun {
    /// Under which key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub key: Option<String>,
    /// What.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Json>,
    /// Keys and values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<JsonObject>,
    /// The work item that they belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_item_id: Option<WorkItemId>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// The keys that were remembered, or forgotten.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MemoryChanged {
    /// Which ones.
    pub keys: Vec<String>,
}

/// What an orchestrator wants to know when it is woken the next time: its `input.orchestration_state` has it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckpointActivation {
    /// The state it wants to find again.
    pub activation_checkpoint: ActivationCheckpoint,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// The state that an orchestrator wants to find again.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationCheckpoint {
    /// The activation in which it was written; the present one unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_id: Option<ActivationId>,
    /// What woke it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// What has changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub what_changed: Vec<String>,
    /// How things are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_working_state: Option<String>,
    /// What is expected to happen next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_expected_event: Option<String>,
    /// What is worth remembering.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub important_ids: Vec<String>,
    /// What is worth looking at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub important_artifacts: Vec<String>,
    /// Keys of the workspace's memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent_memory_keys: Vec<String>,
}

/// Says who is expected to do what next: in the run, or in one of its work items.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoteContinuity {
    /// The work item; the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_item_id: Option<WorkItemId>,
    /// Who acts next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub next_expected_actor: Option<String>,
    /// What they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub next_expected_action: Option<String>,
    /// How things are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub status_summary: Option<String>,
    /// What is expected to happen next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub next_expected_event: Option<String>,
    /// What is waited for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_on: Vec<String>,
    /// Tasks that are under way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub active_subordinate_tasks: Vec<TaskId>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What an orchestrator keeps from one activation to the next.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OrchestrationState {
    /// The latest checkpoint, what is expected next, and how the run ended, each where it was said.
    pub orchestration_state: JsonObject,
}

/// Opens a work item again.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReopenWorkItem {
    /// Why.
    #[schema(min_length = 1, max_length = 4000)]
    pub reason: String,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Goes on without a step that would have been preferred.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WaivePreferredStep {
    /// Names the step, for programs.
    #[schema(min_length = 1, max_length = 120)]
    pub code: String,
    /// Why it is left out.
    #[schema(min_length = 1, max_length = 4000)]
    pub reason: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub summary: Option<String>,
    /// Who would have done it. If that is who the work item waits for, it waits no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 120)]
    pub role: Option<String>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// How a work item goes on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkItemContinuity {
    /// The work item.
    pub work_item_id: WorkItemId,
    /// Who is expected to act next.
    pub next_expected_actor: Option<String>,
    /// What is expected of them.
    pub next_expected_action: Option<String>,
    /// What the orchestrator noted last about how it goes on.
    pub continuity: Option<JsonObject>,
    /// Steps that it goes on without.
    pub waived_steps: Vec<WaivedStep>,
    /// Its tasks that have not ended, 20 at most.
    pub open_task_ids: Vec<TaskId>,
    /// What a task of it left last.
    pub latest_handoff: Option<TaskHandoff>,
}

/// Runs a task again, with another input.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CorrectBrief {
    /// The input.
    pub corrected_input: JsonObject,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Makes a task of the run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanTask {
    /// For people.
    #[schema(min_length = 1, max_length = 500)]
    pub title: String,
    /// Its work item.
    pub work_item_id: WorkItemId,
    /// Who is to do it: a role of the playbook, where it names roles.
    #[schema(min_length = 1, max_length = 120)]
    pub role: String,
    /// For people, longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 5000)]
    pub description: Option<String>,
    /// Its stage, to be sure; that of its work item unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 120)]
    pub stage_name: Option<String>,
    /// What sort of work it is; `custom` unless given.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub task_type: Option<TaskType>,
    /// How urgent it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// What it works on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<JsonObject>,
    /// What it should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<JsonObject>,
    /// The tasks that must be completed first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<TaskId>,
    /// The task it judges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_task_id: Option<TaskId>,
    /// The revision it judges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_revision: Option<i32>,
    /// What the assessor is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2000)]
    pub assessment_prompt: Option<String>,
    /// Settings of its role. `output_schema`, a JSON Schema, is checked against the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_config: Option<JsonObject>,
    /// The environment it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<JsonObject>,
    /// Resources it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_bindings: Option<Vec<JsonObject>>,
    /// How long an attempt may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 240)]
    pub timeout_minutes: Option<i32>,
    /// A budget of model tokens, for the agent to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub token_budget: Option<i64>,
    /// A budget of money, for the agent to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_cap_usd: Option<f64>,
    /// Whether a failed attempt is followed by another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_retry: Option<bool>,
    /// How often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 10)]
    pub max_retries: Option<i32>,
    /// For the agent: how many turns it may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_iterations: Option<i32>,
    /// For the agent: how often it may repeat a model call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llm_max_retries: Option<i32>,
    /// Free data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl From<PlanTask> for CreateTask {
    fn from(plan: PlanTask) -> Self {
        Self {
            title: plan.title,
            task_type: plan.task_type.unwrap_or(TaskType::Custom),
            task_kind: None,
            description: plan.description,
            priority: plan.priority,
            workflow_id: None,
            work_item_id: Some(plan.work_item_id),
            workspace_id: None,
            activation_id: None,
            parent_id: None,
            subject_task_id: plan.subject_task_id,
            subject_work_item_id: None,
            subject_handoff_id: None,
            subject_revision: plan.subject_revision,
            assessment_prompt: plan.assessment_prompt,
            stage_name: plan.stage_name,
            role: Some(plan.role),
            is_orchestrator_task: None,
            execution_backend: None,
            input: plan.input,
            context: plan.context,
            role_config: plan.role_config,
            environment: plan.environment,
            metadata: plan.metadata,
            resource_bindings: plan.resource_bindings,
            retry_policy: None,
            depends_on: plan.depends_on,
            on_dependency_failure: None,
            run_at: None,
            timeout_minutes: plan.timeout_minutes,
            max_abandons: None,
            max_reworks: None,
            requires_approval: None,
            preferred_agent_id: None,
            preferred_worker_id: None,
            token_budget: plan.token_budget,
            cost_cap_usd: plan.cost_cap_usd,
            auto_retry: plan.auto_retry,
            max_retries: plan.max_retries,
            max_iterations: plan.max_iterations,
            llm_max_retries: plan.llm_max_retries,
            request_id: None,
        }
    }
}

/// Gives a task that nobody works on another input.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplaceInput {
    /// The input.
    pub input: JsonObject,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Asks a person for help with a task.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EscalateToHuman {
    /// What help is needed.
    #[schema(min_length = 1, max_length = 4000)]
    pub reason: String,
    /// What a person must know to help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<JsonObject>,
    /// What the orchestrator would do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub recommendation: Option<String>,
    /// The task that stands in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocking_task_id: Option<TaskId>,
    /// How urgent it is: `info`, `important` or `critical`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urgency: Option<Urgency>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Launches a run that belongs to this one, in the same workspace. Its end wakes the orchestrator.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LaunchChild {
    /// The version of the playbook: the run is frozen to it.
    pub playbook_id: PlaybookId,
    /// For people.
    #[schema(min_length = 1, max_length = 255)]
    pub name: String,
    /// What the child should know of its parent; kept as `parent_context` of its metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 8000)]
    pub parent_context: Option<String>,
    /// What the playbook asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<JsonObject>,
    /// Kept as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
    /// Kept as given, for agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_overrides: Option<JsonObject>,
    /// Kept as given, for agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction_config: Option<JsonObject>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
