//! Workspaces: the durable places in which runs happen.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::enums::words;
use crate::{Json, JsonObject, TenantId, Timestamp, WorkItemId, WorkspaceId};

words! {
    /// What became of a value in a memory.
    MemoryAction {
        /// It was put there.
        Remembered = "remembered",
        /// It was taken away.
        Forgotten = "forgotten",
    }
}

/// A place in which runs happen.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Workspace {
    /// Names the workspace.
    pub id: WorkspaceId,
    /// Whose workspace it is.
    pub tenant_id: TenantId,
    /// For people.
    pub name: String,
    /// For addresses. Unique.
    pub slug: String,
    /// For people, longer.
    pub description: Option<String>,
    /// The repository that is worked on.
    pub repository_url: Option<String>,
    /// How work is done in it. Secrets are not in it; `credentials.git_token_configured` tells of one.
    pub settings: JsonObject,
    /// What it remembers, by key; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<JsonObject>,
    /// How much it remembers.
    pub memory_size_bytes: i64,
    /// How much it can remember.
    pub memory_max_bytes: i64,
    /// Whether new runs may be launched in it.
    pub is_active: bool,
    /// How its runs are doing.
    pub summary: WorkspaceSummary,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed, its memory aside.
    pub updated_at: Timestamp,
}

/// How the runs of a workspace are doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceSummary {
    /// Runs that go on.
    pub active_workflow_count: i64,
    /// Runs that ended well.
    pub completed_workflow_count: i64,
    /// Runs that failed or are paused.
    pub attention_workflow_count: i64,
    /// All runs.
    pub total_workflow_count: i64,
    /// When one of them last changed.
    pub last_workflow_activity_at: Option<Timestamp>,
}

/// Makes a workspace.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWorkspace {
    /// For people.
    #[schema(min_length = 1, max_length = 255)]
    pub name: String,
    /// For addresses: lower case letters, digits and hyphens. Unique.
    #[schema(min_length = 1, max_length = 120)]
    pub slug: String,
    /// For people, longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub description: Option<String>,
    /// The repository that is worked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2000)]
    pub repository_url: Option<String>,
    /// How work is done in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<JsonObject>,
    /// What it is to remember, by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<JsonObject>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Changes a workspace. Only what is given changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateWorkspace {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub name: Option<String>,
    /// For addresses. Unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 120)]
    pub slug: Option<String>,
    /// For people, longer. An empty text takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub description: Option<String>,
    /// The repository that is worked on. An empty text takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2000)]
    pub repository_url: Option<String>,
    /// How work is done in it: the members that are given replace those of the same name, and `null` takes
    /// one away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<JsonObject>,
    /// Whether new runs may be launched in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_active: Option<bool>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Makes a workspace remember a value under a key.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RememberInWorkspace {
    /// The key.
    #[schema(min_length = 1, max_length = 255)]
    pub key: String,
    /// The value.
    pub value: Json,
    /// The work item in whose name: it must belong to a run in this workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_item_id: Option<WorkItemId>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Remembers values in the workspace of a task: one by `key` and `value`, or several as `updates`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RememberForTask {
    /// The attempt, as the claim returned it. A holder that registered with a `protocol_version` must name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// Under which key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub key: Option<String>,
    /// What.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Json>,
    /// Keys and values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<JsonObject>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What the workspace of a task remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskMemory {
    /// By their keys.
    pub entries: Vec<MemoryEntry>,
}

/// What hangs on a workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceDeleteImpact {
    /// Runs in it.
    pub workflows: i64,
    /// Runs in it that have not ended.
    pub active_workflows: i64,
    /// Tasks in it.
    pub tasks: i64,
    /// Tasks in it that have not ended.
    pub active_tasks: i64,
    /// Work items in it.
    pub work_items: i64,
    /// Keys that are restricted to it.
    pub api_keys: i64,
}

/// What is remembered in the name of a work item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkItemMemory {
    /// By their keys.
    pub entries: Vec<MemoryEntry>,
}

/// A value in the memory of a workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MemoryEntry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Json,
    /// Bytes of the key and of the value.
    pub size_bytes: i32,
    /// When it was put there.
    pub updated_at: Timestamp,
}

/// What was remembered and forgotten in the name of a work item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkItemMemoryHistory {
    /// The newest first.
    pub history: Vec<MemoryChange>,
}

/// A change of a memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MemoryChange {
    /// The key.
    pub key: String,
    /// What became of its value.
    pub action: MemoryAction,
    /// The value; null when it was forgotten, or had more than 8192 bytes.
    #[schema(value_type = Json)]
    pub value: Option<Json>,
    /// Bytes of the key and of the value.
    pub size_bytes: i32,
    /// What kind of caller changed it.
    pub actor_type: String,
    /// The agent, worker or key that changed it.
    pub actor_id: uuid::Uuid,
    /// When.
    pub created_at: Timestamp,
}
