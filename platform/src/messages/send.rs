//! Saying something to whoever holds a task, and acknowledging it.

use protocol::{
    AcknowledgeMessage, ActivationId, EntityType, ErrorCode, MessageId, ReasonCode, SendMessage,
    TaskId, TaskMessage, Urgency,
};
use serde_json::json;

use super::store;
use crate::db::Note;
use crate::error::{Error, Refused};
use crate::events::{self, NewEvent};
use crate::http::{Write, check_length};
use crate::tasks;

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
    let to = tasks::read(write, task).await?;
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
    // Locked, so that the order of messages is the order in which they become visible.
    store::lock_task(write.conn(), tenant, task).await?;
    if store::count(write.conn(), tenant, task).await? >= MESSAGES_MAX {
        return Err(Error::conflict(
            ReasonCode::LimitReached,
            format!("task {task} was sent {MESSAGES_MAX} messages, which is as many as it may"),
        ));
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
    let caller = write.caller();
    let tenant = caller.tenant();
    let serde_json::Value::Object(data) = json!({ "message_id": message.id, "attempt": attempt })
    else {
        unreachable!("it is written as an object")
    };
    let event = NewEvent {
        event_type,
        entity_type: EntityType::Task,
        entity: message.task_id.uuid(),
        actor_type: caller.scope().as_str(),
        actor: Some(caller.actor()),
        data: data.into(),
    };
    match message.workflow_id {
        Some(run) => events::append_to_runs(write.conn(), tenant, &[(run, event)]).await?,
        None => events::append(write.conn(), tenant, &[event]).await?,
    }
    write.tx().note(Note::EventsAppended);
    Ok(())
}
