//! The memory of a workspace, as the holder of a task in it sees it.

use axum::extract::State;
use http::StatusCode;
use protocol::Scope::Agent;
use protocol::{
    Envelope, MemoryChanged, MemoryEntry, RememberForTask, Task, TaskId, TaskMemory, WorkspaceId,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::memory::{Updates, remember_several};
use super::memory_store;
use crate::app::App;
use crate::error::Error;
use crate::http::Access::AtLeast;
use crate::http::{Caller, Command, Path, Query, Reply, Routes, check_length, csv};
use crate::tasks;

/// Who may call what.
pub fn task_routes() -> Routes {
    Routes::new("workspaces")
        .route(AtLeast(Agent), routes!(get_task_memory))
        .route(AtLeast(Agent), routes!(search_task_memory))
        .route(AtLeast(Agent), routes!(remember_for_task))
}

/// Which values are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct KeysQuery {
    /// Only the value under this key.
    key: Option<String>,
    /// Only the values under these keys, separated by commas.
    keys: Option<String>,
}

/// Reads what the workspace of a task remembers, by key. For the agent that holds the task or held it last, its
/// worker, and operators.
#[utoipa::path(get, path = "/api/v1/tasks/{task_id}/memory", params(KeysQuery),
               responses((status = 200, body = Envelope<TaskMemory>)))]
async fn get_task_memory(
    State(app): State<App>,
    caller: Caller,
    Path(task): Path<TaskId>,
    Query(query): Query<KeysQuery>,
) -> Result<Reply<TaskMemory>, Error> {
    let keys = match (query.key, query.keys) {
        (Some(_), Some(_)) => return Err(Error::invalid("give key or keys, not both")),
        (Some(key), None) => Some(vec![key]),
        (None, keys) => csv(keys.as_deref()),
    };
    let entries = entries(&app, &caller, task, keys.as_deref(), None).await?;
    Reply::ok(TaskMemory { entries })
}

/// What is looked for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct SearchQuery {
    /// A part of a key or of a value, in capital or small letters.
    #[param(min_length = 1, max_length = 255)]
    q: Option<String>,
}

/// Looks for values that the workspace of a task remembers, by a part of the key or of the value; all of them
/// unless `q` is given. For those who may read it.
#[utoipa::path(get, path = "/api/v1/tasks/{task_id}/memory/search", params(SearchQuery),
               responses((status = 200, body = Envelope<TaskMemory>)))]
async fn search_task_memory(
    State(app): State<App>,
    caller: Caller,
    Path(task): Path<TaskId>,
    Query(query): Query<SearchQuery>,
) -> Result<Reply<TaskMemory>, Error> {
    if let Some(text) = &query.q {
        check_length("q", text, 1..=255)?;
    }
    let entries = entries(&app, &caller, task, None, query.q.as_deref()).await?;
    Reply::ok(TaskMemory { entries })
}

async fn entries(
    app: &App,
    caller: &Caller,
    task: TaskId,
    keys: Option<&[String]>,
    text: Option<&str>,
) -> Result<Vec<MemoryEntry>, Error> {
    let mut db = app.db.reader().await?;
    let (tenant, workspaces) = (caller.tenant(), caller.workspace_filter());
    let task = tasks::record(&mut db, tenant, task, workspaces.as_deref()).await?;
    caller.must_be(task.assigned_agent_id, task.assigned_worker_id)?;
    memory_store::entries_of(&mut db, tenant, workspace_of(&task)?, keys, text).await
}

/// Remembers values in the workspace of a task, in the name of its work item. For whoever holds the task.
#[utoipa::path(patch, path = "/api/v1/tasks/{task_id}/memory", request_body = RememberForTask,
               responses((status = 200, body = Envelope<MemoryChanged>)))]
async fn remember_for_task(
    State(app): State<App>,
    Path(task): Path<TaskId>,
    command: Command<RememberForTask>,
) -> Result<Reply<MemoryChanged>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    tasks::must_hold(&mut write, task, body.attempt).await?;
    let task = tasks::read(&mut write, task).await?;
    let updates = Updates {
        key: body.key,
        value: body.value,
        updates: body.updates,
        work_item: task.work_item_id,
    };
    let changed = remember_several(&mut write, workspace_of(&task)?, updates).await?;
    write.commit(StatusCode::OK, changed).await
}

fn workspace_of(task: &Task) -> Result<WorkspaceId, Error> {
    task.workspace_id
        .ok_or_else(|| Error::invalid(format!("task {} belongs to no workspace", task.id)))
}
