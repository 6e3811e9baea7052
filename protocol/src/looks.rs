//! What tasks look like from outside: their context, and how many wait.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{AgentId, Json, JsonObject, TaskId};

/// What an agent should know to work on a task.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskContext {
    /// The agent that asks, if it was named.
    pub agent: Option<ContextAgent>,
    /// The task.
    pub task: ContextTask,
}

/// The agent that asks for a context.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ContextAgent {
    /// Names the agent.
    pub id: AgentId,
    /// For people.
    pub name: String,
    /// The tags it is meant for.
    pub routing_tags: Vec<String>,
    /// Free data.
    pub metadata: JsonObject,
}

/// A task with what came before it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ContextTask {
    /// Names the task.
    pub id: TaskId,
    /// What it works on.
    pub input: JsonObject,
    /// What it should know.
    pub context: JsonObject,
    /// Settings of its role.
    pub role_config: JsonObject,
    /// What the attempt before told about how far it had come.
    pub progress: Option<JsonObject>,
    /// What was left to whoever works on it: by an earlier attempt, or by the work that it goes on from.
    pub predecessor_handoff: Option<crate::TaskHandoff>,
    /// Outputs of the tasks it depends on, by their ids.
    pub upstream_outputs: std::collections::BTreeMap<TaskId, Json>,
}

/// How much is waiting.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct QueueDepth {
    /// Ready tasks, all together.
    pub total_pending: i64,
    /// Ready tasks by playbook.
    pub by_playbook: std::collections::BTreeMap<Uuid, i64>,
    /// By routing tag; the empty tag stands for tasks without a role.
    pub by_tag: Vec<TagDepth>,
}

/// How much is waiting for one routing tag.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TagDepth {
    /// The tag; empty for tasks without a role.
    pub tag: String,
    /// Ready tasks.
    pub ready: i64,
    /// For how long the oldest of them has been ready.
    pub oldest_ready_seconds: f64,
}
