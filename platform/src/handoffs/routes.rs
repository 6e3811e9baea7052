//! The routes of handoffs.

use axum::extract::State;
use http::StatusCode;
use protocol::Scope::Agent;
use protocol::{Envelope, SubmitHandoff, TaskHandoff, TaskId, WorkItemId, WorkflowId};
use utoipa_axum::routes;

use super::{predecessor, store, submit};
use crate::app::App;
use crate::error::Error;
use crate::http::Access::AtLeast;
use crate::http::{Caller, Command, Path, Reply, Routes};
use crate::{tasks, work_items};

/// Who may call what.
pub fn routes() -> Routes {
    Routes::new("handoffs")
        .route(AtLeast(Agent), routes!(submit_handoff))
        .route(AtLeast(Agent), routes!(get_predecessor_handoff))
        .route(AtLeast(Agent), routes!(list_handoffs))
        .route(AtLeast(Agent), routes!(get_latest_handoff))
}

/// Leaves something to whoever goes on. Its holder may do so, under its attempt, and write it anew as long as
/// it holds the task; nothing ever waits for it.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/handoff", request_body = SubmitHandoff,
               responses((status = 200, body = Envelope<TaskHandoff>)))]
async fn submit_handoff(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    command: Command<SubmitHandoff>,
) -> Result<Reply<TaskHandoff>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let handoff = submit::submit_handoff(&mut write, id, body).await?;
    write.commit(StatusCode::OK, handoff).await
}

/// Reads what was left to whoever works on a task: by an earlier attempt of it, or by the work that it goes on
/// from. Null when nothing was.
#[utoipa::path(get, path = "/api/v1/tasks/{task_id}/predecessor-handoff",
               responses((status = 200, body = Envelope<Option<TaskHandoff>>)))]
async fn get_predecessor_handoff(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<TaskId>,
) -> Result<Reply<Option<TaskHandoff>>, Error> {
    let mut db = app.db.reader().await?;
    let (tenant, workspaces) = (caller.tenant(), caller.workspace_filter());
    let task = tasks::record(&mut db, tenant, id, workspaces.as_deref()).await?;
    Reply::ok(predecessor::predecessor_of(&mut db, tenant, &task).await?)
}

/// Lists what the tasks of a work item left, the last written first, 200 at most.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/handoffs",
               responses((status = 200, body = Envelope<Vec<TaskHandoff>>)))]
async fn list_handoffs(
    State(app): State<App>,
    caller: Caller,
    Path((run, item)): Path<(WorkflowId, WorkItemId)>,
) -> Result<Reply<Vec<TaskHandoff>>, Error> {
    let mut db = app.db.reader().await?;
    work_items::reach(&mut db, &caller, run, item).await?;
    Reply::ok(store::list_of_item(&mut db, caller.tenant(), item).await?)
}

/// Reads what a task of a work item left last. Null when nothing was.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/handoffs/latest",
               responses((status = 200, body = Envelope<Option<TaskHandoff>>)))]
async fn get_latest_handoff(
    State(app): State<App>,
    caller: Caller,
    Path((run, item)): Path<(WorkflowId, WorkItemId)>,
) -> Result<Reply<Option<TaskHandoff>>, Error> {
    let mut db = app.db.reader().await?;
    work_items::reach(&mut db, &caller, run, item).await?;
    Reply::ok(store::latest_of_item(&mut db, caller.tenant(), item).await?)
}
