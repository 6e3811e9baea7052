//! The graph engine: what follows in a run when something of it has ended.
//!
//! ```text
//! a task ends ──► settle: its member, the counts of its step
//!                    │
//!          step has  ├─ more members, and room ──► hand out the next ones ─┐
//!                    └─ none open, none left ────► end the step            │
//!                                                     │                    │
//!                             count off those that need it: none left?     │
//!                                                     ▼                    ▼
//!                                  start: condition, templates ──► members, tasks
//!                                     │          │
//!                                  skipped     failed   (an end like any other: around again)
//!                                                     │
//!                                  derive where the run is in its life
//! ```
//!
//! It has no process of its own: it runs in the transaction of the move that woke it, for all runs that
//! the move concerns at once, with their rows locked in the order of their ids. What it touches is what has
//! ended and what needs that, never the run as a whole.
//!
//! A paused run records every end, but starts nothing: a step whose needs have ended stays pending, and
//! [`go_on`] finds it by a partial index. A step ends as often as its tasks do; those that need it are
//! told once.
//!
//! A kind of step is a file in `kinds`: how it starts, and what it puts out.

mod definitions;
mod finish;
mod hand_out;
mod kinds;
mod pass;
mod start;
pub(super) mod store;

use std::collections::BTreeSet;

use protocol::{TaskId, TaskState, TenantId, WorkflowId};
use uuid::Uuid;

use crate::activations::TaskWake;
use crate::db::Tx;
use crate::error::Error;

pub(super) use definitions::{Definition, definition};
pub(super) use pass::{Ended, Pass};

/// A task of a run that has ended, or is open again.
#[derive(Clone, Copy, Debug)]
pub struct TaskChange {
    /// The task.
    pub task: TaskId,
    /// Its run.
    pub workflow: WorkflowId,
    /// Where it is now.
    pub state: TaskState,
}

impl TaskChange {
    /// The state of its member.
    fn member_state(&self) -> &'static str {
        match self.state {
            TaskState::Completed => "completed",
            TaskState::Failed => "failed",
            TaskState::Cancelled => "cancelled",
            TaskState::Pending
            | TaskState::Ready
            | TaskState::Claimed
            | TaskState::InProgress
            | TaskState::AwaitingApproval
            | TaskState::OutputPendingAssessment
            | TaskState::Escalated => "open",
        }
    }
}

/// Tasks of runs have ended, or are open again: carries out what follows. What orchestrators are to know of
/// wakes them. Runs in the transaction of the move, after the rows of the runs were locked by
/// [`lock_runs`](super::lock_runs).
///
/// # Errors
/// Those of the database.
pub async fn tasks_moved(
    tx: &mut Tx,
    tenant: TenantId,
    changes: &[TaskChange],
    wakes: &[TaskWake],
) -> Result<(), Error> {
    let changed = changes.iter().map(|change| change.workflow);
    let told = wakes.iter().map(|wake| wake.workflow);
    let runs: BTreeSet<Uuid> = changed.chain(told).map(WorkflowId::uuid).collect();
    let mut pass = Pass::lock(tx, tenant, &Vec::from_iter(runs)).await?;
    if !changes.is_empty() {
        pass.settle(changes).await?;
    }
    pass.wake(wakes).await?;
    pass.carry_out().await
}

/// A run begins, or goes on after a pause: starts what nothing stands in the way of.
///
/// # Errors
/// Those of the database.
pub(super) async fn go_on(tx: &mut Tx, tenant: TenantId, run: WorkflowId) -> Result<(), Error> {
    let mut pass = Pass::lock(tx, tenant, &[run.uuid()]).await?;
    pass.find_startable(run).await?;
    pass.find_unfinished(run).await?;
    pass.touch(run.uuid());
    pass.carry_out().await
}

/// Something of a run was changed by hand: derives anew where it is in its life.
///
/// # Errors
/// Those of the database.
pub async fn derive(tx: &mut Tx, tenant: TenantId, run: WorkflowId) -> Result<(), Error> {
    let mut pass = Pass::lock(tx, tenant, &[run.uuid()]).await?;
    pass.touch(run.uuid());
    pass.carry_out().await
}
