//! Telling an orchestrator something.

use protocol::{
    ErrorCode, InputPacketId, JsonObject, ReasonCode, SteerWorkflow, SteeringRecorded,
    SteeringSessionId, WorkItemId, WorkflowId, WorkflowState,
};
use serde_json::json;
use uuid::Uuid;

use super::intervene::{Steered, record_steering};
use super::{must_belong, packet_store, store, wake_with};
use crate::activations::{self, Wake};
use crate::error::{Error, Refused};
use crate::http::{Write, check_length};
use crate::workflows;

/// Characters of what was said first that name a conversation.
const TITLE_CHARS: usize = 120;
/// Input packets that words may refer to.
const LINKS_MAX: usize = 50;

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
    must_belong(write, run, body.work_item_id, body.task_id).await?;
    let packets = linked(write, run, &body.linked_input_packet_ids).await?;
    let title: String = body.request.chars().take(TITLE_CHARS).collect();
    let session = match body.session_id {
        Some(session) => {
            store::touch(write.conn(), tenant, run, session).await?;
            session
        }
        None => {
            let session = SteeringSessionId::new();
            store::begin(write.conn(), tenant, run, session, &title).await?;
            session
        }
    };
    let message = Uuid::now_v7();
    let told = json!({
        "request": body.request, "steering_session_id": session, "message_id": message,
        "task_id": body.task_id, "linked_input_packet_ids": packets,
    });
    let told = Wake::new("operator.steering", "an operator steers the run", told);
    let activation = wake_with(write, run, told, body.work_item_id).await?;
    let activation = activation
        .ok_or_else(|| anyhow::anyhow!("the run {run} takes activations, and took none"))?;
    let said = store::Said {
        id: message,
        session,
        body: &body.request,
        item: body.work_item_id.map(WorkItemId::uuid),
        task: body.task_id.map(protocol::TaskId::uuid),
        base: body.base_snapshot_version.as_deref(),
        packets: &packets,
        activation,
        actor_type: write.caller().scope().as_str(),
        actor: write.caller().actor(),
    };
    store::say(write.conn(), tenant, &said).await?;
    let action = json!({ "steering_session_id": session, "message_id": message }).to_string();
    let steered = Steered {
        run,
        item: body.work_item_id,
        task: body.task_id,
        request_id: body.request_id.as_deref(),
        summary: &title,
        action: &JsonObject::from_text(action)?,
        activation,
    };
    Ok(SteeringRecorded {
        steering_session_id: session,
        request_message_id: message,
        activation_id: activation,
        intervention_id: record_steering(write, steered).await?,
    })
}

/// The packets that the words refer to, all of which must be of this run.
async fn linked(
    write: &mut Write,
    run: WorkflowId,
    ids: &[InputPacketId],
) -> Result<Vec<Uuid>, Error> {
    if ids.len() > LINKS_MAX {
        let message = format!("must have at most {LINKS_MAX} entries, has {}", ids.len());
        return Err(Error::field("linked_input_packet_ids", message));
    }
    let mut wanted: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let tenant = write.caller().tenant();
    let found = packet_store::count(write.conn(), tenant, run, Some(&wanted)).await?;
    if usize::try_from(found).ok() != Some(wanted.len()) {
        let message = "names an input packet that this run does not have";
        return Err(Error::field("linked_input_packet_ids", message));
    }
    Ok(wanted)
}
