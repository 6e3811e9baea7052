//! The routes of messages; that of orchestrators is among theirs.

use axum::extract::State;
use http::StatusCode;
use protocol::Scope::{Admin, Agent};
use protocol::{AcknowledgeMessage, Envelope, MessageId, SendMessage, TaskId, TaskMessage};
use utoipa_axum::routes;

use super::{send, store};
use crate::app::App;
use crate::error::Error;
use crate::http::Access::AtLeast;
use crate::http::{Caller, Command, Path, Reply, Routes};
use crate::tasks;

/// Who may call what.
pub fn routes() -> Routes {
    Routes::new("messages")
        .route(AtLeast(Admin), routes!(send_message))
        .route(AtLeast(Agent), routes!(list_messages))
        .route(AtLeast(Agent), routes!(acknowledge_message))
}

/// Says something to whoever holds a task, or will. The holder is told it with its heartbeats, until it has
/// acknowledged it; so is the holder of every later attempt.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/messages", request_body = SendMessage,
               responses((status = 201, body = Envelope<TaskMessage>)))]
async fn send_message(
    State(app): State<App>,
    Path(task): Path<TaskId>,
    command: Command<SendMessage>,
) -> Result<Reply<TaskMessage>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let sent = send::send_message(&mut write, task, body, None).await?;
    write.commit(StatusCode::CREATED, sent).await
}

/// Lists what was said to the holders of a task, in order.
#[utoipa::path(get, path = "/api/v1/tasks/{task_id}/messages", responses((status = 200, body = Envelope<Vec<TaskMessage>>)))]
async fn list_messages(
    State(app): State<App>,
    caller: Caller,
    Path(task): Path<TaskId>,
) -> Result<Reply<Vec<TaskMessage>>, Error> {
    let mut db = app.db.reader().await?;
    let (tenant, workspaces) = (caller.tenant(), caller.workspace_filter());
    tasks::record(&mut db, tenant, task, workspaces.as_deref()).await?;
    Reply::ok(store::list(&mut db, tenant, task, None).await?)
}

/// Says that the attempt which holds a task has received a message: its heartbeats do not tell it again.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/messages/{message_id}/ack", request_body = AcknowledgeMessage,
               responses((status = 200, body = Envelope<TaskMessage>)))]
async fn acknowledge_message(
    State(app): State<App>,
    Path((task, id)): Path<(TaskId, MessageId)>,
    command: Command<AcknowledgeMessage>,
) -> Result<Reply<TaskMessage>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let message = send::acknowledge_message(&mut write, task, id, &body).await?;
    write.commit(StatusCode::OK, message).await
}
