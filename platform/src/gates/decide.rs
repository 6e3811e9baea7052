//! A person's decision about a gate.

use protocol::{
    DecideGate, ErrorCode, GateAction, GateId, GateStatus, ReasonCode, RequestChanges, StageGate,
    TaskId, TaskMove, WorkflowId, WorkflowState,
};
use serde_json::json;

use super::request::tell;
use super::store;
use crate::activations::{self, Wake};
use crate::error::{Error, Refused};
use crate::http::{Write, check_length};
use crate::{queue, tasks, work_items, workflows};

/// What a decision makes of a gate.
pub(super) fn becomes(action: GateAction) -> GateStatus {
    match action {
        GateAction::Approve => GateStatus::Approved,
        GateAction::Reject => GateStatus::Rejected,
        GateAction::RequestChanges => GateStatus::ChangesRequested,
        GateAction::Block => GateStatus::Blocked,
    }
}

/// Decides about a gate.
///
/// # Errors
/// 404; 409 when it is not the one that counts, or was decided otherwise, or its run takes no decisions.
pub(crate) async fn decide_gate(
    write: &mut Write,
    run: WorkflowId,
    id: GateId,
    body: DecideGate,
) -> Result<StageGate, Error> {
    let action = body.action;
    match &body.feedback {
        Some(feedback) => check_length("feedback", feedback, 0..=4000)?,
        None if action == GateAction::Approve => {}
        None => {
            return Err(Error::field(
                "feedback",
                "is missing: say why, or what to change",
            ));
        }
    }
    let tenant = write.caller().tenant();
    let workspaces = write.caller().workspace_filter();
    let open = workflows::lock_open_run(write.conn(), tenant, run, workspaces.as_deref()).await?;
    let gate = store::read(write.conn(), tenant, run, id).await?;
    let (before, wanted) = (gate.status, becomes(action));
    if gate.is_superseded {
        return Err(superseded(&gate));
    }
    if before == wanted {
        return Ok(gate);
    }
    let state: WorkflowState = open.state.parse().map_err(anyhow::Error::from)?;
    if state.is_final() || state == WorkflowState::Paused {
        return Err(Refused::new(
            ErrorCode::Conflict,
            format!("workflow {run} is {state}: nothing can be decided in it"),
        )
        .reason(ReasonCode::StateChanged)
        .current_state(state.as_str())
        .into());
    }
    let is_open = before == GateStatus::AwaitingApproval
        || (before == GateStatus::ChangesRequested && action == GateAction::Approve);
    if !is_open {
        return Err(Refused::new(
            ErrorCode::Conflict,
            format!("gate {id} is {before} already"),
        )
        .reason(ReasonCode::StateChanged)
        .hint("the decision stands; the orchestrator can ask again")
        .current_state(before.as_str())
        .into());
    }
    let (actor_type, actor) = (write.caller().scope().as_str(), write.caller().actor());
    let decision = store::Decision {
        status: wanted,
        action,
        feedback: body.feedback.as_deref(),
        actor_type,
        actor,
    };
    store::decide(write.conn(), tenant, id, &decision).await?;
    let decided = metrics::counter!("stint_gates_decided_total", "action" => action.as_str());
    write.tx().count(decided);
    let stage = gate.stage_name.as_str();
    if action != GateAction::Approve {
        workflows::count_iteration(write.conn(), tenant, run, stage).await?;
    }
    let data = json!({
        "gate_id": id, "stage_name": stage, "feedback": body.feedback, "status": wanted,
    });
    let event_type = told_as(action);
    tell(write, run, id, event_type, data.clone()).await?;
    follow(write, run, &gate, &body, open.playbook_id).await?;
    let decided = Wake::new(event_type, "a person has decided about a gate", data);
    let decided = decided.of_stage(Some(stage)).by_person();
    activations::wake(write.tx(), tenant, run, &[decided]).await?;
    workflows::derive(write.tx(), tenant, run).await?;
    queue::settle(write.tx()).await?;
    store::read(write.conn(), tenant, run, id).await
}

/// What a decision means for the tasks and the work items of the stage.
async fn follow(
    write: &mut Write,
    run: WorkflowId,
    gate: &StageGate,
    body: &DecideGate,
    playbook: uuid::Uuid,
) -> Result<(), Error> {
    let tenant = write.caller().tenant();
    let stage = gate.stage_name.as_str();
    let feedback = body.feedback.clone().unwrap_or_default();
    match body.action {
        GateAction::Approve => {
            work_items::expect_of_stage(write.conn(), tenant, run, stage, None).await
        }
        GateAction::Reject => Ok(()),
        GateAction::RequestChanges => {
            let rework = Some("rework");
            work_items::expect_of_stage(write.conn(), tenant, run, stage, rework).await?;
            for task in subjects(gate) {
                let task = tasks::read(write, task).await;
                // What was named may belong elsewhere, or be under way: that is the orchestrator's to see to.
                let Ok(task) = task else { continue };
                if task.workflow_id == Some(run)
                    && task.available_actions.contains(&TaskMove::RequestChanges)
                {
                    let changes = RequestChanges {
                        feedback: feedback.clone(),
                        ..RequestChanges::default()
                    };
                    tasks::request_task_changes(write, task.id, changes).await?;
                }
            }
            Ok(())
        }
        GateAction::Block => {
            let board = workflows::board_of(write.conn(), tenant, playbook.into()).await?;
            let column = board.columns.iter().find(|column| column.is_blocked);
            let column = column.map(|column| column.id.as_str());
            work_items::block_stage(write.conn(), tenant, run, stage, column, &feedback).await
        }
    }
}

/// The tasks that a gate names among what is to be looked at.
fn subjects(gate: &StageGate) -> Vec<TaskId> {
    let named = gate.key_artifacts.iter().filter_map(|artifact| {
        let members = artifact.members();
        members.get("task_id")?.as_str()?.parse().ok()
    });
    named.collect()
}

fn superseded(gate: &StageGate) -> Error {
    let by = gate.superseded_by.map(|by| by.to_string());
    Refused::new(
        ErrorCode::Conflict,
        format!(
            "gate {} was superseded by {}, which is the one to decide",
            gate.id,
            by.unwrap_or_default()
        ),
    )
    .reason(ReasonCode::Superseded)
    .current_state(gate.status.as_str())
    .into()
}

fn told_as(action: GateAction) -> &'static str {
    match action {
        GateAction::Approve => "stage.gate.approve",
        GateAction::Reject => "stage.gate.reject",
        GateAction::RequestChanges => "stage.gate.request_changes",
        GateAction::Block => "stage.gate.block",
    }
}
