//! Steering: operators tell the orchestrator of a run what to do, or to know.
//!
//! ```text
//! POST …/steering-requests ──► an entry of a conversation ─┐
//! POST …/interventions ──────► what was done ──────────────┼─► activation `operator.…` ──► orchestrator
//! POST …/input-packets ──────► what to work with ──────────┘
//! ```
//!
//! What is said is kept, and wakes the orchestrator at once, also one that has failed too often. It finds the
//! words in its `input.events`, with what the run, or a work item, was given at its beginning: the packet of
//! `workflow.created` and `work_item.created`.
//!
//! A run that has ended, or that follows a graph, has nobody to wake: interventions and packets are kept all the
//! same, for people.

mod intervene;
mod intervention_store;
mod packet_store;
mod request;
mod routes;
mod store;
mod supply;

use protocol::{ActivationId, TaskId, WorkItemId, WorkflowId};

pub use routes::routes;
pub(crate) use supply::{Packet, keep_packet};

use crate::activations::{self, Wake};
use crate::error::Error;
use crate::http::Write;
use crate::{queue, tasks, work_items, workflows};

/// Largest free data of an intervention or a packet: orchestrators are given it as it is.
pub(crate) const FREE_DATA_BYTES_MAX: usize = 32 * 1024;
/// Interventions, and input packets, of a run that are kept.
const KEPT_MAX: i64 = 1_000;

/// Refuses a work item or a task that is not one of the run.
async fn must_belong(
    write: &mut Write,
    run: WorkflowId,
    item: Option<WorkItemId>,
    task: Option<TaskId>,
) -> Result<(), Error> {
    let tenant = write.caller().tenant();
    if let Some(item) = item {
        work_items::read(write.conn(), tenant, run, item).await?;
    }
    if let Some(id) = task
        && tasks::read(write, id).await?.workflow_id != Some(run)
    {
        return Err(Error::not_found("task of this run", id));
    }
    Ok(())
}

/// Wakes the orchestrator of a run, whose row is locked, with what an operator says. Nothing where there is
/// nobody to wake.
async fn wake_with(
    write: &mut Write,
    run: WorkflowId,
    said: Wake,
    item: Option<WorkItemId>,
) -> Result<Option<ActivationId>, Error> {
    let tenant = write.caller().tenant();
    let mut said = said.by_person();
    said.work_item = item.map(WorkItemId::uuid);
    let queued = activations::wake(write.tx(), tenant, run, &[said]).await?;
    if !queued.is_empty() {
        workflows::derive(write.tx(), tenant, run).await?;
        queue::settle(write.tx()).await?;
    }
    Ok(queued.into_iter().next())
}
