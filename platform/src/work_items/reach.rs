//! Which work items a key may see.

use protocol::{WorkItem, WorkItemId, WorkflowId};
use sqlx::PgConnection;

use super::store;
use crate::error::Error;
use crate::http::Caller;
use crate::workflows;

/// The work item of a run, if the key may see the run.
///
/// # Errors
/// 404.
pub(crate) async fn reach(
    db: &mut PgConnection,
    caller: &Caller,
    run: WorkflowId,
    id: WorkItemId,
) -> Result<WorkItem, Error> {
    let tenant = caller.tenant();
    let workspaces = caller.workspace_filter();
    workflows::must_reach(db, tenant, run, workspaces.as_deref()).await?;
    store::read(db, tenant, run, id).await
}
