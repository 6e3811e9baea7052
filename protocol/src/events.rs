//! Events: what has happened, in an order that never skips.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::enums::words;
use crate::{JsonObject, TenantId, Timestamp};

words! {
    /// What kind of thing an event is about.
    EntityType {
        /// A task.
        Task = "task",
        /// A workflow.
        Workflow = "workflow",
        /// A work item.
        WorkItem = "work_item",
        /// A gate.
        Gate = "gate",
        /// An agent.
        Agent = "agent",
        /// A worker.
        Worker = "worker",
        /// A workspace.
        Workspace = "workspace",
        /// A playbook.
        Playbook = "playbook",
        /// The platform itself.
        System = "system",
    }
}

/// Something that has happened.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Names the event, and is the cursor after which to go on reading.
    pub id: String,
    /// Whose event it is.
    pub tenant_id: TenantId,
    /// What happened, such as `task.state_changed`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// What kind of thing it happened to.
    pub entity_type: EntityType,
    /// Which one.
    pub entity_id: Uuid,
    /// For tasks: its number within the task, from 1 without gaps.
    pub task_seq: Option<i32>,
    /// What kind of caller caused it: a scope, or `system`.
    pub actor_type: String,
    /// The agent, worker or key that caused it.
    pub actor_id: Option<Uuid>,
    /// What there is to know about it.
    pub data: JsonObject,
    /// When it happened, by the database clock.
    pub created_at: Timestamp,
}
