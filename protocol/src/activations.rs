//! Activations: what wakes the orchestrator of a run.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::enums::words;
use crate::{ActivationId, JsonObject, TaskError, TaskId, Timestamp, WorkItemId, WorkflowId};

words! {
    /// How an activation is doing.
    ActivationState {
        /// It waits for the orchestrator to be woken.
        Queued = "queued",
        /// The orchestrator has it.
        Processing = "processing",
        /// It is done with.
        Completed = "completed",
        /// The orchestrator has failed on it too often: a person is needed.
        Failed = "failed",
    }

    /// Why an orchestrator was woken.
    ActivationReason {
        /// Something has happened.
        QueuedEvents = "queued_events",
        /// Nothing has happened for long, and nothing else would.
        Heartbeat = "heartbeat",
    }

    /// What is known of an activation that does not go its usual way.
    RecoveryStatus {
        /// Its orchestrator takes long.
        StaleDetected = "stale_detected",
        /// Its orchestrator failed; another attempt comes after a pause.
        Requeued = "requeued",
        /// Its orchestrator failed too often: a person is needed.
        OperatorActionRequired = "operator_action_required",
    }
}

/// Wakes the orchestrator of a run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateActivation {
    /// For the orchestrator: why.
    #[schema(min_length = 1, max_length = 2000)]
    pub reason: String,
    /// What has happened: free text, such as `operator.note`.
    #[schema(min_length = 1, max_length = 120)]
    pub event_type: String,
    /// What there is to know about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<JsonObject>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// One thing that an orchestrator is told, as its task's `input.events` has it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ActivationEvent {
    /// The activation that brought it.
    pub queue_id: ActivationId,
    /// What has happened.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Why that matters.
    pub reason: String,
    /// What there is to know about it.
    pub payload: JsonObject,
    /// The work item it is about.
    pub work_item_id: Option<WorkItemId>,
    /// The stage it is about.
    pub stage_name: Option<String>,
    /// When it happened.
    pub timestamp: Timestamp,
}

/// One thing that wakes an orchestrator. Those that are told together share an `activation_id`, and the first
/// of them, whose `id` that is, stands for all.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Activation {
    /// Names it.
    pub id: ActivationId,
    /// The activation that it was told with; none while it waits.
    pub activation_id: Option<ActivationId>,
    /// Its run.
    pub workflow_id: WorkflowId,
    /// The request that made it.
    pub request_id: Option<String>,
    /// For the orchestrator: why.
    pub reason: String,
    /// What has happened.
    pub event_type: String,
    /// Why the orchestrator was woken.
    pub activation_reason: ActivationReason,
    /// What there is to know about it.
    pub payload: JsonObject,
    /// How it is doing.
    pub state: ActivationState,
    /// How many tasks its orchestrator was given for it, one after the other.
    pub dispatch_attempt: i32,
    /// Names the latest of these tries.
    pub dispatch_token: Option<Uuid>,
    /// The latest of these tasks.
    pub task_id: Option<TaskId>,
    /// How many of them failed since a person last stepped in.
    pub failure_count: i32,
    /// When the next one comes.
    pub next_try_at: Option<Timestamp>,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// When the latest task was made.
    pub started_at: Option<Timestamp>,
    /// When it was done with.
    pub consumed_at: Option<Timestamp>,
    /// When all that was told with it was done with.
    pub completed_at: Option<Timestamp>,
    /// How it ended, where there is something to say.
    pub summary: Option<String>,
    /// Why its orchestrator failed last.
    pub error: Option<TaskError>,
    /// What is known when it does not go its usual way.
    pub recovery_status: Option<RecoveryStatus>,
    /// The same in a sentence.
    pub recovery_reason: Option<String>,
    /// When that was noticed.
    pub recovery_detected_at: Option<Timestamp>,
    /// What kinds of things it tells.
    pub event_types: Vec<String>,
    /// When the last of them happened.
    pub latest_event_at: Timestamp,
    /// How many it tells.
    pub event_count: i64,
    /// What it tells, in order; where one activation was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<ActivationEvent>,
}
