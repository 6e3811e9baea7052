//! What was left to whoever works on a task.

use protocol::{Task, TaskHandoff, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::store;
use crate::error::Error;

/// The handoff that a task goes on from. The first that there is: what an earlier attempt of the task left, or
/// its latest before it was sent back; what the task left that it judges; the latest of the tasks that it depends
/// on; the latest of other tasks of its work item; the latest of the work item that its own is a part of.
///
/// # Errors
/// Those of the database.
pub(crate) async fn predecessor_of(
    db: &mut PgConnection,
    tenant: TenantId,
    task: &Task,
) -> Result<Option<TaskHandoff>, Error> {
    let needed: Vec<Uuid> = task.depends_on.iter().map(|id| id.uuid()).collect();
    let round = (task.rework_count, task.attempt);
    let found = store::predecessor(db, tenant, task.id, round, &needed).await?;
    match found {
        None => Ok(None),
        Some(id) => store::read(db, tenant, id).await,
    }
}
