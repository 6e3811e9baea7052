//! A workspace goes for good, and with `cascade` everything in it.

use protocol::{ErrorCode, ReasonCode, WorkspaceId};
use serde_json::json;

use super::{must_be_visible, no_such_workspace, store, tell};
use crate::error::{Error, Refused};
use crate::http::Write;
use crate::{tasks, workflows};

/// Tasks that one request takes away: what one transaction does within its time.
const CASCADE_TASKS_MAX: i64 = 10_000;

/// Deletes a workspace.
///
/// # Errors
/// 404; 409 `in_use` while runs or tasks refer to it and `cascade` was not asked for; 409 `limit_reached`
/// when there is more in it than one request takes away.
pub(super) async fn delete_workspace(
    write: &mut Write,
    id: WorkspaceId,
    cascade: bool,
) -> Result<(), Error> {
    let caller = write.caller().clone();
    let tenant = caller.tenant();
    must_be_visible(&caller, id)?;
    let found = store::lock(write.conn(), tenant, id).await?;
    found.ok_or_else(|| no_such_workspace(id))?;
    let impact = store::delete_impact(write.conn(), tenant, id).await?;
    if !cascade && impact.workflows + impact.tasks > 0 {
        let message = format!(
            "workspace {id} is referred to by {} runs and {} tasks",
            impact.workflows, impact.tasks
        );
        return Err(Refused::new(ErrorCode::Conflict, message)
            .reason(ReasonCode::InUse)
            .hint("deactivate it, or delete all of it with ?cascade=true; delete-impact tells what that means")
            .into());
    }
    if impact.tasks > CASCADE_TASKS_MAX {
        let message = format!(
            "workspace {id} has {} tasks; {CASCADE_TASKS_MAX} is the most that one request deletes",
            impact.tasks
        );
        return Err(Refused::new(ErrorCode::Conflict, message)
            .reason(ReasonCode::LimitReached)
            .hint("delete its runs first, some at a time")
            .into());
    }
    if impact.active_workflows > 0 {
        let message = format!(
            "{} runs in workspace {id} have not ended",
            impact.active_workflows
        );
        return Err(Refused::new(ErrorCode::Conflict, message)
            .reason(ReasonCode::InUse)
            .hint("cancel them first: GET /api/v1/workflows?workspace_id=… lists them")
            .into());
    }
    workflows::delete_of_workspace(write.tx(), tenant, id).await?;
    tasks::delete_of_workspace(write.tx(), &caller, id).await?;
    store::delete(write.conn(), tenant, id).await?;
    let data = json!({ "deleted_workflows": impact.workflows, "deleted_tasks": impact.tasks });
    tell(write.tx(), &caller, "workspace.deleted", id, data).await
}
