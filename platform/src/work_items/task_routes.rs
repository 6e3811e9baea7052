//! The operations of tasks, by the work item to which they belong.
//!
//! Each is the operation of the task's own route. What these routes add is that the task must be one of the
//! work item, which must be one of the run: otherwise it does not exist.

use axum::extract::State;
use http::StatusCode;
use protocol::Scope::{Admin, Agent, Worker};
use protocol::{
    AgentEscalate, AnswerEscalation, ApproveOutput, ApproveTask, CancelTask, Envelope,
    OverrideOutput, ReassignTask, RejectTask, RequestChanges, RetryTask, SkipTask, Task, TaskId,
    WorkItemId, WorkflowId,
};
use utoipa_axum::routes;

use super::place_store::{self, TaskPlace};
use crate::app::App;
use crate::error::Error;
use crate::http::Access::AtLeast;
use crate::http::{Caller, Command, Hot, Path, Reply, Routes, Write};
use crate::tasks;

/// Who may call what.
pub fn task_routes() -> Routes {
    Routes::new("work_items")
        .route(AtLeast(Worker), routes!(approve_work_item_task))
        .route(AtLeast(Worker), routes!(approve_work_item_task_output))
        .route(AtLeast(Worker), routes!(reject_work_item_task))
        .route(AtLeast(Worker), routes!(request_work_item_task_changes))
        .route(AtLeast(Worker), routes!(retry_work_item_task))
        .route(AtLeast(Worker), routes!(skip_work_item_task))
        .route(AtLeast(Worker), routes!(cancel_work_item_task))
        .route(AtLeast(Worker), routes!(resolve_work_item_task_escalation))
        .route(AtLeast(Admin), routes!(reassign_work_item_task))
        .route(AtLeast(Admin), routes!(override_work_item_task_output))
        .hot(AtLeast(Agent), routes!(agent_escalate_work_item_task))
        .hot(AtLeast(Agent), routes!(agent_escalate_workflow_task))
}

/// A task by its place: its run, its work item, itself.
type Place = (WorkflowId, WorkItemId, TaskId);

/// Does to a task what its own route does, if it is in this place for this key.
async fn operate<T>(
    app: &App,
    (run, item, task): Place,
    command: Command<T>,
    operation: impl AsyncFnOnce(&mut Write, TaskId, T) -> Result<Task, Error>,
) -> Result<Reply<Task>, Error> {
    let (mut write, body) = command.begin(app).await?;
    let caller = write.caller();
    let (tenant, workspaces) = (caller.tenant(), caller.workspace_filter());
    let place = (run, Some(item), task);
    place_store::must_contain(write.conn(), tenant, place, workspaces.as_deref()).await?;
    let task = operation(&mut write, task, body).await?;
    write.commit(StatusCode::OK, task).await
}

/// Lets a task of a work item run that waits for approval.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/tasks/{task_id}/approve",
               request_body = ApproveTask, responses((status = 200, body = Envelope<Task>)))]
async fn approve_work_item_task(
    State(app): State<App>,
    Path(place): Path<Place>,
    command: Command<ApproveTask>,
) -> Result<Reply<Task>, Error> {
    operate(&app, place, command, async |write: &mut Write, task, _| {
        tasks::approve_task(write, task).await
    })
    .await
}

/// Accepts an output of a task of a work item: the task is completed.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/tasks/{task_id}/approve-output",
               request_body = ApproveOutput, responses((status = 200, body = Envelope<Task>)))]
async fn approve_work_item_task_output(
    State(app): State<App>,
    Path(place): Path<Place>,
    command: Command<ApproveOutput>,
) -> Result<Reply<Task>, Error> {
    operate(&app, place, command, async |write: &mut Write, task, _| {
        tasks::approve_task_output(write, task).await
    })
    .await
}

/// Refuses a task of a work item, or its output: it fails.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/tasks/{task_id}/reject",
               request_body = RejectTask, responses((status = 200, body = Envelope<Task>)))]
async fn reject_work_item_task(
    State(app): State<App>,
    Path(place): Path<Place>,
    command: Command<RejectTask>,
) -> Result<Reply<Task>, Error> {
    operate(&app, place, command, tasks::reject_task).await
}

/// Wants a task of a work item done again, with changes.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/tasks/{task_id}/request-changes",
               request_body = RequestChanges, responses((status = 200, body = Envelope<Task>)))]
async fn request_work_item_task_changes(
    State(app): State<App>,
    Path(place): Path<Place>,
    command: Command<RequestChanges>,
) -> Result<Reply<Task>, Error> {
    operate(&app, place, command, tasks::request_task_changes).await
}

/// Gives a failed task of a work item another attempt.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/tasks/{task_id}/retry",
               request_body = RetryTask, responses((status = 200, body = Envelope<Task>)))]
async fn retry_work_item_task(
    State(app): State<App>,
    Path(place): Path<Place>,
    command: Command<RetryTask>,
) -> Result<Reply<Task>, Error> {
    operate(&app, place, command, tasks::retry_task).await
}

/// Passes over a task of a work item: it counts as completed.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/tasks/{task_id}/skip",
               request_body = SkipTask, responses((status = 200, body = Envelope<Task>)))]
async fn skip_work_item_task(
    State(app): State<App>,
    Path(place): Path<Place>,
    command: Command<SkipTask>,
) -> Result<Reply<Task>, Error> {
    operate(&app, place, command, tasks::skip_task).await
}

/// Calls a task of a work item off.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/tasks/{task_id}/cancel",
               request_body = CancelTask, responses((status = 200, body = Envelope<Task>)))]
async fn cancel_work_item_task(
    State(app): State<App>,
    Path(place): Path<Place>,
    command: Command<CancelTask>,
) -> Result<Reply<Task>, Error> {
    operate(&app, place, command, tasks::cancel_task).await
}

/// Answers the call for help of a task of a work item, and lets it go on.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/tasks/{task_id}/resolve-escalation",
               request_body = AnswerEscalation, responses((status = 200, body = Envelope<Task>)))]
async fn resolve_work_item_task_escalation(
    State(app): State<App>,
    Path(place): Path<Place>,
    command: Command<AnswerEscalation>,
) -> Result<Reply<Task>, Error> {
    operate(&app, place, command, tasks::resolve_task_escalation).await
}

/// Says who may take a task of a work item.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/tasks/{task_id}/reassign",
               request_body = ReassignTask, responses((status = 200, body = Envelope<Task>)))]
async fn reassign_work_item_task(
    State(app): State<App>,
    Path(place): Path<Place>,
    command: Command<ReassignTask>,
) -> Result<Reply<Task>, Error> {
    operate(&app, place, command, tasks::reassign_task).await
}

/// Gives the output of a task of a work item by hand: it counts as completed.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/tasks/{task_id}/output-override",
               request_body = OverrideOutput, responses((status = 200, body = Envelope<Task>)))]
async fn override_work_item_task_output(
    State(app): State<App>,
    Path(place): Path<Place>,
    command: Command<OverrideOutput>,
) -> Result<Reply<Task>, Error> {
    operate(&app, place, command, tasks::override_task_output).await
}

/// The holder of a task of a work item asks for help: the task waits for a person, and the lease ends.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/tasks/{task_id}/agent-escalate",
               request_body = AgentEscalate, responses((status = 200, body = Envelope<Task>)))]
async fn agent_escalate_work_item_task(
    State(app): State<App>,
    Path((run, item, task)): Path<Place>,
    hot: Hot<AgentEscalate>,
) -> Result<Reply<Task>, Error> {
    must_be_in(&app, &hot.caller, (run, Some(item), task)).await?;
    tasks::agent_escalate(&app, task, hot).await
}

/// The holder of a task of a run asks for help, whether the task belongs to a work item or not.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/tasks/{task_id}/agent-escalate",
               request_body = AgentEscalate, responses((status = 200, body = Envelope<Task>)))]
async fn agent_escalate_workflow_task(
    State(app): State<App>,
    Path((run, task)): Path<(WorkflowId, TaskId)>,
    hot: Hot<AgentEscalate>,
) -> Result<Reply<Task>, Error> {
    must_be_in(&app, &hot.caller, (run, None, task)).await?;
    tasks::agent_escalate(&app, task, hot).await
}

/// Refuses a task that is elsewhere. Tasks stay where they are, so this need not share a transaction with
/// the report.
async fn must_be_in(app: &App, caller: &Caller, place: TaskPlace) -> Result<(), Error> {
    let mut db = app.db.reader().await?;
    let workspaces = caller.workspace_filter();
    place_store::must_contain(&mut db, caller.tenant(), place, workspaces.as_deref()).await
}
