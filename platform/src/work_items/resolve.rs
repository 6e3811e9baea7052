//! Answering the calls for help of a work item: those of its tasks, all at once.

use protocol::{
    AnswerEscalation, ErrorCode, EscalationAction, ReasonCode, ResolveWorkItemEscalation, WorkItem,
    WorkItemId, WorkflowId,
};
use serde_json::json;

use super::create::{lock, tell};
use super::{steer, store};
use crate::error::{Error, Refused};
use crate::http::{Write, check_length};
use crate::{tasks, workflows};

/// What tasks are told whose call for help was put aside.
const DISMISSED: &str = "nobody answers: go on without an answer";

/// Answers whatever tasks of a work item ask, and lets them go on.
pub(super) async fn resolve_work_item_escalation(
    write: &mut Write,
    run: WorkflowId,
    id: WorkItemId,
    body: ResolveWorkItemEscalation,
) -> Result<WorkItem, Error> {
    let action = body.action;
    let instructions = match (body.feedback, action) {
        (Some(feedback), _) => feedback,
        (None, EscalationAction::Dismiss) => DISMISSED.to_owned(),
        (None, _) => {
            let what = "is missing: say what to do, or dismiss";
            return Err(Error::field("feedback", what));
        }
    };
    check_length("feedback", &instructions, 1..=4000)?;
    let tenant = write.caller().tenant();
    let open = lock(write, run).await?;
    let item = store::read(write.conn(), tenant, run, id).await?;
    let asking = store::asking_for_help(write.conn(), tenant, id).await?;
    if asking.is_empty() {
        return Err(Refused::new(
            ErrorCode::Conflict,
            format!("no task of work item {id} asks for help"),
        )
        .reason(ReasonCode::StateChanged)
        .hint("GET …/work-items/{work_item_id}/why tells what it waits for")
        .into());
    }
    for task in &asking {
        let answer = AnswerEscalation {
            instructions: instructions.clone(),
            ..AnswerEscalation::default()
        };
        tasks::resolve_task_escalation(write, *task, answer).await?;
    }
    if action == EscalationAction::ReopenSubject && item.blocked_state.is_some() {
        let playbook = open.playbook_id.into();
        let column = workflows::active_column_of(write.conn(), tenant, playbook).await?;
        store::reopen(write.conn(), tenant, id.uuid(), &column).await?;
        tell(write, run, id, "work_item.reopened", json!({})).await?;
    }
    let data = json!({ "action": action, "feedback": instructions, "task_ids": asking });
    tell(write, run, id, "work_item.escalation_resolved", data).await?;
    steer::finish(write, &open, &item, "work_item.escalation_resolved").await
}
