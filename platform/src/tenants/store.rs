//! Every statement that writes `tenants`.

use protocol::{Tenant, TenantId};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use super::DEFAULT_TENANT;
use crate::error::Error;
use crate::http::PageQuery;

struct Row {
    id: Uuid,
    name: String,
    slug: String,
    is_active: bool,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Row> for Tenant {
    fn from(row: Row) -> Self {
        Self {
            id: row.id.into(),
            name: row.name,
            slug: row.slug,
            is_active: row.is_active,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        }
    }
}

/// Makes the default tenant unless it exists.
///
/// # Errors
/// Those of the database.
pub async fn ensure_default(db: &mut PgConnection) -> Result<(), Error> {
    sqlx::query!(
        "insert into tenants (id, name, slug)
         values ($1, 'Default', 'default')
         on conflict (id) do nothing",
        DEFAULT_TENANT.uuid(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Stores a tenant, unless its slug is taken.
pub(super) async fn insert(
    db: &mut PgConnection,
    id: TenantId,
    name: &str,
    slug: &str,
) -> sqlx::Result<Option<Tenant>> {
    let row = sqlx::query_as!(
        Row,
        "insert into tenants (id, name, slug)
         values ($1, $2, $3)
         on conflict on constraint tenants_slug_key do nothing
         returning id, name, slug, is_active, created_at, updated_at",
        id.uuid(),
        name,
        slug,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(Tenant::from))
}

/// Changes what is given.
pub(super) async fn update(
    db: &mut PgConnection,
    id: TenantId,
    name: Option<&str>,
    is_active: Option<bool>,
) -> sqlx::Result<Option<Tenant>> {
    let row = sqlx::query_as!(
        Row,
        "update tenants
         set name = coalesce($2, name),
             is_active = coalesce($3, is_active),
             updated_at = case when $2::text is null and $3::boolean is null then updated_at else clock_timestamp() end
         where id = $1
         returning id, name, slug, is_active, created_at, updated_at",
        id.uuid(),
        name,
        is_active,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(Tenant::from))
}

/// Reads a tenant.
pub(super) async fn read(db: &mut PgConnection, id: TenantId) -> sqlx::Result<Option<Tenant>> {
    let (tenants, _) = select(db, Some(id), 1, 0).await?;
    Ok(tenants.into_iter().next())
}

/// Reads a page of tenants, newest first, and counts them all.
pub(super) async fn list(
    db: &mut PgConnection,
    page: PageQuery,
) -> sqlx::Result<(Vec<Tenant>, i64)> {
    select(db, None, page.per_page(), page.offset()).await
}

async fn select(
    db: &mut PgConnection,
    id: Option<TenantId>,
    limit: i64,
    offset: i64,
) -> sqlx::Result<(Vec<Tenant>, i64)> {
    let total = match id {
        Some(_) => 1,
        None => {
            sqlx::query_scalar!(r#"select count(*) as "count!" from tenants"#)
                .fetch_one(&mut *db)
                .await?
        }
    };
    let rows = sqlx::query_as!(
        Row,
        "select id, name, slug, is_active, created_at, updated_at
         from tenants
         where $1::uuid is null or id = $1
         order by created_at desc, id desc
         limit $2 offset $3",
        id.map(TenantId::uuid),
        limit,
        offset,
    )
    .fetch_all(db)
    .await?;
    Ok((rows.into_iter().map(Tenant::from).collect(), total))
}
