//! Telling an orchestrator something.

use protocol::{
    ErrorCode, ReasonCode, SteerWorkflow, SteeringRecorded, SteeringSessionId, WorkItemId,
    WorkflowId, WorkflowState,
};
use serde_json::json;
use uuid::Uuid;

use super::store;
use crate::activations::{self, Wake};
use crate::error::{Error, Refused};
use crate::http::{Write, check_length};
use crate::{queue, tasks, work_items, workflows};

/// Characters of what was said first that name a conversation.
const TITLE_CHARS: usize = 120;

/// Tells the orchestrator of a run something, and wakes it.
///
/// # Errors
/// 404; 409 for a run that has ended, or has no orchestrator.
pub(super) async fn steer_workflow(
    write: &mut Write,
    run: WorkflowId,
    body: SteerWorkflow,
) -> Result<SteeringRecorded, Error> {
    check_length("request", &body.request, 1..=8000)?;
    if let Some(version) = &body.base_snapshot_version {
        check_length("base_snapshot_version", version, 0..=255)?;
    }
    let tenant = write.caller().tenant();
    let workspaces = write.caller().workspace_filter();
    let open = workflows::lock_open_run(write.conn(), tenant, run, workspaces.as_deref()).await?;
    if open.kind != "orchestrated" {
        return Err(activations::no_orchestrator(run));
    }
    let state: WorkflowState = open.state.parse().map_err(anyhow::Error::from)?;
    if state.is_final() || open.is_closed {
        return Err(Refused::new(
            ErrorCode::Conflict,
            format!("workflow {run} is {state}: there is nothing left to steer"),
        )
        .reason(ReasonCode::StateChanged)
        .hint("launch or redrive a run")
        .current_state(state.as_str())
        .into());
    }
    if let Some(item) = body.work_item_id {
        work_items::read(write.conn(), tenant, run, item).await?;
    }
    if let Some(id) = body.task_id {
        let task = tasks::read(write, id).await?;
        if task.workflow_id != Some(run) {
            return Err(Error::not_found("task of this run", id));
        }
    }
    let session = match body.session_id {
        Some(session) => {
            store::touch(write.conn(), tenant, run, session).await?;
            session
        }
        None => {
            let session = SteeringSessionId::new();
            let title: String = body.request.chars().take(TITLE_CHARS).collect();
            store::begin(write.conn(), tenant, run, session, &title).await?;
            session
        }
    };
    let message = Uuid::now_v7();
    let told = json!({
        "request": body.request, "steering_session_id": session, "message_id": message,
        "task_id": body.task_id,
    });
    let mut told = Wake::new("operator.steering", "an operator steers the run", told).by_person();
    told.work_item = body.work_item_id.map(WorkItemId::uuid);
    let queued = activations::wake(write.tx(), tenant, run, &[told]).await?;
    let activation = queued.into_iter().next();
    let activation = activation
        .ok_or_else(|| anyhow::anyhow!("the run {run} takes activations, and took none"))?;
    let said = store::Said {
        id: message,
        session,
        body: &body.request,
        item: body.work_item_id.map(WorkItemId::uuid),
        task: body.task_id.map(protocol::TaskId::uuid),
        base: body.base_snapshot_version.as_deref(),
        activation,
        actor_type: write.caller().scope().as_str(),
        actor: write.caller().actor(),
    };
    store::say(write.conn(), tenant, &said).await?;
    workflows::derive(write.tx(), tenant, run).await?;
    queue::settle(write.tx()).await?;
    Ok(SteeringRecorded {
        steering_session_id: session,
        request_message_id: message,
        activation_id: activation,
    })
}
