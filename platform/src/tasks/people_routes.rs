//! The routes by which people decide about tasks.

use axum::extract::State;
use http::StatusCode;
use protocol::Scope::{Admin, Agent, Worker};
use protocol::{
    AgentEscalate, AnswerEscalation, ApproveOutput, ApproveTask, Envelope, EscalateTask,
    OverrideOutput, ReassignTask, RejectTask, RequestChanges, SkipTask, Task, TaskId,
};
use utoipa_axum::routes;

use super::{hand_in, people};
use crate::app::App;
use crate::error::Error;
use crate::http::Access::AtLeast;
use crate::http::{Command, Hot, Path, Reply, Routes};

/// Who may call what.
pub fn people_routes() -> Routes {
    Routes::new("tasks")
        .route(AtLeast(Worker), routes!(approve_task))
        .route(AtLeast(Worker), routes!(approve_task_output))
        .route(AtLeast(Worker), routes!(reject_task))
        .route(AtLeast(Worker), routes!(request_task_changes))
        .route(AtLeast(Worker), routes!(rework_task))
        .route(AtLeast(Worker), routes!(skip_task))
        .route(AtLeast(Admin), routes!(reassign_task))
        .route(AtLeast(Admin), routes!(escalate_task))
        .hot(AtLeast(Agent), routes!(agent_escalate_task))
        .route(AtLeast(Admin), routes!(answer_task_escalation))
        .route(AtLeast(Worker), routes!(resolve_task_escalation))
        .route(AtLeast(Admin), routes!(override_task_output))
}

/// Lets a task run that waits for approval.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/approve", request_body = ApproveTask,
               responses((status = 200, body = Envelope<Task>)))]
async fn approve_task(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    command: Command<ApproveTask>,
) -> Result<Reply<Task>, Error> {
    let (mut write, _) = command.begin(&app).await?;
    let task = people::approve_task(&mut write, id).await?;
    write.commit(StatusCode::OK, task).await
}

/// Accepts an output that waits for a person's word: the task is completed.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/approve-output", request_body = ApproveOutput,
               responses((status = 200, body = Envelope<Task>)))]
async fn approve_task_output(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    command: Command<ApproveOutput>,
) -> Result<Reply<Task>, Error> {
    let (mut write, _) = command.begin(&app).await?;
    let task = people::approve_task_output(&mut write, id).await?;
    write.commit(StatusCode::OK, task).await
}

/// Refuses a task or its output: it fails with category `assessment_rejected`.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/reject", request_body = RejectTask,
               responses((status = 200, body = Envelope<Task>)))]
async fn reject_task(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    command: Command<RejectTask>,
) -> Result<Reply<Task>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let task = people::reject_task(&mut write, id, body).await?;
    write.commit(StatusCode::OK, task).await
}

/// Wants a task done again, with changes. Sent back more often than `max_reworks`, it fails.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/request-changes", request_body = RequestChanges,
               responses((status = 200, body = Envelope<Task>)))]
async fn request_task_changes(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    command: Command<RequestChanges>,
) -> Result<Reply<Task>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let task = people::request_task_changes(&mut write, id, body).await?;
    write.commit(StatusCode::OK, task).await
}

/// Another name for request-changes.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/rework", request_body = RequestChanges,
               responses((status = 200, body = Envelope<Task>)))]
async fn rework_task(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    command: Command<RequestChanges>,
) -> Result<Reply<Task>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let task = people::request_task_changes(&mut write, id, body).await?;
    write.commit(StatusCode::OK, task).await
}

/// Passes over a task: it counts as completed.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/skip", request_body = SkipTask,
               responses((status = 200, body = Envelope<Task>)))]
async fn skip_task(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    command: Command<SkipTask>,
) -> Result<Reply<Task>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let task = people::skip_task(&mut write, id, body).await?;
    write.commit(StatusCode::OK, task).await
}

/// Says who may take a task. Its holder loses it, and hears so with the next heartbeat.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/reassign", request_body = ReassignTask,
               responses((status = 200, body = Envelope<Task>)))]
async fn reassign_task(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    command: Command<ReassignTask>,
) -> Result<Reply<Task>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let task = people::reassign_task(&mut write, id, body).await?;
    write.commit(StatusCode::OK, task).await
}

/// Takes a task from its holder, or from its failure, and asks a person for help.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/escalate", request_body = EscalateTask,
               responses((status = 200, body = Envelope<Task>)))]
async fn escalate_task(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    command: Command<EscalateTask>,
) -> Result<Reply<Task>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let task = people::escalate_task(&mut write, id, body).await?;
    write.commit(StatusCode::OK, task).await
}

/// The holder asks for help: the task waits for a person, and the lease ends.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/agent-escalate", request_body = AgentEscalate,
               responses((status = 200, body = Envelope<Task>)))]
async fn agent_escalate_task(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    hot: Hot<AgentEscalate>,
) -> Result<Reply<Task>, Error> {
    agent_escalate(&app, id, hot).await
}

/// Takes the call for help of a holder, and answers with its task.
pub(crate) async fn agent_escalate(
    app: &App,
    id: TaskId,
    hot: Hot<AgentEscalate>,
) -> Result<Reply<Task>, Error> {
    let member = hand_in::Member::escalated(&hot.caller, id, hot.body)?;
    super::routes::reply(app.lanes.hand_in.run(member).await??)
}

/// Answers a call for help; the task stays escalated until it is resolved.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/escalation-response", request_body = AnswerEscalation,
               responses((status = 200, body = Envelope<Task>)))]
async fn answer_task_escalation(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    command: Command<AnswerEscalation>,
) -> Result<Reply<Task>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let task = people::answer_task_escalation(&mut write, id, body).await?;
    write.commit(StatusCode::OK, task).await
}

/// Answers a call for help, and lets the task go on.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/resolve-escalation", request_body = AnswerEscalation,
               responses((status = 200, body = Envelope<Task>)))]
async fn resolve_task_escalation(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    command: Command<AnswerEscalation>,
) -> Result<Reply<Task>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let task = people::resolve_task_escalation(&mut write, id, body).await?;
    write.commit(StatusCode::OK, task).await
}

/// Gives the output of a task by hand: it counts as completed.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/output-override", request_body = OverrideOutput,
               responses((status = 200, body = Envelope<Task>)))]
async fn override_task_output(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    command: Command<OverrideOutput>,
) -> Result<Reply<Task>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let task = people::override_task_output(&mut write, id, body).await?;
    write.commit(StatusCode::OK, task).await
}
