//! Stage gates: a person looks at a stage before the run goes on.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::enums::words;
use crate::{GateId, GateStatus, JsonObject, TaskId, Timestamp, WorkflowId, WorkspaceId};

words! {
    /// How a person decides about a gate.
    GateAction {
        /// The run may go on.
        Approve = "approve",
        /// The stage is no good: it is blocked.
        Reject = "reject",
        /// The stage is gone through again, with what is to be changed.
        RequestChanges = "request_changes",
        /// Something outside of the run has to happen first: the stage and its work items are blocked.
        Block = "block",
    }

    /// What has happened to a gate.
    GateEvent {
        /// A decision was asked for.
        Requested = "requested",
        /// It was approved.
        Approve = "approve",
        /// It was rejected.
        Reject = "reject",
        /// Changes were asked for.
        RequestChanges = "request_changes",
        /// It was blocked.
        Block = "block",
        /// A newer request took its place.
        Superseded = "superseded",
    }
}

/// Something that has happened to a gate.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct GateHistoryEntry {
    /// What.
    pub action: GateEvent,
    /// What kind of caller did it.
    pub actor_type: String,
    /// Which one.
    pub actor_id: Option<Uuid>,
    /// What was said.
    pub feedback: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// A request that a person look at a stage, with what came of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StageGate {
    /// Names it.
    pub id: GateId,
    /// The same.
    pub gate_id: GateId,
    /// Its run.
    pub workflow_id: WorkflowId,
    /// The name of that run.
    pub workflow_name: String,
    /// The workspace it happens in.
    pub workspace_id: WorkspaceId,
    /// Its stage, in this run.
    pub stage_id: Uuid,
    /// Its stage, in the playbook.
    pub stage_name: String,
    /// What that stage is for.
    pub stage_goal: String,
    /// How it is doing.
    pub status: GateStatus,
    /// The same.
    pub gate_status: GateStatus,
    /// What is to be looked at.
    pub request_summary: String,
    /// What the orchestrator would do.
    pub recommendation: Option<String>,
    /// What speaks against it.
    pub concerns: Vec<String>,
    /// What to look at.
    pub key_artifacts: Vec<JsonObject>,
    /// What kind of caller asked.
    pub requested_by_type: String,
    /// Which one.
    pub requested_by_id: Option<Uuid>,
    /// The task of the orchestrator that asked.
    pub requested_by_task_id: Option<TaskId>,
    /// When.
    pub requested_at: Timestamp,
    /// What was decided.
    pub human_decision: Option<GateAction>,
    /// What was said with it.
    pub decision_feedback: Option<String>,
    /// What kind of caller decided.
    pub decided_by_type: Option<String>,
    /// Which one.
    pub decided_by_id: Option<Uuid>,
    /// When.
    pub decided_at: Option<Timestamp>,
    /// Whether a newer request has taken its place.
    pub is_superseded: bool,
    /// That request.
    pub superseded_by: Option<GateId>,
    /// When that was.
    pub superseded_at: Option<Timestamp>,
    /// All that has happened to it, oldest first.
    pub decision_history: Vec<GateHistoryEntry>,
}

/// Decides about a gate.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideGate {
    /// The decision.
    pub action: GateAction,
    /// Why, or what is to be changed: needed for all but an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub feedback: Option<String>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
