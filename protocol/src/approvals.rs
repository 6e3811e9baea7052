//! The inbox: whatever waits for a person.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::enums::words;
use crate::{
    Json, JsonObject, TaskId, TaskState, TenantId, Timestamp, WorkItemId, WorkflowId, WorkspaceId,
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
    }

    /// How a person decides.
    ApprovalAction {
        /// Yes: it may run, the output is good, this is the answer.
        Approve = "approve",
        /// No: the task fails.
        Reject = "reject",
        /// Not yet: it is to be done again.
        RequestChanges = "request_changes",
    }
}

/// Something that waits for a person.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Approval {
    /// Names it; that of the task it is about.
    pub id: Uuid,
    /// What has to be decided.
    pub kind: ApprovalKind,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The task it is about.
    pub task_id: TaskId,
    /// The workflow it belongs to.
    pub workflow_id: Option<WorkflowId>,
    /// The work item it belongs to.
    pub work_item_id: Option<WorkItemId>,
    /// The workspace it belongs to.
    pub workspace_id: Option<WorkspaceId>,
    /// For people.
    pub title: String,
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
    /// Since when it waits.
    pub requested_at: Timestamp,
}

/// A person's decision.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideApproval {
    /// The decision.
    pub action: ApprovalAction,
    /// Why, or what to do: needed to refuse, to ask for changes, and to answer an escalation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub feedback: Option<String>,
    /// With an approval: the edited input of a task that may run, or the edited output, which must fit the
    /// task's output schema.
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
    pub task_id: TaskId,
    /// The state the task is in now.
    pub task_state: TaskState,
}
