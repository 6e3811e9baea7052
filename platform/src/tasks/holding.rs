//! Who holds a task, asked by operations that only its holder may call.

use protocol::{ReasonCode, Task, TaskId, TaskState};

use super::verdict;
use crate::error::Error;
use crate::http::Write;
use crate::queue::{self, HeldTask, Verdict};

/// Refuses callers who neither hold a task nor were the last to hold it, and attempts that were superseded.
/// Answers with the task. Of a task that is held, the run and the lease are locked as by [`must_hold`].
///
/// # Errors
/// Those of [`must_hold`].
pub(crate) async fn must_have_held(
    write: &mut Write,
    id: TaskId,
    attempt: Option<i32>,
) -> Result<Task, Error> {
    let task = super::read(write, id).await?;
    let caller = write.caller().clone();
    verdict::only_holders(&caller)?;
    if matches!(task.state, TaskState::Claimed | TaskState::InProgress) {
        must_hold(write, id, attempt).await?;
        return super::read(write, id).await;
    }
    let has_ended = task.state.is_final()
        || matches!(
            task.state,
            TaskState::OutputPendingAssessment | TaskState::Escalated
        );
    let is_latest = attempt.is_none_or(|attempt| attempt == task.attempt);
    if !is_latest || !has_ended {
        return Err(verdict::lease_lost(id, attempt, task.attempt, task.state));
    }
    let was_holder = caller
        .agent()
        .is_none_or(|agent| task.assigned_agent_id == Some(agent))
        && caller
            .worker()
            .is_none_or(|worker| task.assigned_worker_id == Some(worker));
    if !was_holder || task.attempt == 0 {
        return Err(verdict::not_holder(
            "only who works on a task, or was the last to, can tell of it",
        ));
    }
    Ok(task)
}

/// Refuses callers who tell of work that is not theirs, as [`must_have_held`] does. Operators may tell of any task
/// that somebody has worked on. Answers with the task.
///
/// # Errors
/// Those of [`must_have_held`]; 409 for a task that nobody has worked on.
pub(crate) async fn must_have_worked_on(
    write: &mut Write,
    id: TaskId,
    attempt: Option<i32>,
) -> Result<Task, Error> {
    if !write.caller().is_operator() {
        return must_have_held(write, id, attempt).await;
    }
    let task = super::read(write, id).await?;
    if task.attempt == 0 {
        let message = format!("nobody has worked on task {id}: there is nothing to tell of it");
        return Err(Error::conflict(ReasonCode::StateChanged, message));
    }
    Ok(task)
}

/// Locks the run of a task and its lease, and refuses callers that do not hold it.
///
/// # Errors
/// 404; 403 for operators and other holders; 409 `lease_lost` for an attempt that was superseded; 422 where
/// the attempt must be named.
pub(crate) async fn must_hold(
    write: &mut Write,
    id: TaskId,
    attempt: Option<i32>,
) -> Result<HeldTask, Error> {
    let caller = write.caller().clone();
    let tenant = caller.tenant();
    let task = super::read(write, id).await?;
    verdict::only_holders(&caller)?;
    let report = verdict::report_of(&caller, id, attempt, None, None)?;
    let held = queue::lock_held(write.conn(), tenant, &[id.uuid()]).await?;
    let held = held.into_iter().next();
    let verdict = super::judge(&report, held.as_ref(), false);
    match (verdict, held) {
        (Verdict::Moved, Some(held)) => Ok(held),
        (Verdict::Absent, _) => Err(verdict::lease_lost(id, attempt, task.attempt, task.state)),
        (verdict, _) => {
            let wanted = TaskState::InProgress;
            verdict::tell(&report, verdict, Some(task), wanted, |_| false)?;
            Err(anyhow::anyhow!("nobody can tell who holds task {id}").into())
        }
    }
}
