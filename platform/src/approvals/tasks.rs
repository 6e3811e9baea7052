//! Tasks that wait for a person: that they may run, that their output is good, or what to do.

use protocol::{
    AnswerEscalation, Approval, ApprovalAction, ApprovalDecided, ApprovalKind, DecideApproval,
    ErrorCode, Json, JsonObject, OverrideOutput, ReasonCode, RejectTask, RequestChanges, Task,
    TaskId, TaskState, TenantId,
};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{decide, show};
use crate::error::{Error, Refused};
use crate::http::Write;
use crate::tasks;

/// The states in which a task waits for a person.
const STATES: &[(ApprovalKind, TaskState)] = &[
    (ApprovalKind::TaskApproval, TaskState::AwaitingApproval),
    (
        ApprovalKind::OutputAssessment,
        TaskState::OutputPendingAssessment,
    ),
    (ApprovalKind::Escalation, TaskState::Escalated),
];

/// The states in which a task waits for this to be decided; for anything, if nothing is named.
pub(super) fn states_of(kind: Option<ApprovalKind>) -> Vec<&'static str> {
    let is_wanted = |known: ApprovalKind| kind.is_none_or(|kind| kind == known);
    let wanted = STATES.iter().filter(|(known, _)| is_wanted(*known));
    wanted.map(|(_, state)| state.as_str()).collect()
}

fn kind_of(task: &Task) -> Option<ApprovalKind> {
    let found = STATES.iter().find(|(_, state)| *state == task.state);
    found.map(|(kind, _)| *kind)
}

/// Tasks as something to decide; those that wait for nobody are left out.
pub(super) async fn approvals(
    db: &mut PgConnection,
    tenant: TenantId,
    ids: &[Uuid],
) -> Result<Vec<Approval>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let tasks = tasks::by_ids(db, tenant, ids).await?;
    let waiting = tasks
        .into_iter()
        .filter_map(|task| Some((kind_of(&task)?, task)));
    waiting
        .map(|(kind, task)| approval_of(kind, task))
        .collect()
}

fn approval_of(kind: ApprovalKind, task: Task) -> Result<Approval, Error> {
    let (fields, values) = editable(kind, &task)?;
    let actions = actions(kind);
    Ok(Approval {
        id: task.id.uuid(),
        kind,
        tenant_id: task.tenant_id,
        task_id: Some(task.id),
        step_id: None,
        workflow_id: task.workflow_id,
        workflow_name: None,
        work_item_id: task.work_item_id,
        stage_name: task.stage_name.clone(),
        workspace_id: task.workspace_id,
        message: message(kind, &task),
        fields,
        values,
        title: task.title,
        description: task.description,
        role: task.role,
        input: task.input,
        output: task.output,
        verification: task.verification,
        question: task.question,
        actions_with_feedback: match kind {
            ApprovalKind::Escalation => actions.clone(),
            _ => show::with_feedback(&actions),
        },
        actions,
        decision_path: show::decision_path(task.id.uuid()),
        requested_at: task.state_changed_at,
        expires_at: None,
        on_expiry: None,
    })
}

fn actions(kind: ApprovalKind) -> Vec<ApprovalAction> {
    match kind {
        ApprovalKind::Escalation => vec![ApprovalAction::Approve],
        _ => vec![
            ApprovalAction::Approve,
            ApprovalAction::Reject,
            ApprovalAction::RequestChanges,
        ],
    }
}

fn message(kind: ApprovalKind, task: &Task) -> String {
    match kind {
        ApprovalKind::OutputAssessment => "Is this output good?".to_owned(),
        ApprovalKind::Escalation => {
            let question = task.question.as_ref().map(JsonObject::members);
            let reason = question.and_then(|mut question| question.remove("reason"));
            match reason {
                Some(Value::String(reason)) => reason,
                _ => "What is to be done?".to_owned(),
            }
        }
        _ => "May this task run?".to_owned(),
    }
}

/// What an approval may edit: its schema, and what it is now.
fn editable(kind: ApprovalKind, task: &Task) -> Result<(Option<JsonObject>, Option<Json>), Error> {
    let anything = json!({ "type": "object" });
    let (schema, values) = match kind {
        ApprovalKind::TaskApproval => {
            let input = Json::from_text(task.input.text().to_owned())?;
            (anything, Some(input))
        }
        ApprovalKind::OutputAssessment => {
            let schema = task.role_config.members().remove("output_schema");
            let schema = schema.filter(Value::is_object).unwrap_or(anything);
            (schema, task.output.clone())
        }
        ApprovalKind::Escalation | ApprovalKind::StepApproval | ApprovalKind::StageGate => {
            return Ok((None, None));
        }
    };
    Ok((Some(JsonObject::from_text(schema.to_string())?), values))
}

/// Decides about a task that waits for a person.
pub(super) async fn decide(
    write: &mut Write,
    id: TaskId,
    body: DecideApproval,
) -> Result<ApprovalDecided, Error> {
    let before = tasks::lock(write, id).await?;
    let Some(kind) = kind_of(&before) else {
        return Err(Refused::new(
            ErrorCode::Conflict,
            format!("task {id} is {} and waits for nobody", before.state),
        )
        .reason(ReasonCode::StateChanged)
        .hint("somebody has decided before; read the task")
        .current_state(before.state.as_str())
        .into());
    };
    let action = body.action;
    let shown = approval_of(kind, before.clone())?;
    decide::must_fit(&body, &shown)?;
    let feedback = body.feedback.unwrap_or_default();
    let task = match (action, kind) {
        (ApprovalAction::Reject, _) => {
            let rejection = RejectTask {
                feedback,
                request_id: None,
            };
            tasks::reject_task(write, id, rejection).await?
        }
        (ApprovalAction::RequestChanges, _) => {
            let changes = RequestChanges {
                feedback,
                ..RequestChanges::default()
            };
            tasks::request_task_changes(write, id, changes).await?
        }
        (ApprovalAction::Approve, ApprovalKind::Escalation) => {
            let answer = AnswerEscalation {
                instructions: feedback,
                ..AnswerEscalation::default()
            };
            tasks::resolve_task_escalation(write, id, answer).await?
        }
        (ApprovalAction::Approve, ApprovalKind::OutputAssessment) => match body.fields {
            None => tasks::approve_task_output(write, id).await?,
            Some(fields) => {
                let edited = edited_output(&before, &fields)?;
                tasks::override_task_output(write, id, edited).await?
            }
        },
        // What is not offered has been refused.
        (ApprovalAction::Approve | ApprovalAction::Block, _) => {
            if let Some(input) = &body.fields {
                tasks::replace_input(write, id, input).await?;
            }
            tasks::approve_task(write, id).await?
        }
    };
    Ok(ApprovalDecided {
        id: id.uuid(),
        kind,
        action,
        task_id: Some(id),
        task_state: Some(task.state),
        step_id: None,
        step_state: None,
        gate_status: None,
    })
}

/// An output that was edited with its approval. It must fit the task's output schema.
fn edited_output(task: &Task, fields: &JsonObject) -> Result<OverrideOutput, Error> {
    let faults = tasks::output_faults(task.role_config.text(), fields.text())?;
    if let Some(fault) = faults.first() {
        return Err(Error::field(
            "fields",
            format!("does not fit the output schema: {fault}"),
        ));
    }
    Ok(OverrideOutput {
        output: Json::from_text(fields.text().to_owned())?,
        reason: "edited with the approval".to_owned(),
        request_id: None,
    })
}
