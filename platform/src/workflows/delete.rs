//! Deleting runs that have ended, and forgetting those that ended long ago.

use protocol::{ErrorCode, ReasonCode, TenantId, WorkflowId, WorkflowState, WorkspaceId};
use serde_json::json;
use uuid::Uuid;

use super::launch::tell;
use super::store;
use crate::db::Tx;
use crate::error::{Error, Refused};
use crate::http::Write;
use crate::{queue, tasks};

/// Deletes runs with everything that belongs to them, but for what has happened: events and logs stay.
///
/// All of them or none.
pub(super) async fn delete_workflows(
    write: &mut Write,
    ids: &[WorkflowId],
) -> Result<Vec<WorkflowId>, Error> {
    let tenant = write.caller().tenant();
    let workspaces = write.caller().workspace_filter();
    let wanted: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let found =
        store::lock_for_deletion(write.conn(), tenant, &wanted, workspaces.as_deref()).await?;
    for id in ids {
        if !found.iter().any(|(known, ..)| *known == id.uuid()) {
            return Err(Error::not_found("workflow", id));
        }
    }
    for (id, state, is_held) in &found {
        let state: WorkflowState = state.parse().map_err(anyhow::Error::from)?;
        let why = match (state.is_final(), is_held) {
            (false, _) => "only a run that has ended can be deleted; cancel it first",
            (true, true) => {
                "a worker still holds a task of it; repeat this when the worker has let go"
            }
            (true, false) => continue,
        };
        return Err(Refused::new(
            ErrorCode::Conflict,
            format!("workflow {id} is {state}: {why}"),
        )
        .reason(ReasonCode::InUse)
        .current_state(state.as_str())
        .into());
    }
    for (id, state, _) in &found {
        tell(
            write,
            (*id).into(),
            "workflow.deleted",
            json!({ "state": state }),
        )
        .await?;
    }
    let found: Vec<Uuid> = found.into_iter().map(|(id, ..)| id).collect();
    remove(write.tx(), tenant, &found).await?;
    Ok(found.into_iter().map(Into::into).collect())
}

/// Removes runs, whose rows are locked, with their tasks.
pub(super) async fn remove(tx: &mut Tx, tenant: TenantId, runs: &[Uuid]) -> Result<(), Error> {
    tasks::forget_tasks_of_runs(tx.conn(), tenant, runs).await?;
    queue::forget_gates(tx.conn(), tenant, runs).await?;
    store::delete(tx.conn(), tenant, runs).await
}

/// Deletes the runs in a workspace, all of which have ended. A task that a worker still holds is called off
/// with its run.
///
/// # Errors
/// Those of the database.
pub(crate) async fn delete_of_workspace(
    tx: &mut Tx,
    tenant: TenantId,
    workspace: WorkspaceId,
) -> Result<(), Error> {
    let runs = store::lock_of_workspace(tx.conn(), tenant, workspace.uuid()).await?;
    if runs.is_empty() {
        return Ok(());
    }
    remove(tx, tenant, &runs).await
}

/// Deletes the runs of all versions of a playbook, all of which have ended.
///
/// # Errors
/// Those of the database.
pub(crate) async fn delete_of_playbooks(
    tx: &mut Tx,
    tenant: TenantId,
    slug: &str,
) -> Result<(), Error> {
    let runs = store::lock_of_playbooks(tx.conn(), tenant, slug).await?;
    if runs.is_empty() {
        return Ok(());
    }
    remove(tx, tenant, &runs).await
}
