//! The routes of runs.

use axum::extract::State;
use http::StatusCode;
use protocol::Scope::{Admin, Agent};
use protocol::{
    Bare, Board, BudgetReport, BulkDeleteWorkflows, BulkDeletedWorkflows, ChainWorkflow,
    CreateWorkflow, DecideStep, DeletedWorkflow, Envelope, Event, Page, RedriveWorkflow, Redriven,
    RunWhy, Stretch, UpdateWorkflowSettings, Workflow, WorkflowDetail, WorkflowId,
    WorkflowSettings, WorkflowStage, WorkflowState, WorkflowStep,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{
    approve, budget, children, delete, launch, read, redrive, settings, steer, store, why,
};
use crate::app::App;
use crate::error::Error;
use crate::events::{self, RunEventQuery};
use crate::http::Access::AtLeast;
use crate::http::{Caller, Command, PageQuery, Path, Query, Reply, Routes, csv_words};

/// Runs that one request may delete.
const DELETIONS_MAX: usize = 10_000;

/// Who may call what.
pub fn routes() -> Routes {
    Routes::new("workflows")
        .route(AtLeast(Admin), routes!(create_workflow))
        .route(AtLeast(Agent), routes!(list_workflows))
        .route(AtLeast(Admin), routes!(bulk_delete_workflows))
        .route(AtLeast(Agent), routes!(get_workflow))
        .route(AtLeast(Admin), routes!(delete_workflow))
        .route(AtLeast(Agent), routes!(get_workflow_settings))
        .route(AtLeast(Admin), routes!(update_workflow_settings))
        .route(AtLeast(Agent), routes!(get_workflow_budget))
        .route(AtLeast(Agent), routes!(get_workflow_board))
        .route(AtLeast(Agent), routes!(list_workflow_stages))
        .route(AtLeast(Agent), routes!(list_workflow_steps))
        .route(AtLeast(Admin), routes!(decide_workflow_step))
        .route(AtLeast(Agent), routes!(list_workflow_events))
        .route(AtLeast(Agent), routes!(explain_workflow))
        .route(AtLeast(Admin), routes!(pause_workflow))
        .route(AtLeast(Admin), routes!(resume_workflow))
        .route(AtLeast(Admin), routes!(cancel_workflow))
        .route(AtLeast(Admin), routes!(redrive_workflow))
        .route(AtLeast(Admin), routes!(chain_workflow))
}

/// Launches a run of a published playbook. The steps of a graph that need nothing begin at once.
#[utoipa::path(post, path = "/api/v1/workflows", request_body = CreateWorkflow,
               responses((status = 201, body = Envelope<WorkflowDetail>)))]
async fn create_workflow(
    State(app): State<App>,
    command: Command<CreateWorkflow>,
) -> Result<Reply<WorkflowDetail>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let minutes = app.config.limits.task_timeout_minutes;
    let made = launch::create_workflow(&mut write, body, minutes).await?;
    write.commit(StatusCode::CREATED, made).await
}

/// Which runs a list shows.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct WorkflowQuery {
    /// Only runs in this workspace.
    workspace_id: Option<Uuid>,
    /// Only runs of this version of a playbook.
    playbook_id: Option<Uuid>,
    /// Only runs in these states, separated by commas.
    state: Option<String>,
    /// Only runs that this one launched.
    parent_workflow_id: Option<Uuid>,
    /// The number of the page; 1 unless given.
    #[param(minimum = 1)]
    page: Option<i64>,
    /// How many runs a page has, 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    per_page: Option<i64>,
}

/// Lists runs, newest first.
#[utoipa::path(get, path = "/api/v1/workflows", params(WorkflowQuery), responses((status = 200, body = Page<Workflow>)))]
async fn list_workflows(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<WorkflowQuery>,
) -> Result<Reply<Page<Workflow>>, Error> {
    let page = PageQuery::of(query.page, query.per_page)?;
    let states = csv_words::<WorkflowState>("state", query.state.as_deref())?;
    let filter = store::Filter {
        workspaces: caller.workspace_filter(),
        workspace: query.workspace_id,
        playbook: query.playbook_id,
        parent: query.parent_workflow_id,
        states: states.map(|states| states.iter().map(ToString::to_string).collect()),
    };
    let mut db = app.db.reader().await?;
    let tenant = caller.tenant();
    let (runs, total) =
        store::list(&mut db, tenant, &filter, page.per_page(), page.offset()).await?;
    Reply::page(runs, total, page)
}

/// Reads a run with its parts. Of a large run the first parts are shown; the lists have them all.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}", responses((status = 200, body = Envelope<WorkflowDetail>)))]
async fn get_workflow(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkflowId>,
) -> Result<Reply<WorkflowDetail>, Error> {
    let mut db = app.db.reader().await?;
    let workspaces = caller.workspace_filter();
    Reply::ok(read::detail(&mut db, caller.tenant(), id, workspaces.as_deref()).await?)
}

/// Deletes a run that has ended, with its work items and tasks. Events and logs stay.
#[utoipa::path(delete, path = "/api/v1/workflows/{workflow_id}", request_body = Bare,
               responses((status = 200, body = Envelope<DeletedWorkflow>)))]
async fn delete_workflow(
    State(app): State<App>,
    Path(id): Path<WorkflowId>,
    command: Command<Bare>,
) -> Result<Reply<DeletedWorkflow>, Error> {
    let (mut write, _) = command.begin(&app).await?;
    delete::delete_workflows(&mut write, &[id]).await?;
    write
        .commit(StatusCode::OK, DeletedWorkflow { id, deleted: true })
        .await
}

/// Deletes several runs that have ended: all of them or none.
#[utoipa::path(post, path = "/api/v1/workflows/bulk-delete", request_body = BulkDeleteWorkflows,
               responses((status = 200, body = Envelope<BulkDeletedWorkflows>)))]
async fn bulk_delete_workflows(
    State(app): State<App>,
    command: Command<BulkDeleteWorkflows>,
) -> Result<Reply<BulkDeletedWorkflows>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    if !(1..=DELETIONS_MAX).contains(&body.workflow_ids.len()) {
        let message = format!("must name 1 to {DELETIONS_MAX} runs");
        return Err(Error::field("workflow_ids", message));
    }
    let deleted = delete::delete_workflows(&mut write, &body.workflow_ids).await?;
    let answer = BulkDeletedWorkflows {
        deleted_workflow_count: i64::try_from(deleted.len()).unwrap_or(i64::MAX),
        deleted_workflow_ids: deleted,
    };
    write.commit(StatusCode::OK, answer).await
}

/// Tells what a run has used, and may use.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/budget", responses((status = 200, body = Envelope<BudgetReport>)))]
async fn get_workflow_budget(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkflowId>,
) -> Result<Reply<BudgetReport>, Error> {
    let mut db = app.db.reader().await?;
    let workspaces = caller.workspace_filter();
    store::must_reach(&mut db, caller.tenant(), id, workspaces.as_deref()).await?;
    Reply::ok(budget::budget_of(&mut db, caller.tenant(), id).await?)
}

/// Reads the settings of a run.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/settings", responses((status = 200, body = Envelope<WorkflowSettings>)))]
async fn get_workflow_settings(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkflowId>,
) -> Result<Reply<WorkflowSettings>, Error> {
    let mut db = app.db.reader().await?;
    let workspaces = caller.workspace_filter();
    store::must_reach(&mut db, caller.tenant(), id, workspaces.as_deref()).await?;
    Reply::ok(settings::get(&mut db, caller.tenant(), id).await?)
}

/// Changes the settings of a run, if they are still those of the revision that is named.
#[utoipa::path(patch, path = "/api/v1/workflows/{workflow_id}/settings", request_body = UpdateWorkflowSettings,
               responses((status = 200, body = Envelope<WorkflowSettings>)))]
async fn update_workflow_settings(
    State(app): State<App>,
    Path(id): Path<WorkflowId>,
    command: Command<UpdateWorkflowSettings>,
) -> Result<Reply<WorkflowSettings>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let changed = settings::update(&mut write, id, body).await?;
    write.commit(StatusCode::OK, changed).await
}

/// Reads the board of a run: its columns, work items and stages.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/board", responses((status = 200, body = Envelope<Board>)))]
async fn get_workflow_board(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkflowId>,
) -> Result<Reply<Board>, Error> {
    let mut db = app.db.reader().await?;
    let workspaces = caller.workspace_filter();
    Reply::ok(read::board(&mut db, caller.tenant(), id, workspaces.as_deref()).await?)
}

/// Lists the stages of a run, in their order.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/stages", responses((status = 200, body = Envelope<Vec<WorkflowStage>>)))]
async fn list_workflow_stages(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkflowId>,
) -> Result<Reply<Vec<WorkflowStage>>, Error> {
    let mut db = app.db.reader().await?;
    let workspaces = caller.workspace_filter();
    store::must_reach(&mut db, caller.tenant(), id, workspaces.as_deref()).await?;
    Reply::ok(store::stages(&mut db, caller.tenant(), id).await?)
}

/// Lists the steps of a run of a graph: those that have not ended come first.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/steps", params(PageQuery),
               responses((status = 200, body = Page<WorkflowStep>)))]
async fn list_workflow_steps(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkflowId>,
    Query(page): Query<PageQuery>,
) -> Result<Reply<Page<WorkflowStep>>, Error> {
    page.check()?;
    let mut db = app.db.reader().await?;
    let tenant = caller.tenant();
    let workspaces = caller.workspace_filter();
    store::must_reach(&mut db, tenant, id, workspaces.as_deref()).await?;
    let steps = store::steps(&mut db, tenant, id, page.per_page(), page.offset()).await?;
    let total = store::count_steps(&mut db, tenant, id).await?;
    Reply::page(steps, total, page)
}

/// Decides what a step of a run asks.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/steps/{step_id}/decision", request_body = DecideStep,
               responses((status = 200, body = Envelope<WorkflowStep>)))]
async fn decide_workflow_step(
    State(app): State<App>,
    Path((id, step)): Path<(WorkflowId, String)>,
    command: Command<DecideStep>,
) -> Result<Reply<WorkflowStep>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let decided = approve::decide_step(&mut write, id, &step, body).await?;
    write.commit(StatusCode::OK, decided).await
}

/// Lists what has happened in a run, to itself, its work items and its tasks, oldest first.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/events", params(RunEventQuery),
               responses((status = 200, body = Stretch<Event>)))]
async fn list_workflow_events(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkflowId>,
    Query(query): Query<RunEventQuery>,
) -> Result<Reply<Stretch<Event>>, Error> {
    let mut db = app.db.reader().await?;
    let workspaces = caller.workspace_filter();
    store::must_reach(&mut db, caller.tenant(), id, workspaces.as_deref()).await?;
    events::list_of_run(&mut db, caller.tenant(), id, &query).await
}

/// Tells why a run does not go on, and what to do about it.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/why", responses((status = 200, body = Envelope<RunWhy>)))]
async fn explain_workflow(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkflowId>,
) -> Result<Reply<RunWhy>, Error> {
    let mut db = app.db.reader().await?;
    let workspaces = caller.workspace_filter();
    Reply::ok(why::explain(&mut db, caller.tenant(), id, None, workspaces.as_deref()).await?)
}

/// Pauses a run: nothing new begins, clocks stop, and what runs goes on.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/pause", request_body = Bare,
               responses((status = 200, body = Envelope<WorkflowDetail>)))]
async fn pause_workflow(
    State(app): State<App>,
    Path(id): Path<WorkflowId>,
    command: Command<Bare>,
) -> Result<Reply<WorkflowDetail>, Error> {
    let (mut write, _) = command.begin(&app).await?;
    let run = steer::pause_workflow(&mut write, id).await?;
    write.commit(StatusCode::OK, run).await
}

/// Goes on with a run that was paused.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/resume", request_body = Bare,
               responses((status = 200, body = Envelope<WorkflowDetail>)))]
async fn resume_workflow(
    State(app): State<App>,
    Path(id): Path<WorkflowId>,
    command: Command<Bare>,
) -> Result<Reply<WorkflowDetail>, Error> {
    let (mut write, _) = command.begin(&app).await?;
    let run = steer::resume_workflow(&mut write, id).await?;
    write.commit(StatusCode::OK, run).await
}

/// Calls a run off. Workers that hold tasks of it learn of it with their next heartbeat.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/cancel", request_body = Bare,
               responses((status = 200, body = Envelope<WorkflowDetail>)))]
async fn cancel_workflow(
    State(app): State<App>,
    Path(id): Path<WorkflowId>,
    command: Command<Bare>,
) -> Result<Reply<WorkflowDetail>, Error> {
    let (mut write, _) = command.begin(&app).await?;
    let grace = app.config.limits.cancel_grace_seconds;
    let run = steer::cancel_workflow(&mut write, id, grace).await?;
    write.commit(StatusCode::OK, run).await
}

/// Tries again what a run did, in a new run that goes on where this one failed.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/redrives", request_body = RedriveWorkflow,
               responses((status = 201, body = Envelope<Redriven>)))]
async fn redrive_workflow(
    State(app): State<App>,
    Path(id): Path<WorkflowId>,
    command: Command<RedriveWorkflow>,
) -> Result<Reply<Redriven>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let minutes = app.config.limits.task_timeout_minutes;
    let redriven = redrive::redrive_workflow(&mut write, id, body, minutes).await?;
    write.commit(StatusCode::CREATED, redriven).await
}

/// Launches a run that belongs to this one, in the same workspace. It is called off with this one, and its end
/// wakes the orchestrator of this one.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/chain", request_body = ChainWorkflow,
               responses((status = 201, body = Envelope<WorkflowDetail>)))]
async fn chain_workflow(
    State(app): State<App>,
    Path(id): Path<WorkflowId>,
    command: Command<ChainWorkflow>,
) -> Result<Reply<WorkflowDetail>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let minutes = app.config.limits.task_timeout_minutes;
    let made = children::chain_workflow(&mut write, id, body, minutes).await?;
    write.commit(StatusCode::CREATED, made).await
}
