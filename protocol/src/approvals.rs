//! The inbox: whatever waits for a person.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::enums::words;
use crate::{
    GateStatus, Json, JsonObject, OnExpiry, StepState, TaskId, TaskState, TenantId, Timestamp,
    WorkItemId, WorkflowId, WorkspaceId,
};

words! {
    /// What a person has to decide.
    ApprovalKind {
        /// Whether a task may run.
        TaskApproval = "task_approval",
        /// Whether an output is good enough.
        OutputAssessment = "output_assessment",
        /// What a holder that asked for help is to do.
        Escalation = "escalation",
        /// What a step of a graph asks.
        StepApproval = "step_approval",
        /// Whether a stage is good enough for its run to go on.
        StageGate = "stage_gate",
    }

    /// How a person decides.
    ApprovalAction {
        /// Yes: it may run, the output is good, this is the answer.
        Approve = "approve",
        /// No: the task, or the step, fails.
        Reject = "reject",
        /// Not yet: it is to be done again.
        RequestChanges = "request_changes",
        /// Not until something outside of the run has happened; of stages only.
        Block = "block",
    }
}

/// Something that waits for a person: what is asked, and how to decide it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Approval {
    /// Names it; that of the task it is about, of the work item whose step asks, or of the gate of a stage.
    pub id: Uuid,
    /// What has to be decided.
    pub kind: ApprovalKind,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The task it is about.
    pub task_id: Option<TaskId>,
    /// The step that asks, by its name in the definition.
    pub step_id: Option<String>,
    /// The workflow it belongs to.
    pub workflow_id: Option<WorkflowId>,
    /// The name of that workflow.
    pub workflow_name: Option<String>,
    /// The work item it belongs to.
    pub work_item_id: Option<WorkItemId>,
    /// The stage it belongs to.
    pub stage_name: Option<String>,
    /// The workspace it belongs to.
    pub workspace_id: Option<WorkspaceId>,
    /// For people.
    pub title: String,
    /// What is asked, in words.
    pub message: String,
    /// The JSON Schema of the `fields` that an approval may bring along; null when nothing can be edited.
    pub fields: Option<JsonObject>,
    /// What those fields are now.
    #[schema(value_type = Json)]
    pub values: Option<Json>,
    /// For people, longer.
    pub description: Option<String>,
    /// Who is to do the task.
    pub role: Option<String>,
    /// What the task works on.
    pub input: JsonObject,
    /// The output that has to be judged.
    #[schema(value_type = Json)]
    pub output: Option<Json>,
    /// What is wrong with the output.
    pub verification: Option<JsonObject>,
    /// What the holder, or an operator, asks.
    pub question: Option<JsonObject>,
    /// Which decisions there are.
    pub actions: Vec<ApprovalAction>,
    /// Those of them that need `feedback`.
    pub actions_with_feedback: Vec<ApprovalAction>,
    /// Where a decision is sent with POST.
    pub decision_path: String,
    /// Since when it waits.
    pub requested_at: Timestamp,
    /// When it is decided by itself; null when it waits for as long as it takes, or its run is paused.
    pub expires_at: Option<Timestamp>,
    /// How it is decided then.
    pub on_expiry: Option<OnExpiry>,
}

/// A person's decision.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideApproval {
    /// The decision.
    pub action: ApprovalAction,
    /// Why, or what to do: needed where `actions_with_feedback` has the action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub feedback: Option<String>,
    /// With an approval: what was edited. It must fit the schema in the `fields` of what is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<JsonObject>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What became of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ApprovalDecided {
    /// What was decided.
    pub id: Uuid,
    /// What had to be decided.
    pub kind: ApprovalKind,
    /// The decision.
    pub action: ApprovalAction,
    /// The task it was about.
    pub task_id: Option<TaskId>,
    /// The state the task is in now.
    pub task_state: Option<TaskState>,
    /// The step that asked.
    pub step_id: Option<String>,
    /// The state the step is in now.
    pub step_state: Option<StepState>,
    /// How the gate of a stage is now.
    pub gate_status: Option<GateStatus>,
}
