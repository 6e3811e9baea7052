//! The statements that change several work items of a run at once.

use protocol::{JsonObject, TaskId, TenantId, WorkItemId, WorkflowId};
use sqlx::PgConnection;

use crate::error::Error;

/// Completes the open work items of a run, or of a stage of it.
///
/// # Errors
/// Those of the database.
pub(crate) async fn close_open(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    stage: Option<&str>,
    column: Option<&str>,
) -> Result<(), Error> {
    sqlx::query!(
        "update work_items
         set completed_at = clock_timestamp(), blocked_state = null, blocked_reason = null, next_expected_actor = null,
             next_expected_action = null, column_id = coalesce($4, column_id), updated_at = clock_timestamp()
         where tenant_id = $1 and workflow_id = $2 and completed_at is null and cancel_requested_at is null
           and ($3::text is null or stage_name = $3)",
        tenant.uuid(),
        run.uuid(),
        stage as Option<&str>,
        column as Option<&str>,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Says what is expected next of the open work items of a stage.
///
/// # Errors
/// Those of the database.
pub(crate) async fn expect_of_stage(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    stage: &str,
    action: Option<&str>,
) -> Result<(), Error> {
    sqlx::query!(
        "update work_items
         set next_expected_action = $4, rework_count = rework_count + case when $4 = 'rework' then 1 else 0 end,
             updated_at = clock_timestamp()
         where tenant_id = $1 and workflow_id = $2 and stage_name = $3 and completed_at is null and cancel_requested_at is null",
        tenant.uuid(),
        run.uuid(),
        stage,
        action as Option<&str>,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Blocks the open work items of a stage.
///
/// # Errors
/// Those of the database.
pub(crate) async fn block_stage(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    stage: &str,
    column: Option<&str>,
    reason: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "update work_items
         set blocked_state = 'blocked', blocked_reason = $5, column_id = coalesce($4, column_id), updated_at = clock_timestamp()
         where tenant_id = $1 and workflow_id = $2 and stage_name = $3 and completed_at is null and cancel_requested_at is null",
        tenant.uuid(),
        run.uuid(),
        stage,
        column as Option<&str>,
        reason,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Says who is expected to do what next with a work item.
///
/// # Errors
/// Those of the database.
pub(crate) async fn expect(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkItemId,
    actor: Option<&str>,
    action: Option<&str>,
) -> Result<(), Error> {
    sqlx::query!(
        "update work_items set next_expected_actor = $3, next_expected_action = $4, updated_at = clock_timestamp()
         where tenant_id = $1 and id = $2",
        tenant.uuid(),
        id.uuid(),
        actor,
        action,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Keeps what an orchestrator noted about how a work item goes on, as JSON text.
///
/// # Errors
/// Those of the database.
pub(crate) async fn keep_continuity(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkItemId,
    note: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "update work_items set continuity = $3::text::json, updated_at = clock_timestamp() where tenant_id = $1 and id = $2",
        tenant.uuid(),
        id.uuid(),
        note,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What an orchestrator noted last about how a work item goes on.
///
/// # Errors
/// Those of the database.
pub(crate) async fn continuity(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkItemId,
) -> Result<Option<JsonObject>, Error> {
    let noted = sqlx::query_scalar!(
        "select continuity::text from work_items where tenant_id = $1 and id = $2",
        tenant.uuid(),
        id.uuid(),
    )
    .fetch_optional(db)
    .await?;
    Ok(noted.flatten().map(JsonObject::from_text).transpose()?)
}

/// The tasks of a work item that have not ended, in their order, 20 at most.
///
/// # Errors
/// Those of the database.
pub(crate) async fn open_tasks(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkItemId,
) -> Result<Vec<TaskId>, Error> {
    let found = sqlx::query_scalar!(
        "select t.id from tasks t
         left join task_results r on r.tenant_id = $1 and r.task_id = t.id
         where t.tenant_id = $1 and t.work_item_id = $2 and r.task_id is null
         order by t.id
         limit 20",
        tenant.uuid(),
        id.uuid(),
    )
    .fetch_all(db)
    .await?;
    Ok(found.into_iter().map(Into::into).collect())
}
