//! Relations: the runs that a run belongs with.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{PlaybookId, Timestamp, WorkflowId, WorkflowState};

/// Another run, as a run refers to it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RelatedWorkflow {
    /// The run.
    pub workflow_id: WorkflowId,
    /// For people.
    pub name: String,
    /// Where it is in its life.
    pub state: WorkflowState,
    /// Whether that is its end.
    pub is_terminal: bool,
    /// The version of the playbook that it follows.
    pub playbook_id: PlaybookId,
    /// The name of that playbook.
    pub playbook_name: Option<String>,
    /// When it was launched.
    pub created_at: Timestamp,
    /// When something of it first began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// The path under which it is read.
    pub link: String,
}

/// How many runs a run has launched, by how they do.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ChildStatusCounts {
    /// All of them.
    pub total: i64,
    /// Those that have not ended.
    pub active: i64,
    /// Those that have completed.
    pub completed: i64,
    /// Those that have failed.
    pub failed: i64,
    /// Those that were called off.
    pub cancelled: i64,
}

/// The runs that a run belongs with.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct WorkflowRelations {
    /// The run that launched it.
    pub parent: Option<RelatedWorkflow>,
    /// The runs that it launched, the newest first, 100 at most.
    pub children: Vec<RelatedWorkflow>,
    /// The run that it launched last.
    pub latest_child_workflow_id: Option<WorkflowId>,
    /// How many it launched.
    pub child_status_counts: ChildStatusCounts,
}
