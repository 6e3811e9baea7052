//! A version goes for good, or all versions of a playbook with their runs.

use protocol::{DeletedPlaybookFamily, ErrorCode, PlaybookId, ReasonCode};

use super::{must_reach_all, no_such_playbook, store, tell};
use crate::error::{Error, Refused};
use crate::http::Write;
use crate::workflows;

/// Tasks that one request takes away: what one transaction does within its time.
const FAMILY_TASKS_MAX: i64 = 10_000;

/// Deletes one version.
///
/// # Errors
/// 404; 409 `in_use` while a run refers to it.
pub(super) async fn delete_playbook(write: &mut Write, id: PlaybookId) -> Result<(), Error> {
    let caller = write.caller().clone();
    must_reach_all(&caller)?;
    let tenant = caller.tenant();
    let found = store::read(write.conn(), tenant, id).await?;
    let found = found.ok_or_else(|| no_such_playbook(id))?;
    store::lock_family(write.conn(), tenant, &found.slug).await?;
    let impact = store::delete_impact(write.conn(), tenant, id).await?;
    let runs = impact.map_or(0, |impact| impact.revision.workflows);
    if runs > 0 {
        let message = format!(
            "version {} of playbook {:?} is referred to by {runs} runs",
            found.version, found.slug
        );
        return Err(Refused::new(ErrorCode::Conflict, message)
            .reason(ReasonCode::InUse)
            .hint("archive it: then no run is launched from it, and those there are keep it; or delete its runs first")
            .into());
    }
    store::delete(write.conn(), tenant, id).await?;
    tell(write.tx(), &caller, "playbook.deleted", &found).await
}

/// Deletes all versions of a playbook with their runs, which must have ended.
///
/// # Errors
/// 404; 409 `in_use` while a run goes on; 409 `limit_reached` when there is more than one request takes away.
pub(super) async fn delete_playbook_family(
    write: &mut Write,
    id: PlaybookId,
) -> Result<DeletedPlaybookFamily, Error> {
    let caller = write.caller().clone();
    must_reach_all(&caller)?;
    let tenant = caller.tenant();
    let found = store::read(write.conn(), tenant, id).await?;
    let found = found.ok_or_else(|| no_such_playbook(id))?;
    store::lock_family(write.conn(), tenant, &found.slug).await?;
    let impact = store::delete_impact(write.conn(), tenant, id).await?;
    let family = impact.ok_or_else(|| no_such_playbook(id))?.family;
    let (runs, slug) = (family.runs, &found.slug);
    if runs.active_workflows > 0 {
        let going_on = runs.active_workflows;
        let message = format!("{going_on} runs of playbook {slug:?} have not ended");
        return Err(Refused::new(ErrorCode::Conflict, message)
            .reason(ReasonCode::InUse)
            .hint("cancel them first: GET /api/v1/workflows?state=pending,active,paused lists what goes on")
            .into());
    }
    if runs.tasks > FAMILY_TASKS_MAX {
        let message = format!(
            "the runs of playbook {slug:?} have {} tasks; {FAMILY_TASKS_MAX} is the most that one request deletes",
            runs.tasks
        );
        return Err(Refused::new(ErrorCode::Conflict, message)
            .reason(ReasonCode::LimitReached)
            .hint("delete its runs first, some at a time: POST /api/v1/workflows/bulk-delete")
            .into());
    }
    workflows::delete_of_playbooks(write.tx(), tenant, slug).await?;
    store::delete_family(write.conn(), tenant, slug).await?;
    tell(write.tx(), &caller, "playbook.deleted", &found).await?;
    Ok(DeletedPlaybookFamily {
        deleted_revision_count: family.revisions,
        deleted_workflow_count: runs.workflows,
        deleted_task_count: runs.tasks,
    })
}
