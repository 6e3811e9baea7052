//! The statements of what workspaces remember.

use protocol::{Json, MemoryEntry, TenantId, WorkItemId, WorkspaceId};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::Error;

/// Remembers values under keys, each with its size.
pub(super) async fn remember(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkspaceId,
    entries: &[(&str, &str, i32)],
    item: Option<WorkItemId>,
) -> sqlx::Result<()> {
    let keys: Vec<&str> = entries.iter().map(|(key, ..)| *key).collect();
    let values: Vec<&str> = entries.iter().map(|(_, value, _)| *value).collect();
    let sizes: Vec<i32> = entries.iter().map(|(.., size)| *size).collect();
    sqlx::query!(
        "insert into workspace_memory (tenant_id, workspace_id, key, value, size_bytes, work_item_id)
         select $1, $2, e.key, e.value::json, e.size_bytes, $6
         from unnest($3::text[], $4::text[], $5::integer[]) as e (key, value, size_bytes)
         on conflict (tenant_id, workspace_id, key) do update
         set value = excluded.value, size_bytes = excluded.size_bytes, work_item_id = excluded.work_item_id,
             updated_at = clock_timestamp()",
        tenant.uuid(),
        id.uuid(),
        &keys as &[&str],
        &values as &[&str],
        &sizes,
        item.map(WorkItemId::uuid),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A value that was forgotten.
pub(super) struct Forgotten {
    pub(super) work_item_id: Option<Uuid>,
    pub(super) size_bytes: i32,
}

/// Forgets the value under a key. Returns nothing when there is none.
pub(super) async fn forget(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkspaceId,
    key: &str,
) -> sqlx::Result<Option<Forgotten>> {
    sqlx::query_as!(
        Forgotten,
        "delete from workspace_memory where tenant_id = $1 and workspace_id = $2 and key = $3
         returning work_item_id, size_bytes",
        tenant.uuid(),
        id.uuid(),
        key,
    )
    .fetch_optional(db)
    .await
}

/// How much a workspace remembers.
pub(super) async fn memory_bytes(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkspaceId,
) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select coalesce(sum(size_bytes), 0) as "bytes!"
           from workspace_memory
           where tenant_id = $1 and workspace_id = $2"#,
        tenant.uuid(),
        id.uuid(),
    )
    .fetch_one(db)
    .await
}

struct Row {
    key: String,
    value: String,
    size_bytes: i32,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for MemoryEntry {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            key: row.key,
            value: Json::from_text(row.value)?,
            size_bytes: row.size_bytes,
            updated_at: row.updated_at.into(),
        })
    }
}

/// What is remembered in the name of a work item, by key.
pub(crate) async fn entries_of_item(
    db: &mut PgConnection,
    tenant: TenantId,
    item: WorkItemId,
) -> Result<Vec<MemoryEntry>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select key, value::text as "value!", size_bytes, updated_at
           from workspace_memory
           where tenant_id = $1 and work_item_id = $2
           order by key"#,
        tenant.uuid(),
        item.uuid(),
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(MemoryEntry::try_from).collect()
}

/// What a workspace remembers under these keys, or with this text in a key or a value; by key.
pub(super) async fn entries_of(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkspaceId,
    keys: Option<&[String]>,
    text: Option<&str>,
) -> Result<Vec<MemoryEntry>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select key, value::text as "value!", size_bytes, updated_at
           from workspace_memory
           where tenant_id = $1 and workspace_id = $2 and ($3::text[] is null or key = any($3))
             and ($4::text is null or position(lower($4) in lower(key)) > 0 or position(lower($4) in lower(value::text)) > 0)
           order by key"#,
        tenant.uuid(),
        id.uuid(),
        keys as Option<&[String]>,
        text,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(MemoryEntry::try_from).collect()
}
