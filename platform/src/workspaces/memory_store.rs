//! The statements of what workspaces remember, and of what work items remember in them.

use protocol::{Json, MemoryAction, MemoryChange, MemoryEntry, TenantId, WorkItemId, WorkspaceId};
use sqlx::PgConnection;
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

/// What became of a value that was put there in the name of a work item.
pub(super) struct Change<'c> {
    pub(super) key: &'c str,
    pub(super) action: MemoryAction,
    /// The value as JSON text, if it is kept.
    pub(super) value: Option<&'c str>,
    pub(super) size_bytes: i32,
}

/// Notes a change of a work item that still exists, and forgets the oldest ones beyond `keep`.
pub(super) async fn note_change(
    db: &mut PgConnection,
    tenant: TenantId,
    item: Uuid,
    actor: (&str, Uuid),
    change: Change<'_>,
    keep: i64,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into work_item_memory_changes (tenant_id, work_item_id, id, key, action, value, size_bytes, actor_type, actor_id)
         select $1, i.id, $3, $4, $5, $6::text::json, $7, $8, $9
         from work_items i
         where i.tenant_id = $1 and i.id = $2
         for key share",
        tenant.uuid(),
        item,
        Uuid::now_v7(),
        change.key,
        change.action.as_str(),
        change.value,
        change.size_bytes,
        actor.0,
        actor.1,
    )
    .execute(&mut *db)
    .await?;
    sqlx::query!(
        "delete from work_item_memory_changes
         where tenant_id = $1 and work_item_id = $2
           and id <= (select id from work_item_memory_changes where tenant_id = $1 and work_item_id = $2
                      order by id desc offset $3 limit 1)",
        tenant.uuid(),
        item,
        keep,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What is remembered in the name of a work item, by key.
pub(crate) async fn entries_of_item(
    db: &mut PgConnection,
    tenant: TenantId,
    item: WorkItemId,
) -> Result<Vec<MemoryEntry>, Error> {
    let rows = sqlx::query!(
        r#"select key, value::text as "value!", size_bytes, updated_at
           from workspace_memory
           where tenant_id = $1 and work_item_id = $2
           order by key"#,
        tenant.uuid(),
        item.uuid(),
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(MemoryEntry {
                key: row.key,
                value: Json::from_text(row.value)?,
                size_bytes: row.size_bytes,
                updated_at: row.updated_at.into(),
            })
        })
        .collect()
}

/// What was remembered and forgotten in the name of a work item, the newest first.
pub(crate) async fn changes_of_item(
    db: &mut PgConnection,
    tenant: TenantId,
    item: WorkItemId,
    limit: i64,
) -> Result<Vec<MemoryChange>, Error> {
    let rows = sqlx::query!(
        "select key, action, value::text as value, size_bytes, actor_type, actor_id, created_at
         from work_item_memory_changes
         where tenant_id = $1 and work_item_id = $2
         order by id desc
         limit $3",
        tenant.uuid(),
        item.uuid(),
        limit,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(MemoryChange {
                key: row.key,
                action: row.action.parse().map_err(anyhow::Error::from)?,
                value: row.value.map(Json::from_text).transpose()?,
                size_bytes: row.size_bytes,
                actor_type: row.actor_type,
                actor_id: row.actor_id,
                created_at: row.created_at.into(),
            })
        })
        .collect()
}
