//! The routes of work items.

use axum::extract::State;
use http::StatusCode;
use protocol::Scope::{Admin, Agent, Worker};
use protocol::{
    Bare, CreateWorkItem, Envelope, Event, ResolveWorkItemEscalation, RetryTask, RunWhy, SkipTask,
    Task, UpdateWorkItem, WorkItem, WorkItemGroup, WorkItemId, WorkItemMemory,
    WorkItemMemoryHistory, WorkItems, WorkflowId,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{create, memory_store, reach, resolve, steer, store, update};
use crate::app::App;
use crate::error::Error;
use crate::http::Access::AtLeast;
use crate::http::{Caller, Command, Path, Query, Reply, Routes};
use crate::{events, tasks, workflows, workspaces};

/// Work items that one answer has at most.
const ITEMS_MAX: i64 = 1_000;
/// Tasks of a work item that one answer has at most.
const TASKS_MAX: i64 = 1_000;

/// Who may call what.
pub fn routes() -> Routes {
    Routes::new("work_items")
        .route(AtLeast(Agent), routes!(list_work_items))
        .route(AtLeast(Admin), routes!(create_work_item))
        .route(AtLeast(Agent), routes!(get_work_item))
        .route(AtLeast(Admin), routes!(update_work_item))
        .route(AtLeast(Agent), routes!(list_work_item_tasks))
        .route(AtLeast(Agent), routes!(list_work_item_events))
        .route(AtLeast(Agent), routes!(explain_work_item))
        .route(AtLeast(Agent), routes!(get_work_item_memory))
        .route(AtLeast(Agent), routes!(get_work_item_memory_history))
        .route(AtLeast(Worker), routes!(retry_work_item))
        .route(AtLeast(Worker), routes!(skip_work_item))
        .route(AtLeast(Admin), routes!(resolve_work_item_escalation))
        .route(AtLeast(Admin), routes!(pause_work_item))
        .route(AtLeast(Admin), routes!(resume_work_item))
        .route(AtLeast(Admin), routes!(cancel_work_item))
}

/// Which work items a list shows.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct WorkItemQuery {
    /// Only parts of this work item.
    parent_work_item_id: Option<Uuid>,
    /// Only those of this stage.
    stage_name: Option<String>,
    /// Only those in this column.
    column_id: Option<String>,
    /// By the columns of the board, in place of one list.
    grouped: Option<bool>,
}

/// Lists the work items of a run, newest first, 1000 at most; or by the columns of its board.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/work-items", params(WorkItemQuery),
               responses((status = 200, body = Envelope<WorkItems>)))]
async fn list_work_items(
    State(app): State<App>,
    caller: Caller,
    Path(run): Path<WorkflowId>,
    Query(query): Query<WorkItemQuery>,
) -> Result<Reply<WorkItems>, Error> {
    let mut db = app.db.reader().await?;
    let tenant = caller.tenant();
    let workspaces = caller.workspace_filter();
    let playbook = workflows::must_reach(&mut db, tenant, run, workspaces.as_deref()).await?;
    let filter = store::Filter {
        ids: None,
        parents: query.parent_work_item_id.map(|parent| vec![parent]),
        stage_name: query.stage_name,
        column_id: query.column_id,
    };
    let items = store::list(&mut db, tenant, run, &filter, ITEMS_MAX).await?;
    if !query.grouped.unwrap_or(false) {
        return Reply::ok(WorkItems::List(items));
    }
    let board = workflows::board_of(&mut db, tenant, playbook.into()).await?;
    let groups = board.columns.iter().map(|column| WorkItemGroup {
        column_id: column.id.clone(),
        work_items: items
            .iter()
            .filter(|item| item.column_id == column.id)
            .cloned()
            .collect(),
    });
    Reply::ok(WorkItems::Grouped(groups.collect()))
}

/// Makes a work item in a run that takes work.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/work-items", request_body = CreateWorkItem,
               responses((status = 201, body = Envelope<WorkItem>)))]
async fn create_work_item(
    State(app): State<App>,
    Path(run): Path<WorkflowId>,
    command: Command<CreateWorkItem>,
) -> Result<Reply<WorkItem>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let made = create::create_work_item(&mut write, run, body).await?;
    write.commit(StatusCode::CREATED, made).await
}

/// What is shown of a work item.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ChildrenQuery {
    /// Whether its parts are shown too, 1000 at most.
    include_children: Option<bool>,
}

/// Reads a work item.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}", params(ChildrenQuery),
               responses((status = 200, body = Envelope<WorkItem>)))]
async fn get_work_item(
    State(app): State<App>,
    caller: Caller,
    Path((run, id)): Path<(WorkflowId, WorkItemId)>,
    Query(query): Query<ChildrenQuery>,
) -> Result<Reply<WorkItem>, Error> {
    let mut db = app.db.reader().await?;
    let tenant = caller.tenant();
    let mut item = reach(&mut db, &caller, run, id).await?;
    if query.include_children.unwrap_or(false) {
        let filter = store::Filter {
            parents: Some(vec![id.uuid()]),
            ..store::Filter::default()
        };
        item.children = store::list(&mut db, tenant, run, &filter, ITEMS_MAX).await?;
    }
    Reply::ok(item)
}

/// Changes a work item, or moves it over the board: a terminal column completes it.
#[utoipa::path(patch, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}", request_body = UpdateWorkItem,
               responses((status = 200, body = Envelope<WorkItem>)))]
async fn update_work_item(
    State(app): State<App>,
    Path((run, id)): Path<(WorkflowId, WorkItemId)>,
    command: Command<UpdateWorkItem>,
) -> Result<Reply<WorkItem>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let item = update::update_work_item(&mut write, run, id, body).await?;
    write.commit(StatusCode::OK, item).await
}

/// Lists the tasks of a work item in their order, 1000 at most.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/tasks",
               responses((status = 200, body = Envelope<Vec<Task>>)))]
async fn list_work_item_tasks(
    State(app): State<App>,
    caller: Caller,
    Path((run, id)): Path<(WorkflowId, WorkItemId)>,
) -> Result<Reply<Vec<Task>>, Error> {
    let mut db = app.db.reader().await?;
    let tenant = caller.tenant();
    reach(&mut db, &caller, run, id).await?;
    let ids = store::tasks_of(&mut db, tenant, id, TASKS_MAX).await?;
    let ids: Vec<Uuid> = ids.into_iter().map(|(task, _)| task.uuid()).collect();
    Reply::ok(tasks::by_ids(&mut db, tenant, &ids).await?)
}

/// How many of the last ones are shown.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct LimitQuery {
    /// How many, 1 to 500; 100 unless given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
}

impl LimitQuery {
    fn limit(&self) -> Result<i64, Error> {
        let limit = self.limit.unwrap_or(100);
        if !(1..=memory_store::CHANGES_MAX).contains(&limit) {
            return Err(Error::invalid("limit must be between 1 and 500"));
        }
        Ok(limit)
    }
}

/// Lists the last events of a work item and its tasks, newest first.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/events", params(LimitQuery),
               responses((status = 200, body = Envelope<Vec<Event>>)))]
async fn list_work_item_events(
    State(app): State<App>,
    caller: Caller,
    Path((run, id)): Path<(WorkflowId, WorkItemId)>,
    Query(query): Query<LimitQuery>,
) -> Result<Reply<Vec<Event>>, Error> {
    let limit = query.limit()?;
    let mut db = app.db.reader().await?;
    let tenant = caller.tenant();
    reach(&mut db, &caller, run, id).await?;
    Reply::ok(events::last_of_item(&mut db, tenant, run, id, limit).await?)
}

/// Reads what is remembered in the name of a work item: its values in the memory of the workspace.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/memory",
               responses((status = 200, body = Envelope<WorkItemMemory>)))]
async fn get_work_item_memory(
    State(app): State<App>,
    caller: Caller,
    Path((run, id)): Path<(WorkflowId, WorkItemId)>,
) -> Result<Reply<WorkItemMemory>, Error> {
    let mut db = app.db.reader().await?;
    let tenant = caller.tenant();
    reach(&mut db, &caller, run, id).await?;
    let entries = workspaces::entries_of_item(&mut db, tenant, id).await?;
    Reply::ok(WorkItemMemory { entries })
}

/// Lists what was remembered and forgotten in the name of a work item, newest first.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/memory/history",
               params(LimitQuery), responses((status = 200, body = Envelope<WorkItemMemoryHistory>)))]
async fn get_work_item_memory_history(
    State(app): State<App>,
    caller: Caller,
    Path((run, id)): Path<(WorkflowId, WorkItemId)>,
    Query(query): Query<LimitQuery>,
) -> Result<Reply<WorkItemMemoryHistory>, Error> {
    let limit = query.limit()?;
    let mut db = app.db.reader().await?;
    let tenant = caller.tenant();
    reach(&mut db, &caller, run, id).await?;
    let history = memory_store::memory_changes(&mut db, tenant, id, limit).await?;
    Reply::ok(WorkItemMemoryHistory { history })
}

/// Tells why a work item does not go on, and what to do about it.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/why",
               responses((status = 200, body = Envelope<RunWhy>)))]
async fn explain_work_item(
    State(app): State<App>,
    caller: Caller,
    Path((run, id)): Path<(WorkflowId, WorkItemId)>,
) -> Result<Reply<RunWhy>, Error> {
    let mut db = app.db.reader().await?;
    let tenant = caller.tenant();
    let item = reach(&mut db, &caller, run, id).await?;
    Reply::ok(workflows::explain_item(&mut db, tenant, &item).await?)
}

/// Tries the first task of a work item again that failed, else the first one that asked for help.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/retry", request_body = RetryTask,
               responses((status = 200, body = Envelope<Task>)))]
async fn retry_work_item(
    State(app): State<App>,
    Path((run, id)): Path<(WorkflowId, WorkItemId)>,
    command: Command<RetryTask>,
) -> Result<Reply<Task>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let task = steer::retry_work_item(&mut write, run, id, body).await?;
    write.commit(StatusCode::OK, task).await
}

/// Passes over the first task of a work item that failed, else over the first one that asked for help.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/skip", request_body = SkipTask,
               responses((status = 200, body = Envelope<Task>)))]
async fn skip_work_item(
    State(app): State<App>,
    Path((run, id)): Path<(WorkflowId, WorkItemId)>,
    command: Command<SkipTask>,
) -> Result<Reply<Task>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let task = steer::skip_work_item(&mut write, run, id, body).await?;
    write.commit(StatusCode::OK, task).await
}

/// Answers the calls for help of a work item: whatever its tasks ask.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/resolve-escalation",
               request_body = ResolveWorkItemEscalation, responses((status = 200, body = Envelope<WorkItem>)))]
async fn resolve_work_item_escalation(
    State(app): State<App>,
    Path((run, id)): Path<(WorkflowId, WorkItemId)>,
    command: Command<ResolveWorkItemEscalation>,
) -> Result<Reply<WorkItem>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let item = resolve::resolve_work_item_escalation(&mut write, run, id, body).await?;
    write.commit(StatusCode::OK, item).await
}

/// Begins no task of a work item any more. What runs goes on.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/pause", request_body = Bare,
               responses((status = 200, body = Envelope<WorkItem>)))]
async fn pause_work_item(
    State(app): State<App>,
    Path((run, id)): Path<(WorkflowId, WorkItemId)>,
    command: Command<Bare>,
) -> Result<Reply<WorkItem>, Error> {
    let (mut write, _) = command.begin(&app).await?;
    let item = steer::pause_work_item(&mut write, run, id).await?;
    write.commit(StatusCode::OK, item).await
}

/// Goes on with a work item that was paused.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/resume", request_body = Bare,
               responses((status = 200, body = Envelope<WorkItem>)))]
async fn resume_work_item(
    State(app): State<App>,
    Path((run, id)): Path<(WorkflowId, WorkItemId)>,
    command: Command<Bare>,
) -> Result<Reply<WorkItem>, Error> {
    let (mut write, _) = command.begin(&app).await?;
    let item = steer::resume_work_item(&mut write, run, id).await?;
    write.commit(StatusCode::OK, item).await
}

/// Calls a work item off, with its tasks. Workers that hold one learn of it with their next heartbeat.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/work-items/{work_item_id}/cancel", request_body = Bare,
               responses((status = 200, body = Envelope<WorkItem>)))]
async fn cancel_work_item(
    State(app): State<App>,
    Path((run, id)): Path<(WorkflowId, WorkItemId)>,
    command: Command<Bare>,
) -> Result<Reply<WorkItem>, Error> {
    let (mut write, _) = command.begin(&app).await?;
    let grace = app.config.limits.cancel_grace_seconds;
    let item = steer::cancel_work_item(&mut write, run, id, grace).await?;
    write.commit(StatusCode::OK, item).await
}
