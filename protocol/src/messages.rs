//! Messages: what is said to whoever holds a task.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::enums::words;
use crate::{ActivationId, MessageId, TaskId, Timestamp, Urgency, WorkflowId};

words! {
    /// How far a message has come.
    DeliveryState {
        /// Whoever holds the task is told it with the next heartbeat.
        PendingDelivery = "pending_delivery",
        /// The attempt that holds the task, or held it last, has acknowledged it.
        Delivered = "delivered",
        /// Nobody holds the task: the next attempt is told it, if there is one.
        TaskNotInProgress = "task_not_in_progress",
    }
}

/// Says something to whoever holds a task.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendMessage {
    /// What it is to do, or to know.
    #[schema(min_length = 1, max_length = 4000)]
    pub message: String,
    /// How urgent it is; `info` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urgency: Option<Urgency>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// A message, as those see it who follow the task.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskMessage {
    /// Names it.
    pub id: MessageId,
    /// Orders the messages of a task: they are told in this order.
    pub seq: i64,
    /// The task.
    pub task_id: TaskId,
    /// Its run.
    pub workflow_id: Option<WorkflowId>,
    /// What is said.
    pub message: String,
    /// How urgent it is.
    pub urgency: Urgency,
    /// How far it has come.
    pub delivery_state: DeliveryState,
    /// The latest attempt that has acknowledged it.
    pub delivered_attempt: Option<i32>,
    /// When.
    pub delivered_at: Option<Timestamp>,
    /// The task of the orchestrator that said it.
    pub orchestrator_task_id: Option<TaskId>,
    /// What had woken that orchestrator.
    pub activation_id: Option<ActivationId>,
    /// What kind of caller said it.
    pub sent_by_type: String,
    /// Which one.
    pub sent_by_id: Uuid,
    /// When.
    pub sent_at: Timestamp,
}

/// A message that waits for the attempt that holds its task to acknowledge it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PendingMessage {
    /// Names it.
    pub id: MessageId,
    /// The task.
    pub task_id: TaskId,
    /// The attempt that is to acknowledge it.
    pub attempt: i32,
    /// Orders the messages of a task.
    pub seq: i64,
    /// What is said.
    pub message: String,
    /// How urgent it is.
    pub urgency: Urgency,
    /// When it was said.
    pub sent_at: Timestamp,
}

/// Says that an attempt has received a message.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcknowledgeMessage {
    /// The attempt, as the claim returned it. A holder that registered with a `protocol_version` must name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
