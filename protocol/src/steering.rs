//! Steering: what operators tell the orchestrator of a run.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    ActivationId, InputPacketId, InterventionId, SteeringSessionId, TaskId, Timestamp, WorkItemId,
    WorkflowId,
};

/// Tells the orchestrator of a run something. It is woken at once.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SteerWorkflow {
    /// What it is to do, or to know.
    #[schema(min_length = 1, max_length = 8000)]
    pub request: String,
    /// The work item that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_item_id: Option<WorkItemId>,
    /// The task that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// The conversation that it goes on with; a new one unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SteeringSessionId>,
    /// Input packets of the run that it refers to, 50 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 50)]
    pub linked_input_packet_ids: Vec<InputPacketId>,
    /// What its sender had seen of the run: kept as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub base_snapshot_version: Option<String>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What became of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SteeringRecorded {
    /// The conversation.
    pub steering_session_id: SteeringSessionId,
    /// What was said, as an entry of it.
    pub request_message_id: Uuid,
    /// What wakes the orchestrator.
    pub activation_id: ActivationId,
    /// The same as an intervention, of the kind `steering_request`.
    pub intervention_id: InterventionId,
}

/// A conversation of operators with the orchestrator of a run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SteeringSession {
    /// Names it.
    pub id: SteeringSessionId,
    /// Its run.
    pub workflow_id: WorkflowId,
    /// How it began.
    pub title: String,
    /// How much was said.
    pub message_count: i64,
    /// When it began.
    pub created_at: Timestamp,
    /// When something was said last.
    pub updated_at: Timestamp,
}

/// Something that an operator has said.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SteeringMessage {
    /// Names it.
    pub id: Uuid,
    /// Its conversation.
    pub steering_session_id: SteeringSessionId,
    /// What was said.
    pub body: String,
    /// The work item that it is about.
    pub work_item_id: Option<WorkItemId>,
    /// The task that it is about.
    pub task_id: Option<TaskId>,
    /// What its sender had seen of the run.
    pub base_snapshot_version: Option<String>,
    /// Input packets of the run that it refers to.
    pub linked_input_packet_ids: Vec<InputPacketId>,
    /// What woke the orchestrator with it.
    pub activation_id: ActivationId,
    /// What kind of caller said it.
    pub created_by_type: String,
    /// Which one.
    pub created_by_id: Uuid,
    /// When.
    pub created_at: Timestamp,
}
