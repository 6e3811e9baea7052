//! The routes by which an orchestrator plans, moves and ends work items.

use axum::extract::State;
use protocol::Scope::Agent;
use protocol::{
    CompleteWorkItem, CreateWorkItem, Envelope, Guided, JsonObject, NotYetReason, ReopenWorkItem,
    TaskHandoff, TaskId, UpdateWorkItem, WaivePreferredStep, WorkItem, WorkItemContinuity,
    WorkItemId,
};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use utoipa_axum::routes;

use super::guard::{AttemptQuery, Orchestrator, begin, run_of};
use super::guide::{About, answer, answer_made};
use super::waive;
use crate::app::App;
use crate::error::Error;
use crate::http::Access::AtLeast;
use crate::http::{Caller, Command, Path, Query, Reply, Routes, Write, check_length};
use crate::{handoffs, work_items, workflows};

/// Adds who may call what.
pub(super) fn add(table: Routes) -> Routes {
    table
        .route(AtLeast(Agent), routes!(plan_work_item))
        .route(AtLeast(Agent), routes!(steer_work_item))
        .route(AtLeast(Agent), routes!(complete_work_item))
        .route(AtLeast(Agent), routes!(close_work_item_with_callouts))
        .route(AtLeast(Agent), routes!(reopen_work_item))
        .route(AtLeast(Agent), routes!(waive_preferred_step))
        .route(AtLeast(Agent), routes!(get_work_item_continuity))
        .route(AtLeast(Agent), routes!(list_managed_handoffs))
        .route(AtLeast(Agent), routes!(get_latest_managed_handoff))
}

/// Makes a work item of the run.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/work-items", params(AttemptQuery), request_body = CreateWorkItem,
               responses((status = 200, description = "Not yet", body = Envelope<Guided<WorkItem>>),
                         (status = 201, body = Envelope<Guided<WorkItem>>)))]
async fn plan_work_item(
    State(app): State<App>,
    Path(task): Path<TaskId>,
    Query(query): Query<AttemptQuery>,
    command: Command<CreateWorkItem>,
) -> Result<Reply<Guided<WorkItem>>, Error> {
    let (mut write, own, plan) = begin(&app, task, &query, command).await?;
    let made = work_items::create_work_item(&mut write, own.run, plan).await;
    answer_made(write, &own, About::open_run(), made).await
}

/// Changes a work item of the run, or moves it over the board.
#[utoipa::path(patch, path = "/api/v1/orchestrator/tasks/{task_id}/work-items/{work_item_id}", params(AttemptQuery),
               request_body = UpdateWorkItem, responses((status = 200, body = Envelope<Guided<WorkItem>>)))]
async fn steer_work_item(
    State(app): State<App>,
    Path((task, id)): Path<(TaskId, WorkItemId)>,
    Query(query): Query<AttemptQuery>,
    command: Command<UpdateWorkItem>,
) -> Result<Reply<Guided<WorkItem>>, Error> {
    let (mut write, own, change) = begin(&app, task, &query, command).await?;
    let done = work_items::update_work_item(&mut write, own.run, id, change).await;
    let about = About::item(id, NotYetReason::WorkItemTasksNotReady);
    answer(write, &own, about, done).await
}

/// Completes a work item whose tasks have ended.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/work-items/{work_item_id}/complete", params(AttemptQuery),
               request_body = CompleteWorkItem, responses((status = 200, body = Envelope<Guided<WorkItem>>)))]
async fn complete_work_item(
    State(app): State<App>,
    Path((task, id)): Path<(TaskId, WorkItemId)>,
    Query(query): Query<AttemptQuery>,
    command: Command<CompleteWorkItem>,
) -> Result<Reply<Guided<WorkItem>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    let done = end(&mut write, &own, id, body, false).await;
    let about = About::item(id, NotYetReason::WorkItemTasksNotReady);
    answer(write, &own, about, done).await
}

/// Completes a work item that is blocked or not all that was wished for, and says so.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/work-items/{work_item_id}/close-with-callouts",
               params(AttemptQuery), request_body = CompleteWorkItem,
               responses((status = 200, body = Envelope<Guided<WorkItem>>)))]
async fn close_work_item_with_callouts(
    State(app): State<App>,
    Path((task, id)): Path<(TaskId, WorkItemId)>,
    Query(query): Query<AttemptQuery>,
    command: Command<CompleteWorkItem>,
) -> Result<Reply<Guided<WorkItem>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    let done = end(&mut write, &own, id, body, true).await;
    let about = About::item(id, NotYetReason::WorkItemTasksNotReady);
    answer(write, &own, about, done).await
}

async fn end(
    write: &mut Write,
    own: &Orchestrator,
    id: WorkItemId,
    body: CompleteWorkItem,
    truthfully: bool,
) -> Result<WorkItem, Error> {
    let tenant = write.caller().tenant();
    let item = work_items::read(write.conn(), tenant, own.run, id).await?;
    let callouts = workflows::callouts(
        body.completion_callouts,
        waive::also_waived(&item, body.waived_steps),
        body.unresolved_advisory_items,
        body.completion_notes,
    );
    if item.blocked_state.is_some() && !truthfully {
        let message = format!("work item {id} is blocked");
        return Err(workflows::not_yet(NotYetReason::WorkItemNotReady, message));
    }
    let playbook = workflows::must_reach(write.conn(), tenant, own.run, None).await?;
    let board = workflows::board_of(write.conn(), tenant, playbook.into()).await?;
    let Some(done) = board.columns.iter().find(|column| column.is_terminal) else {
        let message = "the board has no column for what is done".to_owned();
        return Err(workflows::not_yet(NotYetReason::WorkItemNotReady, message));
    };
    let metadata = callouts
        .map(|callouts| serde_json::to_value(&callouts))
        .transpose()?
        .map(|callouts| member("completion_callouts", callouts));
    let change = UpdateWorkItem {
        column_id: Some(done.id.clone()),
        metadata,
        ..UpdateWorkItem::default()
    };
    work_items::update_work_item(write, own.run, id, change).await
}

/// Opens a work item again that was completed or blocked.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/work-items/{work_item_id}/reopen-for-missing-handoff",
               params(AttemptQuery), request_body = ReopenWorkItem,
               responses((status = 200, body = Envelope<Guided<WorkItem>>)))]
async fn reopen_work_item(
    State(app): State<App>,
    Path((task, id)): Path<(TaskId, WorkItemId)>,
    Query(query): Query<AttemptQuery>,
    command: Command<ReopenWorkItem>,
) -> Result<Reply<Guided<WorkItem>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    let done = reopen(&mut write, &own, id, body).await;
    let about = About::item(id, NotYetReason::WorkItemNotReady);
    answer(write, &own, about, done).await
}

async fn reopen(
    write: &mut Write,
    own: &Orchestrator,
    id: WorkItemId,
    body: ReopenWorkItem,
) -> Result<WorkItem, Error> {
    check_length("reason", &body.reason, 1..=4000)?;
    let tenant = write.caller().tenant();
    let item = work_items::read(write.conn(), tenant, own.run, id).await?;
    if item.cancel_requested_at.is_none()
        && item.completed_at.is_none()
        && item.blocked_state.is_none()
    {
        let message = format!("work item {id} is open");
        return Err(workflows::not_yet(NotYetReason::WorkItemNotReady, message));
    }
    let playbook = workflows::must_reach(write.conn(), tenant, own.run, None).await?;
    let column = workflows::active_column_of(write.conn(), tenant, playbook.into()).await?;
    let change = UpdateWorkItem {
        column_id: Some(column),
        metadata: Some(member("reopen_reason", body.reason.into())),
        ..UpdateWorkItem::default()
    };
    work_items::update_work_item(write, own.run, id, change).await
}

/// Notes that a work item goes on without a step that would have been preferred. Its callouts will say so.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/work-items/{work_item_id}/waive-preferred-step",
               params(AttemptQuery), request_body = WaivePreferredStep,
               responses((status = 200, body = Envelope<Guided<WorkItem>>)))]
async fn waive_preferred_step(
    State(app): State<App>,
    Path((task, id)): Path<(TaskId, WorkItemId)>,
    Query(query): Query<AttemptQuery>,
    command: Command<WaivePreferredStep>,
) -> Result<Reply<Guided<WorkItem>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    let done = waive::waive_preferred_step(&mut write, &own, id, body).await;
    let about = About::item(id, NotYetReason::WorkItemNotReady);
    answer(write, &own, about, done).await
}

/// Tells how a work item goes on: who is expected to do what, what was noted, waived, and left by its tasks.
#[utoipa::path(get, path = "/api/v1/orchestrator/tasks/{task_id}/work-items/{work_item_id}/continuity",
               responses((status = 200, body = Envelope<WorkItemContinuity>)))]
async fn get_work_item_continuity(
    State(app): State<App>,
    caller: Caller,
    Path((task, id)): Path<(TaskId, WorkItemId)>,
) -> Result<Reply<WorkItemContinuity>, Error> {
    let mut db = app.db.reader().await?;
    let tenant = caller.tenant();
    let item = item_of(&mut db, &caller, task, id).await?;
    let continuity = work_items::continuity(&mut db, tenant, id).await?;
    let open_task_ids = work_items::open_tasks(&mut db, tenant, id).await?;
    Reply::ok(WorkItemContinuity {
        work_item_id: id,
        waived_steps: waive::waived_steps(&item),
        next_expected_actor: item.next_expected_actor,
        next_expected_action: item.next_expected_action,
        continuity,
        open_task_ids,
        latest_handoff: handoffs::latest_of_item(&mut db, tenant, id).await?,
    })
}

/// Lists what the tasks of a work item left, the last written first, 200 at most.
#[utoipa::path(get, path = "/api/v1/orchestrator/tasks/{task_id}/work-items/{work_item_id}/handoffs",
               responses((status = 200, body = Envelope<Vec<TaskHandoff>>)))]
async fn list_managed_handoffs(
    State(app): State<App>,
    caller: Caller,
    Path((task, id)): Path<(TaskId, WorkItemId)>,
) -> Result<Reply<Vec<TaskHandoff>>, Error> {
    let mut db = app.db.reader().await?;
    item_of(&mut db, &caller, task, id).await?;
    Reply::ok(handoffs::list_of_item(&mut db, caller.tenant(), id).await?)
}

/// Reads what a task of a work item left last. Null when nothing was.
#[utoipa::path(get, path = "/api/v1/orchestrator/tasks/{task_id}/work-items/{work_item_id}/handoffs/latest",
               responses((status = 200, body = Envelope<Option<TaskHandoff>>)))]
async fn get_latest_managed_handoff(
    State(app): State<App>,
    caller: Caller,
    Path((task, id)): Path<(TaskId, WorkItemId)>,
) -> Result<Reply<Option<TaskHandoff>>, Error> {
    let mut db = app.db.reader().await?;
    item_of(&mut db, &caller, task, id).await?;
    Reply::ok(handoffs::latest_of_item(&mut db, caller.tenant(), id).await?)
}

/// A work item of the run that a task belongs to.
async fn item_of(
    db: &mut PgConnection,
    caller: &Caller,
    task: TaskId,
    id: WorkItemId,
) -> Result<WorkItem, Error> {
    let run = run_of(db, caller, task).await?;
    work_items::read(db, caller.tenant(), run, id).await
}

pub(super) fn member(name: &str, value: Value) -> JsonObject {
    Map::from_iter([(name.to_owned(), value)]).into()
}
