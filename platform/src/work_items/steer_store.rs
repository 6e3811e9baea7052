//! The statements that change several work items of a run at once.

use protocol::{TenantId, WorkItemId, WorkflowId};
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
