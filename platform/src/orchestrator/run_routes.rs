//! The routes by which an orchestrator leads its run from stage to stage, remembers, and ends it.

use axum::extract::State;
use protocol::Scope::Agent;
use protocol::{
    AdvanceStage, AdvancedStage, Bare, BudgetReport, CheckpointActivation, CompleteWorkflow,
    Envelope, Guided, JsonObject, LaunchChild, MemoryChanged, NotYetReason, NoteContinuity,
    OrchestrationState, RememberForRun, RequestGate, StageGate, TaskId, Workflow, WorkflowDetail,
};
use serde_json::json;
use utoipa_axum::routes;

use super::guard::{AttemptQuery, Orchestrator, begin, run_of};
use super::guide::{About, answer, answer_made};
use crate::app::App;
use crate::error::Error;
use crate::http::Access::AtLeast;
use crate::http::{Caller, Command, Path, Query, Reply, Routes, Write};
use crate::{activations, gates, tasks, work_items, workflows, workspaces};

/// Adds who may call what.
pub(super) fn add(table: Routes) -> Routes {
    table
        .route(AtLeast(Agent), routes!(get_run_budget))
        .route(AtLeast(Agent), routes!(request_gate))
        .route(AtLeast(Agent), routes!(advance_stage))
        .route(AtLeast(Agent), routes!(complete_run))
        .route(AtLeast(Agent), routes!(close_run_with_callouts))
        .route(AtLeast(Agent), routes!(remember_for_run))
        .route(AtLeast(Agent), routes!(forget_for_run))
        .route(AtLeast(Agent), routes!(checkpoint_activation))
        .route(AtLeast(Agent), routes!(finish_activation))
        .route(AtLeast(Agent), routes!(get_run_continuity))
        .route(AtLeast(Agent), routes!(note_continuity))
        .route(AtLeast(Agent), routes!(launch_child))
}

/// Tells what the run has used, and may use.
#[utoipa::path(get, path = "/api/v1/orchestrator/tasks/{task_id}/workflow/budget",
               responses((status = 200, body = Envelope<BudgetReport>)))]
async fn get_run_budget(
    State(app): State<App>,
    caller: Caller,
    Path(task): Path<TaskId>,
) -> Result<Reply<BudgetReport>, Error> {
    let mut db = app.db.reader().await?;
    let run = run_of(&mut db, &caller, task).await?;
    Reply::ok(workflows::budget_of(&mut db, caller.tenant(), run).await?)
}

/// Asks a person to look at a stage. The decision wakes the orchestrator.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/stages/{stage_name}/request-gate", params(AttemptQuery),
               request_body = RequestGate, responses((status = 200, body = Envelope<Guided<StageGate>>)))]
async fn request_gate(
    State(app): State<App>,
    Path((task, stage)): Path<(TaskId, String)>,
    Query(query): Query<AttemptQuery>,
    command: Command<RequestGate>,
) -> Result<Reply<Guided<StageGate>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    let done = ask(&mut write, &own, &stage, body).await;
    let about = About::run(NotYetReason::ApprovalNotConfigured);
    answer(write, &own, about, done).await
}

async fn ask(
    write: &mut Write,
    own: &Orchestrator,
    stage: &str,
    body: RequestGate,
) -> Result<StageGate, Error> {
    refuse_nul(stage)?;
    workflows::must_have_stage(write, own.run, stage).await?;
    let gate = gates::request_gate(write, own.run, stage, own.task, body).await?;
    let tenant = write.caller().tenant();
    workflows::derive(write.tx(), tenant, own.run).await?;
    Ok(gate)
}

/// Ends the current stage, and goes on to the next.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/stages/{stage_name}/advance", params(AttemptQuery),
               request_body = AdvanceStage, responses((status = 200, body = Envelope<Guided<AdvancedStage>>)))]
async fn advance_stage(
    State(app): State<App>,
    Path((task, stage)): Path<(TaskId, String)>,
    Query(query): Query<AttemptQuery>,
    command: Command<AdvanceStage>,
) -> Result<Reply<Guided<AdvancedStage>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    refuse_nul(&stage)?;
    let done = workflows::advance_stage(&mut write, own.run, &stage, body).await;
    let about = About::run(NotYetReason::StageNotCurrent);
    answer(write, &own, about, done).await
}

/// Ends the run well. Nothing of it may be open.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/workflow/complete", params(AttemptQuery),
               request_body = CompleteWorkflow, responses((status = 200, body = Envelope<Guided<Workflow>>)))]
async fn complete_run(
    State(app): State<App>,
    Path(task): Path<TaskId>,
    Query(query): Query<AttemptQuery>,
    command: Command<CompleteWorkflow>,
) -> Result<Reply<Guided<Workflow>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    let done = workflows::complete_run(&mut write, own.run, body, false).await;
    let about = About::run(NotYetReason::WorkflowIncompleteStage);
    answer(write, &own, about, done).await
}

/// Ends the run, closes what is open of it, and says what is missing.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/workflow/close-with-callouts", params(AttemptQuery),
               request_body = CompleteWorkflow, responses((status = 200, body = Envelope<Guided<Workflow>>)))]
async fn close_run_with_callouts(
    State(app): State<App>,
    Path(task): Path<TaskId>,
    Query(query): Query<AttemptQuery>,
    command: Command<CompleteWorkflow>,
) -> Result<Reply<Guided<Workflow>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    let done = workflows::complete_run(&mut write, own.run, body, true).await;
    let about = About::run(NotYetReason::WorkflowIncompleteStage);
    answer(write, &own, about, done).await
}

/// Remembers values in the workspace of the run.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/memory", params(AttemptQuery), request_body = RememberForRun,
               responses((status = 200, body = Envelope<Guided<MemoryChanged>>)))]
async fn remember_for_run(
    State(app): State<App>,
    Path(task): Path<TaskId>,
    Query(query): Query<AttemptQuery>,
    command: Command<RememberForRun>,
) -> Result<Reply<Guided<MemoryChanged>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    let done = remember(&mut write, task, body).await;
    answer(write, &own, About::open_run(), done).await
}

async fn remember(
    write: &mut Write,
    task: TaskId,
    body: RememberForRun,
) -> Result<MemoryChanged, Error> {
    let workspace = workspace_of(write, task).await?;
    let updates = workspaces::Updates {
        key: body.key,
        value: body.value,
        updates: body.updates,
        work_item: body.work_item_id,
    };
    workspaces::remember_several(write, workspace, updates).await
}

/// Forgets what the workspace of the run remembers under a key.
#[utoipa::path(delete, path = "/api/v1/orchestrator/tasks/{task_id}/memory/{memory_key}", params(AttemptQuery),
               request_body = Bare, responses((status = 200, body = Envelope<Guided<MemoryChanged>>)))]
async fn forget_for_run(
    State(app): State<App>,
    Path((task, key)): Path<(TaskId, String)>,
    Query(query): Query<AttemptQuery>,
    command: Command<Bare>,
) -> Result<Reply<Guided<MemoryChanged>>, Error> {
    let (mut write, own, _) = begin(&app, task, &query, command).await?;
    let workspace = workspace_of(&mut write, task).await?;
    workspaces::forget(&mut write, workspace, &key).await?;
    answer(
        write,
        &own,
        About::open_run(),
        Ok(MemoryChanged { keys: vec![key] }),
    )
    .await
}

/// Keeps what the orchestrator wants to find again when it is woken the next time.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/activation-checkpoint", params(AttemptQuery),
               request_body = CheckpointActivation, responses((status = 200, body = Envelope<Guided<OrchestrationState>>)))]
async fn checkpoint_activation(
    State(app): State<App>,
    Path(task): Path<TaskId>,
    Query(query): Query<AttemptQuery>,
    command: Command<CheckpointActivation>,
) -> Result<Reply<Guided<OrchestrationState>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    let mut checkpoint = body.activation_checkpoint;
    checkpoint.activation_id = checkpoint.activation_id.or(Some(own.activation));
    let value = serde_json::to_value(&checkpoint)?;
    let done = keep(&mut write, &own, "activation_checkpoint", &value).await;
    answer(write, &own, About::open_run(), done).await
}

async fn keep(
    write: &mut Write,
    own: &Orchestrator,
    member: &'static str,
    value: &serde_json::Value,
) -> Result<OrchestrationState, Error> {
    let kept = workflows::keep_orchestration(write, own.run, member, value).await?;
    Ok(OrchestrationState {
        orchestration_state: JsonObject::from_text(kept)?,
    })
}

/// Says that the orchestrator is done with its activation. What remains is to complete its task.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/activation-finish", params(AttemptQuery), request_body = Bare,
               responses((status = 200, body = Envelope<Guided<protocol::Activation>>)))]
async fn finish_activation(
    State(app): State<App>,
    Path(task): Path<TaskId>,
    Query(query): Query<AttemptQuery>,
    command: Command<Bare>,
) -> Result<Reply<Guided<protocol::Activation>>, Error> {
    let (mut write, own, _) = begin(&app, task, &query, command).await?;
    let done = activations::finish(&mut write, own.run, own.activation).await;
    answer(write, &own, About::open_run(), done).await
}

/// Reads what the orchestrator of the run keeps from one activation to the next.
#[utoipa::path(get, path = "/api/v1/orchestrator/tasks/{task_id}/continuity",
               responses((status = 200, body = Envelope<OrchestrationState>)))]
async fn get_run_continuity(
    State(app): State<App>,
    caller: Caller,
    Path(task): Path<TaskId>,
) -> Result<Reply<OrchestrationState>, Error> {
    let mut db = app.db.reader().await?;
    let run = run_of(&mut db, &caller, task).await?;
    let kept = workflows::kept_orchestration(&mut db, caller.tenant(), run).await?;
    Reply::ok(OrchestrationState {
        orchestration_state: JsonObject::from_text(kept)?,
    })
}

/// Says who is expected to do what next, in the run or in one of its work items.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/continuity", params(AttemptQuery), request_body = NoteContinuity,
               responses((status = 200, body = Envelope<Guided<OrchestrationState>>)))]
async fn note_continuity(
    State(app): State<App>,
    Path(task): Path<TaskId>,
    Query(query): Query<AttemptQuery>,
    command: Command<NoteContinuity>,
) -> Result<Reply<Guided<OrchestrationState>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    let done = note(&mut write, &own, body).await;
    answer(write, &own, About::open_run(), done).await
}

async fn note(
    write: &mut Write,
    own: &Orchestrator,
    body: NoteContinuity,
) -> Result<OrchestrationState, Error> {
    for (path, text, max) in [
        ("next_expected_actor", &body.next_expected_actor, 255),
        ("next_expected_action", &body.next_expected_action, 255),
        ("status_summary", &body.status_summary, 4000),
        ("next_expected_event", &body.next_expected_event, 4000),
    ] {
        if let Some(text) = text {
            crate::http::check_length(path, text, 0..=max)?;
        }
    }
    let value = json!({
        "work_item_id": body.work_item_id, "next_expected_actor": body.next_expected_actor,
        "next_expected_action": body.next_expected_action, "status_summary": body.status_summary,
        "next_expected_event": body.next_expected_event, "blocked_on": body.blocked_on,
        "active_subordinate_tasks": body.active_subordinate_tasks,
    });
    if let Some(item) = body.work_item_id {
        let tenant = write.caller().tenant();
        work_items::read(write.conn(), tenant, own.run, item).await?;
        let actor = body.next_expected_actor.as_deref();
        let action = body.next_expected_action.as_deref();
        work_items::expect(write.conn(), tenant, item, actor, action).await?;
        work_items::keep_continuity(write.conn(), tenant, item, &value.to_string()).await?;
    }
    keep(write, own, "continuity", &value).await
}

/// Launches a run that belongs to this one, in the same workspace. Its end wakes the orchestrator.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/workflows", params(AttemptQuery), request_body = LaunchChild,
               responses((status = 200, description = "Not yet", body = Envelope<Guided<WorkflowDetail>>),
                         (status = 201, body = Envelope<Guided<WorkflowDetail>>)))]
async fn launch_child(
    State(app): State<App>,
    Path(task): Path<TaskId>,
    Query(query): Query<AttemptQuery>,
    command: Command<LaunchChild>,
) -> Result<Reply<Guided<WorkflowDetail>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    crate::http::check_length("name", body.name.trim(), 1..=255)?;
    let minutes = app.config.limits.task_timeout_minutes;
    let made = workflows::launch_child(&mut write, own.run, body, minutes).await;
    answer_made(write, &own, About::open_run(), made).await
}

async fn workspace_of(write: &mut Write, task: TaskId) -> Result<protocol::WorkspaceId, Error> {
    let task = tasks::read(write, task).await?;
    task.workspace_id
        .ok_or_else(|| Error::invalid("the run has no workspace"))
}

/// Only a path can carry one: bodies with it are refused before they are read.
fn refuse_nul(stage: &str) -> Result<(), Error> {
    if stage.contains('\0') {
        return Err(Error::not_found("stage", stage.escape_default()));
    }
    Ok(())
}
