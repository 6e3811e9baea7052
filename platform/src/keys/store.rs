//! Every statement that writes `api_keys` and `key_lookups`, and the look-up.

use protocol::{KeyId, Scope, TenantId, WorkspaceId};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::Error;
use crate::http::Identity;

/// A key that is valid now, and for how long it stays so by the database clock.
pub(super) struct Valid {
    pub(super) identity: Identity,
    pub(super) seconds_left: Option<f64>,
}

struct Row {
    tenant_id: Uuid,
    id: Uuid,
    scope: String,
    owner_type: String,
    owner_id: Option<Uuid>,
    expires_at: Option<DateTime<Utc>>,
    workspace_ids: Vec<Uuid>,
    routing_tags: Vec<String>,
    seconds_left: Option<f64>,
}

/// Whether a key is neither revoked nor expired, and its tenant active.
pub(super) async fn is_valid(
    db: &mut PgConnection,
    tenant: TenantId,
    key: KeyId,
) -> sqlx::Result<bool> {
    let row = sqlx::query!(
        r#"select t.is_active
                  and k.revoked_at is null
                  and (k.expires_at is null or k.expires_at > clock_timestamp()) as "is_valid!"
           from api_keys k
           join tenants t on t.id = k.tenant_id
           where k.tenant_id = $1 and k.id = $2"#,
        tenant.uuid(),
        key.uuid(),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.is_some_and(|row| row.is_valid))
}

/// Finds a key by its hash, unless it is revoked, expired, or its tenant inactive.
pub(super) async fn find_valid(db: &mut PgConnection, hash: &[u8]) -> Result<Option<Valid>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select k.tenant_id, k.id, k.scope, k.owner_type, k.owner_id, k.expires_at, k.workspace_ids, k.routing_tags,
                  extract(epoch from k.expires_at - clock_timestamp())::float8 as seconds_left
           from key_lookups l
           join api_keys k on k.tenant_id = l.tenant_id and k.id = l.key_id
           join tenants t on t.id = k.tenant_id
           where l.key_hash = $1
             and t.is_active
             and k.revoked_at is null
             and (k.expires_at is null or k.expires_at > clock_timestamp())"#,
        hash,
    )
    .fetch_optional(db)
    .await?;
    row.map(|row| {
        Ok(Valid {
            identity: Identity {
                tenant: TenantId::from(row.tenant_id),
                key: KeyId::from(row.id),
                scope: row.scope.parse::<Scope>().map_err(anyhow::Error::from)?,
                owner_type: row.owner_type,
                owner: row.owner_id,
                expires_at: row.expires_at.map(Into::into),
                workspaces: row
                    .workspace_ids
                    .into_iter()
                    .map(WorkspaceId::from)
                    .collect(),
                routing_tags: row.routing_tags,
            },
            seconds_left: row.seconds_left,
        })
    })
    .transpose()
}
