//! The statements of what tasks have to do with activations.

use protocol::{ActivationId, TaskId, TenantId};
use sqlx::PgConnection;

use crate::error::Error;

/// Notes which activation made a task.
///
/// # Errors
/// Those of the database.
pub(crate) async fn bind_to_activation(
    db: &mut PgConnection,
    tenant: TenantId,
    task: TaskId,
    activation: ActivationId,
) -> Result<(), Error> {
    sqlx::query!(
        "update tasks set activation_id = $3 where tenant_id = $1 and id = $2",
        tenant.uuid(),
        task.uuid(),
        activation.uuid(),
    )
    .execute(db)
    .await?;
    Ok(())
}
