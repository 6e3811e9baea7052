//! Saying something to whoever holds a task, and acknowledging it.

use protocol::{
    AcknowledgeMessage, ActivationId, ErrorCode, MessageId, ReasonCode, SendMessage, TaskId,
    TaskMessage, Urgency,
};
use serde_json::json;

use super::store;
use crate::error::{Error, Refused};
use crate::http::{Write, check_length};
use crate::{events, tasks};

/// Messages that a task may be sent.
const MESSAGES_MAX: i64 = 200;

/// Says something to whoever holds a task, or will.
///
/// # Errors
/// 404; 409 for a task that has ended, or was sent as many messages as it may; 422 for bad fields.
pub(crate) async fn send_message(
    write: &mut Write,
    task: TaskId,
    body: SendMessage,
    orchestrator: Option<(TaskId, ActivationId)>,
) -> Result<TaskMessage, Error> {
    check_length("message", &body.message, 1..=4000)?;
    let tenant = write.caller().tenant();
    // Locked, so that the order of messages is the order in which they become visible, and a task of a run does
    // not end meanwhile.
    let to = tasks::lock(write, task).await?;
    if to.state.is_final() {
        return Err(Refused::new(
            ErrorCode::Conflict,
            format!("task {task} is {}: nobody would hear the message", to.state),
        )
        .reason(ReasonCode::StateChanged)
        .hint("a task that is given another attempt can be sent messages again")
        .current_state(to.state.as_str())
        .into());
    }
    if store::count(write.conn(), tenant, task).await? >= MESSAGES_MAX {
        return Err(Refused::new(
            ErrorCode::Conflict,
            format!("task {task} was sent {MESSAGES_MAX} messages, which is as many as it may"),
        )
        .reason(ReasonCode::LimitReached)
        .hint("send it back, or put what is left to say into its input")
        .into());
    }
    let (orchestrator_task, activation) = orchestrator.unzip();
    let message = store::NewMessage {
        id: MessageId::new(),
        task,
        run: to.workflow_id,
        urgency: body.urgency.unwrap_or(Urgency::Info),
        body: &body.message,
        orchestrator_task,
        activation,
        sender: (write.caller().scope().as_str(), write.caller().actor()),
    };
    store::insert(write.conn(), tenant, &message).await?;
    let sent = store::find(write.conn(), tenant, task, message.id).await?;
    tell(write, &sent, "task.message_sent", None).await?;
    Ok(sent)
}

/// The attempt that holds a task has received a message.
///
/// # Errors
/// 404; 403 and 409 `lease_lost` for those who do not hold the task.
pub(super) async fn acknowledge_message(
    write: &mut Write,
    task: TaskId,
    id: MessageId,
    body: &AcknowledgeMessage,
) -> Result<TaskMessage, Error> {
    let tenant = write.caller().tenant();
    let message = store::find(write.conn(), tenant, task, id).await?;
    let held = tasks::must_hold(write, task, body.attempt).await?;
    if store::acknowledge(write.conn(), tenant, id, held.attempt).await? {
        tell(
            write,
            &message,
            "task.message_delivered",
            Some(held.attempt),
        )
        .await?;
    }
    store::find(write.conn(), tenant, task, id).await
}

/// What was said stays out of the event: it may be long, and is listed with the task.
async fn tell(
    write: &mut Write,
    message: &TaskMessage,
    event_type: &'static str,
    attempt: Option<i32>,
) -> Result<(), Error> {
    let data = json!({ "message_id": message.id, "attempt": attempt });
    events::tell_of_task(
        write,
        message.workflow_id,
        message.task_id,
        event_type,
        data,
    )
    .await
}
