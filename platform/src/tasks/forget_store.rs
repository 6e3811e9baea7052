//! The statements that delete the tasks of a workspace.

use protocol::{TaskId, TenantId, WorkspaceId};
use sqlx::PgConnection;

use crate::error::Error;

/// The tasks of a workspace that have not ended, in the order of their ids.
pub(super) async fn open_in_workspace(
    db: &mut PgConnection,
    tenant: TenantId,
    workspace: WorkspaceId,
) -> Result<Vec<TaskId>, Error> {
    let open = sqlx::query_scalar!(
        "select t.id
         from tasks t
         where t.tenant_id = $1 and t.workspace_id = $2
           and not exists (select from task_results r where r.tenant_id = $1 and r.task_id = t.id)
         order by t.id",
        tenant.uuid(),
        workspace.uuid(),
    )
    .fetch_all(db)
    .await?;
    Ok(open.into_iter().map(TaskId::from).collect())
}

/// Deletes the tasks of a workspace that have ended, with what belongs to them.
pub(super) async fn delete_of_workspace(
    db: &mut PgConnection,
    tenant: TenantId,
    workspace: WorkspaceId,
) -> Result<u64, Error> {
    let deleted = sqlx::query!(
        "with old as materialized (
             select t.id
             from tasks t
             join task_results r on r.tenant_id = t.tenant_id and r.task_id = t.id
             where t.tenant_id = $1 and t.workspace_id = $2
             order by t.id
             for update of r
         ),
         results as (delete from task_results r using old where r.tenant_id = $1 and r.task_id = old.id),
         needs as (delete from task_dependencies d using old where d.tenant_id = $1 and d.task_id = old.id),
         needed as (delete from task_dependencies d using old where d.tenant_id = $1 and d.needs_id = old.id)
         delete from tasks t using old where t.tenant_id = $1 and t.id = old.id",
        tenant.uuid(),
        workspace.uuid(),
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}
