//! Handoffs: what a holder leaves to whoever goes on.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::enums::words;
use crate::{
    CompletionCallouts, Json, JsonObject, TaskId, Timestamp, WaivedStep, WorkItemId, WorkflowId,
};

words! {
    /// Whether all of it was done.
    HandoffCompletion {
        /// It was.
        Full = "full",
        /// Something stands in the way.
        Blocked = "blocked",
    }

    /// What an assessor found.
    HandoffResolution {
        /// It is good.
        Approved = "approved",
        /// It needs changes.
        RequestChanges = "request_changes",
        /// It is refused.
        Rejected = "rejected",
        /// It cannot be judged, or cannot go on.
        Blocked = "blocked",
    }

    /// Whether what is said keeps something from being closed.
    ClosureEffect {
        /// It does.
        Blocking = "blocking",
        /// It is advice.
        Advisory = "advisory",
    }

    /// What an assessor wants to be done.
    OutcomeAction {
        /// What was judged is done again.
        ReopenSubject = "reopen_subject",
        /// Another role takes over.
        RouteToRole = "route_to_role",
        /// What was judged does not go on.
        BlockSubject = "block_subject",
        /// A person is asked.
        Escalate = "escalate",
        /// The branch ends.
        TerminateBranch = "terminate_branch",
    }
}

/// Leaves something to whoever goes on. Nothing ever waits for it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitHandoff {
    /// The attempt under which the task is held. A holder that registered with a `protocol_version` must name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// What was done.
    #[schema(min_length = 1, max_length = 4000)]
    pub summary: String,
    /// Whether all of it was done; also taken under the name `completion`.
    #[serde(alias = "completion")]
    pub completion_state: HandoffCompletion,
    /// What an assessor found, of tasks of the type `assessment`; also taken under the name `decision_state`.
    #[serde(
        default,
        alias = "decision_state",
        skip_serializing_if = "Option::is_none"
    )]
    pub resolution: Option<HandoffResolution>,
    /// Whether what is said keeps something from being closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closure_effect: Option<ClosureEffect>,
    /// What has changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 200)]
    pub changes: Vec<Json>,
    /// What was decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 200)]
    pub decisions: Vec<Json>,
    /// What is left to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 200)]
    pub remaining_items: Vec<Json>,
    /// What stands in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 200)]
    pub blockers: Vec<Json>,
    /// What to look at first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub focus_areas: Vec<String>,
    /// What may go wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub known_risks: Vec<String>,
    /// What should be done next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub recommended_next_actions: Vec<Json>,
    /// What was left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub waived_steps: Vec<WaivedStep>,
    /// What is to be said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_callouts: Option<CompletionCallouts>,
    /// What whoever goes on should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 8000)]
    pub successor_context: Option<String>,
    /// What only its role understands: kept as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_data: Option<JsonObject>,
    /// What it is about, as its author names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub subject_ref: Option<String>,
    /// Which revision of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_revision: Option<i32>,
    /// What an assessor wants to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome_action_applied: Option<OutcomeAction>,
    /// The branch that it belongs to: kept as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch_id: Option<Uuid>,
    /// Artifacts to look at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub artifact_ids: Vec<Uuid>,
    /// Documents to look at: kept as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<JsonObject>,
    /// How often the task was sent back, as its author knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub task_rework_count: Option<i32>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What a holder of a task left to whoever goes on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskHandoff {
    /// Names it.
    pub id: Uuid,
    /// The task.
    pub task_id: TaskId,
    /// The run of the task.
    pub workflow_id: Option<WorkflowId>,
    /// The work item of the task.
    pub work_item_id: Option<WorkItemId>,
    /// The role of the task.
    pub role: Option<String>,
    /// The stage of the task.
    pub stage_name: Option<String>,
    /// The attempt that wrote it last.
    pub attempt: i32,
    /// How often the task had been sent back: it has one handoff for each time.
    pub task_rework_count: i32,
    /// How often it was written.
    pub revision: i32,
    /// What was done.
    pub summary: String,
    /// Whether all of it was done.
    pub completion_state: HandoffCompletion,
    /// What an assessor found.
    pub resolution: Option<HandoffResolution>,
    /// Whether what is said keeps something from being closed.
    pub closure_effect: Option<ClosureEffect>,
    /// What has changed.
    pub changes: Vec<Json>,
    /// What was decided.
    pub decisions: Vec<Json>,
    /// What is left to do.
    pub remaining_items: Vec<Json>,
    /// What stands in the way.
    pub blockers: Vec<Json>,
    /// What to look at first.
    pub focus_areas: Vec<String>,
    /// What may go wrong.
    pub known_risks: Vec<String>,
    /// What should be done next.
    pub recommended_next_actions: Vec<Json>,
    /// What was left out.
    pub waived_steps: Vec<WaivedStep>,
    /// What is to be said of it.
    pub completion_callouts: Option<CompletionCallouts>,
    /// What whoever goes on should know.
    pub successor_context: Option<String>,
    /// What only its role understands.
    pub role_data: Option<JsonObject>,
    /// What it is about, as its author named it.
    pub subject_ref: Option<String>,
    /// Which revision of that.
    pub subject_revision: Option<i32>,
    /// What an assessor wants to be done.
    pub outcome_action_applied: Option<OutcomeAction>,
    /// The branch that it belongs to.
    pub branch_id: Option<Uuid>,
    /// Artifacts to look at.
    pub artifact_ids: Vec<Uuid>,
    /// Documents to look at.
    pub documents: Option<JsonObject>,
    /// What kind of caller wrote it last: a scope.
    pub created_by_type: String,
    /// The agent or worker that wrote it last.
    pub created_by_id: Uuid,
    /// When it was first written.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}
