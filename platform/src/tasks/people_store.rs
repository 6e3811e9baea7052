//! The statements of what people do with tasks.

use protocol::{TaskId, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;

/// Gives a task another context, for its next attempt.
pub(super) async fn replace_context(
    db: &mut PgConnection,
    tenant: TenantId,
    id: TaskId,
    context: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "update tasks set context = $3::text::json, updated_at = clock_timestamp() where tenant_id = $1 and id = $2",
        tenant.uuid(),
        id.uuid(),
        context,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Says who alone may claim a task.
pub(super) async fn prefer(
    db: &mut PgConnection,
    tenant: TenantId,
    id: TaskId,
    agent: Option<Uuid>,
    worker: Option<Uuid>,
) -> Result<(), Error> {
    sqlx::query!(
        "update tasks set preferred_agent_id = $3, preferred_worker_id = $4, updated_at = clock_timestamp()
         where tenant_id = $1 and id = $2",
        tenant.uuid(),
        id.uuid(),
        agent,
        worker,
    )
    .execute(db)
    .await?;
    Ok(())
}
