//! Tenants: who owns data. Nothing is shared between two of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{TenantId, Timestamp};

/// An owner of data.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Tenant {
    /// Names the tenant.
    pub id: TenantId,
    /// For people.
    pub name: String,
    /// For addresses: lower case letters, digits and hyphens.
    pub slug: String,
    /// An inactive tenant's keys are refused.
    pub is_active: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Makes a tenant.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTenant {
    /// For people.
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// For addresses: lower case letters, digits and hyphens. Unique.
    #[schema(min_length = 1, max_length = 63)]
    pub slug: String,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// A tenant that was just made, with its first admin key.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewTenant {
    /// The tenant.
    pub tenant: Tenant,
    /// Its first admin key: keep it, it is not shown again.
    pub admin_api_key: String,
}

/// Changes a tenant. Only what is given changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateTenant {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub name: Option<String>,
    /// Whether its keys work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_active: Option<bool>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
