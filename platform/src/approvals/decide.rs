//! One way to decide: by the operation of the task's own route, without knowledge of its states.

use protocol::{
    AnswerEscalation, Approval, ApprovalAction, ApprovalDecided, ApprovalKind, DecideApproval,
    ErrorCode, Json, OverrideOutput, ReasonCode, RejectTask, RequestChanges, Task, TaskId,
    TaskState,
};

use crate::error::{Error, Refused};
use crate::http::Write;
use crate::tasks;

/// The states in which a task waits for a person.
pub(super) const STATES: &[(ApprovalKind, TaskState)] = &[
    (ApprovalKind::TaskApproval, TaskState::AwaitingApproval),
    (
        ApprovalKind::OutputAssessment,
        TaskState::OutputPendingAssessment,
    ),
    (ApprovalKind::Escalation, TaskState::Escalated),
];

/// What has to be decided about a task, if something has.
fn kind_of(task: &Task) -> Option<ApprovalKind> {
    STATES
        .iter()
        .find(|(_, state)| *state == task.state)
        .map(|(kind, _)| *kind)
}

fn actions(kind: ApprovalKind) -> Vec<ApprovalAction> {
    match kind {
        ApprovalKind::TaskApproval | ApprovalKind::OutputAssessment => vec![
            ApprovalAction::Approve,
            ApprovalAction::Reject,
            ApprovalAction::RequestChanges,
        ],
        ApprovalKind::Escalation => vec![ApprovalAction::Approve],
    }
}

/// A task as something to decide.
///
/// # Errors
/// 404 when it waits for nobody.
pub(super) fn approval_of(task: Task) -> Result<Approval, Error> {
    let Some(kind) = kind_of(&task) else {
        return Err(Error::not_found("approval", task.id));
    };
    Ok(Approval {
        id: task.id.uuid(),
        kind,
        tenant_id: task.tenant_id,
        task_id: task.id,
        workflow_id: task.workflow_id,
        work_item_id: task.work_item_id,
        workspace_id: task.workspace_id,
        title: task.title,
        description: task.description,
        role: task.role,
        input: task.input,
        output: task.output,
        verification: task.verification,
        question: task.question,
        actions: actions(kind),
        requested_at: task.state_changed_at,
    })
}

/// Decides about a task that waits for a person.
pub(super) async fn decide_approval(
    write: &mut Write,
    id: TaskId,
    body: DecideApproval,
) -> Result<ApprovalDecided, Error> {
    let before = tasks::read(write, id).await?;
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
    if !actions(kind).contains(&action) {
        return Err(Error::field(
            "action",
            format!(
                "{action} is no answer to an escalation; approve it with instructions, or use the routes of the task"
            ),
        ));
    }
    if body.fields.is_some()
        && (action != ApprovalAction::Approve || kind == ApprovalKind::Escalation)
    {
        return Err(Error::field(
            "fields",
            "can be edited only with an approval",
        ));
    }
    let is_answer = action != ApprovalAction::Approve || kind == ApprovalKind::Escalation;
    let feedback = match body.feedback {
        None if is_answer => {
            return Err(Error::field(
                "feedback",
                "is missing: say why, or what to do",
            ));
        }
        given => given.unwrap_or_default(),
    };
    let task = match (action, kind) {
        (ApprovalAction::Reject, _) => {
            let request_id = None;
            tasks::reject_task(
                write,
                id,
                RejectTask {
                    feedback,
                    request_id,
                },
            )
            .await?
        }
        (ApprovalAction::RequestChanges, _) => {
            let changes = RequestChanges {
                feedback,
                ..RequestChanges::default()
            };
            tasks::request_task_changes(write, id, changes).await?
        }
        (ApprovalAction::Approve, ApprovalKind::TaskApproval) => {
            if let Some(input) = &body.fields {
                tasks::replace_input(write, id, input).await?;
            }
            tasks::approve_task(write, id).await?
        }
        (ApprovalAction::Approve, ApprovalKind::OutputAssessment) => match body.fields {
            None => tasks::approve_task_output(write, id).await?,
            Some(fields) => {
                let faults = tasks::output_faults(before.role_config.text(), fields.text())?;
                if let Some(fault) = faults.first() {
                    return Err(Error::field(
                        "fields",
                        format!("does not fit the output schema: {fault}"),
                    ));
                }
                let edited = OverrideOutput {
                    output: Json::from_text(fields.text().to_owned())?,
                    reason: "edited with the approval".to_owned(),
                    request_id: None,
                };
                tasks::override_task_output(write, id, edited).await?
            }
        },
        (ApprovalAction::Approve, ApprovalKind::Escalation) => {
            let answer = AnswerEscalation {
                instructions: feedback,
                ..AnswerEscalation::default()
            };
            tasks::resolve_task_escalation(write, id, answer).await?
        }
    };
    Ok(ApprovalDecided {
        id: id.uuid(),
        kind,
        action,
        task_id: id,
        task_state: task.state,
    })
}
