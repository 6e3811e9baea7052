//! The history of what was remembered in the name of work items. What is remembered now is in the memory of
//! their workspace.

use protocol::{Json, MemoryAction, MemoryChange, TenantId, WorkItemId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;

/// Changes that are kept of a work item: as many as can be asked for.
pub(super) const CHANGES_MAX: i64 = 500;

/// What became of a value that was put there in the name of a work item.
pub(crate) struct NewMemoryChange<'c> {
    pub(crate) key: &'c str,
    pub(crate) action: MemoryAction,
    /// The value as JSON text, if it is kept.
    pub(crate) value: Option<&'c str>,
    pub(crate) size_bytes: i32,
}

/// Notes a change of a work item that still exists, and forgets the oldest ones beyond [`CHANGES_MAX`].
pub(crate) async fn note_memory_change(
    db: &mut PgConnection,
    tenant: TenantId,
    item: Uuid,
    actor: (&str, Uuid),
    change: NewMemoryChange<'_>,
) -> Result<(), Error> {
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
        CHANGES_MAX,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What was remembered and forgotten in the name of a work item, the newest first.
pub(super) async fn memory_changes(
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
