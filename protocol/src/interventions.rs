//! What operators have done about a run, and what they give it to work with.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    ActivationId, InputPacketId, InterventionId, JsonObject, TaskId, Timestamp, WorkItemId,
    WorkflowId,
};

/// Records that an operator has done something about a run, or wants something to be done. The orchestrator
/// is woken with it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordIntervention {
    /// What kind of thing, for programs: free text.
    #[schema(min_length = 1, max_length = 120)]
    pub kind: String,
    /// What it is, in words.
    #[schema(min_length = 1, max_length = 4000)]
    pub summary: String,
    /// Where it comes from; `operator` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 120)]
    pub origin: Option<String>,
    /// How far it has come; `applied` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 120)]
    pub status: Option<String>,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub note: Option<String>,
    /// The same for programs: free data, 32 KiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structured_action: Option<JsonObject>,
    /// Kept as given, 32 KiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
    /// The work item that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_item_id: Option<WorkItemId>,
    /// The task that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// What its sender had seen of the run: kept as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub snapshot_version: Option<String>,
    /// The settings that its sender had seen: kept as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings_revision: Option<i32>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Something that an operator has done about a run, or wants to be done.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Intervention {
    /// Names it.
    pub id: InterventionId,
    /// Its run.
    pub workflow_id: WorkflowId,
    /// The work item that it is about.
    pub work_item_id: Option<WorkItemId>,
    /// The task that it is about.
    pub task_id: Option<TaskId>,
    /// The request that recorded it.
    pub request_id: Option<String>,
    /// What kind of thing.
    pub kind: String,
    /// Where it comes from.
    pub origin: String,
    /// How far it has come.
    pub status: String,
    /// What it is.
    pub summary: String,
    /// What else there is to say.
    pub note: Option<String>,
    /// The same for programs.
    pub structured_action: JsonObject,
    /// Free data.
    pub metadata: JsonObject,
    /// What its sender had seen of the run.
    pub snapshot_version: Option<String>,
    /// The settings that its sender had seen.
    pub settings_revision: Option<i32>,
    /// What wakes the orchestrator with it; none where there is nobody to wake.
    pub activation_id: Option<ActivationId>,
    /// What kind of caller recorded it.
    pub created_by_type: String,
    /// Which one.
    pub created_by_id: Uuid,
    /// When.
    pub created_at: Timestamp,
}

/// What a run, or a work item, is given to work with from the beginning.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InitialInputPacket {
    /// What it is, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub summary: Option<String>,
    /// The same for programs: free data, 32 KiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structured_inputs: Option<JsonObject>,
}

/// Gives a run something more to work with. The orchestrator is woken with it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddInputPacket {
    /// What kind of thing, such as `supplemental` or `plan_update`: free text.
    #[schema(min_length = 1, max_length = 120)]
    pub packet_kind: String,
    /// Where it comes from; `operator` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 120)]
    pub source: Option<String>,
    /// What it is, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub summary: Option<String>,
    /// The same for programs: free data, 32 KiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structured_inputs: Option<JsonObject>,
    /// Kept as given, 32 KiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
    /// The work item that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_item_id: Option<WorkItemId>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Something that a run was given to work with.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct InputPacket {
    /// Names it.
    pub id: InputPacketId,
    /// Its run.
    pub workflow_id: WorkflowId,
    /// The work item that it is for.
    pub work_item_id: Option<WorkItemId>,
    /// The request that brought it.
    pub request_id: Option<String>,
    /// What kind of thing: `launch` for what the run began with, `intake` or `plan_update` for what a work item
    /// began with, and free text.
    pub packet_kind: String,
    /// Where it comes from.
    pub source: String,
    /// What it is.
    pub summary: Option<String>,
    /// The same for programs.
    pub structured_inputs: JsonObject,
    /// Free data.
    pub metadata: JsonObject,
    /// What wakes the orchestrator with it; none where there is nobody to wake.
    pub activation_id: Option<ActivationId>,
    /// What kind of caller brought it.
    pub created_by_type: String,
    /// Which one.
    pub created_by_id: Uuid,
    /// When.
    pub created_at: Timestamp,
}
