//! Pausing, resuming and calling off a run.

use protocol::{ErrorCode, ReasonCode, WorkflowDetail, WorkflowId, WorkflowState};
use serde_json::json;

use super::launch::tell;
use super::store::OpenRun;
use super::{engine, read, store};
use crate::activations::{self, Wake};
use crate::error::{Error, Refused};
use crate::http::Write;
use crate::queue::{self, Run};
use crate::work_items;

/// Begins nothing new in a run: what is ready leaves the queue, the clocks of delays and questions stop.
/// What runs goes on, and its end counts.
pub(super) async fn pause_workflow(
    write: &mut Write,
    id: WorkflowId,
) -> Result<WorkflowDetail, Error> {
    let (run, state) = lock(write, id).await?;
    match state {
        WorkflowState::Paused => return shown(write, id).await,
        WorkflowState::Active | WorkflowState::Pending => {}
        WorkflowState::Completed | WorkflowState::Failed | WorkflowState::Cancelled => {
            return Err(refusal(&run, state, WorkflowState::Paused));
        }
    }
    let tenant = write.caller().tenant();
    store::pause(write.conn(), tenant, id).await?;
    queue::pause(write.tx(), tenant, whole(id)).await?;
    tell(write, id, "workflow.paused", json!({ "from_state": state })).await?;
    finish(write, id).await
}

/// Goes on with a run that was paused: everything is where it was, and clocks go on where they stood.
pub(super) async fn resume_workflow(
    write: &mut Write,
    id: WorkflowId,
) -> Result<WorkflowDetail, Error> {
    let (run, state) = lock(write, id).await?;
    match state {
        WorkflowState::Active | WorkflowState::Pending => return shown(write, id).await,
        WorkflowState::Paused => {}
        WorkflowState::Completed | WorkflowState::Failed | WorkflowState::Cancelled => {
            return Err(refusal(&run, state, WorkflowState::Active));
        }
    }
    let tenant = write.caller().tenant();
    store::resume(write.conn(), tenant, id).await?;
    write.tx().note(crate::db::Note::DueSooner {
        name: "expire_approvals".to_owned(),
    });
    queue::resume(write.tx(), tenant, whole(id)).await?;
    tell(write, id, "workflow.resumed", json!({})).await?;
    engine::go_on(write.tx(), tenant, id).await?;
    if run.kind == "orchestrated" {
        let resumed = Wake::new("workflow.resumed", "the run goes on", json!({})).by_person();
        activations::wake(write.tx(), tenant, id, &[resumed]).await?;
    }
    queue::settle(write.tx()).await?;
    shown(write, id).await
}

/// Calls a run off, and the runs that it launched. What nobody holds is cancelled at once; whoever holds a task learns of it with the next
/// heartbeat, and has `grace_seconds` to report an end.
pub(super) async fn cancel_workflow(
    write: &mut Write,
    id: WorkflowId,
    grace_seconds: u32,
) -> Result<WorkflowDetail, Error> {
    let (run, state) = lock(write, id).await?;
    match state {
        WorkflowState::Cancelled => return shown(write, id).await,
        WorkflowState::Active | WorkflowState::Pending | WorkflowState::Paused => {}
        // A failed run has nothing left that could be called off, but its steps could be retried.
        WorkflowState::Completed | WorkflowState::Failed => {
            return Err(refusal(&run, state, WorkflowState::Cancelled));
        }
    }
    let tenant = write.caller().tenant();
    let from = json!({ "from_state": state });
    call_off(write, id, from, grace_seconds).await?;
    for child in store::open_descendants(write.conn(), tenant, id).await? {
        // It may have ended before it could be locked.
        let run = store::lock_open_run(write.conn(), tenant, child, None).await?;
        let state: WorkflowState = run.state.parse().map_err(anyhow::Error::from)?;
        if !state.is_final() {
            let from = json!({ "from_state": state, "parent_workflow_id": id });
            call_off(write, child, from, grace_seconds).await?;
        }
    }
    queue::settle(write.tx()).await?;
    shown(write, id).await
}

async fn call_off(
    write: &mut Write,
    id: WorkflowId,
    data: serde_json::Value,
    grace_seconds: u32,
) -> Result<(), Error> {
    let tenant = write.caller().tenant();
    store::cancel(write.conn(), tenant, id).await?;
    work_items::cancel_all(write.conn(), tenant, id).await?;
    tell(write, id, "workflow.cancellation_requested", data).await?;
    queue::cancel(write.tx(), tenant, whole(id), grace_seconds).await?;
    engine::derive(write.tx(), tenant, id).await
}

async fn finish(write: &mut Write, id: WorkflowId) -> Result<WorkflowDetail, Error> {
    let tenant = write.caller().tenant();
    engine::derive(write.tx(), tenant, id).await?;
    queue::settle(write.tx()).await?;
    shown(write, id).await
}

async fn lock(write: &mut Write, id: WorkflowId) -> Result<(OpenRun, WorkflowState), Error> {
    let tenant = write.caller().tenant();
    let workspaces = write.caller().workspace_filter();
    let run = store::lock_open_run(write.conn(), tenant, id, workspaces.as_deref()).await?;
    let state = run.state.parse().map_err(anyhow::Error::from)?;
    Ok((run, state))
}

async fn shown(write: &mut Write, id: WorkflowId) -> Result<WorkflowDetail, Error> {
    let tenant = write.caller().tenant();
    read::detail(write.conn(), tenant, id, None).await
}

fn whole(id: WorkflowId) -> Run {
    Run {
        workflow: id,
        work_item: None,
    }
}

fn refusal(run: &OpenRun, state: WorkflowState, wanted: WorkflowState) -> Error {
    Refused::new(
        ErrorCode::InvalidStateTransition,
        format!("workflow {} is {state} and cannot become {wanted}", run.id),
    )
    .reason(ReasonCode::StateChanged)
    .hint("a run that has ended can be tried again: POST /api/v1/workflows/{workflow_id}/redrives")
    .current_state(state.as_str())
    .requested_state(wanted.as_str())
    .into()
}
