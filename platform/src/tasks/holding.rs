//! Who holds a task, asked by operations that only its holder may call.

use protocol::{TaskId, TaskState};

use super::verdict;
use crate::error::Error;
use crate::http::Write;
use crate::queue::{self, HeldTask, Verdict};

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
