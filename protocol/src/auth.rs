//! Who is asking.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{KeyId, Scope, TenantId, Timestamp, WorkspaceId};

/// Exchanges an API key for a short-lived token.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExchangeToken {
    /// The key.
    #[serde(alias = "apiKey")]
    pub api_key: String,
    /// Accepted for compatibility; tokens are not kept in cookies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_session: Option<bool>,
}

/// A short-lived token that stands for a key.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Goes where the key would go: `Authorization: Bearer <token>`.
    pub token: String,
    /// When it ends. Revoking the key ends it at once.
    pub expires_at: Timestamp,
    /// What the token may do.
    pub scope: Scope,
    /// Whose data it reaches.
    pub tenant_id: TenantId,
}

/// Who the platform takes the caller for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// Always true: without valid credentials the answer is 401.
    pub authenticated: bool,
    /// What the caller may do.
    pub scope: Scope,
    /// Whose data the caller reaches.
    pub tenant_id: TenantId,
    /// The key that was used.
    pub key_id: KeyId,
    /// What the key belongs to: `agent`, `worker`, or free text.
    pub owner_type: String,
    /// The id of the agent or worker.
    pub owner_id: Option<Uuid>,
    /// When the key ends.
    pub expires_at: Option<Timestamp>,
    /// The workspaces the key is restricted to; empty means all.
    pub workspace_ids: Vec<WorkspaceId>,
    /// The routing tags the key is restricted to; empty means all.
    pub routing_tags: Vec<String>,
}
