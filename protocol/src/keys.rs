//! API keys: `st_<scope>_<secret>`, shown once, stored as a hash.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{KeyId, Scope, TenantId, Timestamp, WorkspaceId};

/// A key without its secret.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ApiKey {
    /// Names the key.
    pub id: KeyId,
    /// Whose key it is.
    pub tenant_id: TenantId,
    /// What it may do.
    pub scope: Scope,
    /// What it belongs to: `agent`, `worker`, `user`, `service`, or free text.
    pub owner_type: String,
    /// The agent or worker it acts for.
    pub owner_id: Option<Uuid>,
    /// A note for people.
    pub label: Option<String>,
    /// The first characters of the key's hash, to tell keys apart. Not a secret.
    pub key_prefix: String,
    /// The workspaces it is restricted to; empty means all.
    pub workspace_ids: Vec<WorkspaceId>,
    /// The routing tags it is restricted to; empty means all.
    pub routing_tags: Vec<String>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Whether it was revoked.
    pub is_revoked: bool,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Makes a key.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// What it may do. No more than the key that makes it.
    pub scope: Scope,
    /// What it belongs to; `user` unless given. Agent and worker keys belong to `owner_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 120)]
    pub owner_type: Option<String>,
    /// The agent or worker it acts for. Required for the scopes agent and worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<Uuid>,
    /// A note for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub label: Option<String>,
    /// When it ends; never unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The workspaces it is restricted to; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workspace_ids: Vec<WorkspaceId>,
    /// The routing tags it is restricted to; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routing_tags: Vec<String>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// A key that was just made. The only time its secret is shown.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewKey {
    /// Names the key.
    pub id: KeyId,
    /// The key itself: keep it, it is not shown again.
    pub api_key: String,
    /// Tells keys apart in lists.
    pub key_prefix: String,
}

/// Replaces a key by a new one with the same rights.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// How long the old key still works, in seconds; 0 unless given, a day at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 86400)]
    pub overlap_seconds: Option<i32>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// A key that was revoked.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RevokedKey {
    /// Names the key.
    pub id: KeyId,
    /// Always true.
    pub revoked: bool,
}
