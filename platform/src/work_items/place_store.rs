//! Where new tasks of work items belong, and whether a task or a work item is where it is looked for.

use std::collections::HashMap;

use protocol::{TaskId, TenantId, WorkItemId, WorkflowId, WorkspaceId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;

/// Where a new task is to belong.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) workflow_id: Uuid,
    pub(crate) workspace_id: Uuid,
    pub(crate) stage_name: Option<String>,
    pub(crate) run_state: String,
    pub(crate) is_completed: bool,
    pub(crate) is_cancelled: bool,
}

/// Locks the runs of work items in the order of their ids, and tells where new tasks of the items belong.
///
/// # Errors
/// Those of the database.
pub(crate) async fn places(
    db: &mut PgConnection,
    tenant: TenantId,
    items: &[Uuid],
) -> Result<HashMap<Uuid, Place>, Error> {
    sqlx::query!(
        "select id from workflows
         where tenant_id = $1 and id in (select workflow_id from work_items where tenant_id = $1 and id = any($2))
         order by id
         for no key update",
        tenant.uuid(),
        items,
    )
    .fetch_all(&mut *db)
    .await?;
    let rows = sqlx::query!(
        r#"select i.id, i.workflow_id, w.workspace_id, i.stage_name, w.state, i.completed_at is not null as "is_completed!",
                  i.cancel_requested_at is not null as "is_cancelled!"
           from work_items i
           join workflows w on w.tenant_id = $1 and w.id = i.workflow_id
           where i.tenant_id = $1 and i.id = any($2)"#,
        tenant.uuid(),
        items,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let place = Place {
                workflow_id: row.workflow_id,
                workspace_id: row.workspace_id,
                stage_name: row.stage_name,
                run_state: row.state,
                is_completed: row.is_completed,
                is_cancelled: row.is_cancelled,
            };
            (row.id, place)
        })
        .collect())
}

/// Locks a work item so that it stays, if its run is in this workspace.
///
/// # Errors
/// 404 for a work item that is elsewhere.
pub(crate) async fn lock_in_workspace(
    db: &mut PgConnection,
    tenant: TenantId,
    item: WorkItemId,
    workspace: WorkspaceId,
) -> Result<(), Error> {
    let found = sqlx::query_scalar!(
        "select i.id
         from work_items i
         join workflows w on w.tenant_id = $1 and w.id = i.workflow_id
         where i.tenant_id = $1 and i.id = $2 and w.workspace_id = $3
         for key share of i",
        tenant.uuid(),
        item.uuid(),
        workspace.uuid(),
    )
    .fetch_optional(db)
    .await?;
    found
        .map(|_| ())
        .ok_or_else(|| Error::not_found("work item", item))
}

/// Where a task is looked for: in a run, and in one of its work items if one is named.
pub(super) type TaskPlace = (WorkflowId, Option<WorkItemId>, TaskId);

/// Refuses a task that is not in this place, or not for a key restricted to these workspaces.
pub(super) async fn must_contain(
    db: &mut PgConnection,
    tenant: TenantId,
    (run, item, task): TaskPlace,
    workspaces: Option<&[Uuid]>,
) -> Result<(), Error> {
    let is_there = sqlx::query_scalar!(
        r#"select exists (
               select from tasks
               where tenant_id = $1 and id = $2 and workflow_id = $3
                 and ($4::uuid is null or work_item_id = $4)
                 and ($5::uuid[] is null or workspace_id = any($5))
           ) as "is_there!""#,
        tenant.uuid(),
        task.uuid(),
        run.uuid(),
        item.map(WorkItemId::uuid),
        workspaces as Option<&[Uuid]>,
    )
    .fetch_one(db)
    .await?;
    match is_there {
        true => Ok(()),
        false => Err(Error::not_found("task", task)),
    }
}
