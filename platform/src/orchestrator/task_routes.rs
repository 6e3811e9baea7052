//! The routes by which an orchestrator gives work to others, and judges it.

use axum::extract::State;
use protocol::Scope::Agent;
use protocol::{
    ApproveOutput, ApproveTask, CancelTask, CorrectBrief, CreateTask, Envelope, EscalateToHuman,
    Guided, JsonObject, NotYetReason, PlanTask, ReassignTask, ReplaceInput, RequestChanges,
    RetryTask, SendMessage, Task, TaskId, TaskMessage,
};
use serde_json::json;
use utoipa_axum::routes;

use super::guard::{AttemptQuery, Orchestrator, begin, managed, run_of};
use super::guide::{About, answer, answer_made};
use super::store;
use crate::app::App;
use crate::error::Error;
use crate::http::Access::AtLeast;
use crate::http::{Caller, Command, Path, Query, Reply, Routes, Write};
use crate::{messages, tasks, workflows};

/// Adds who may call what.
pub(super) fn add(table: Routes) -> Routes {
    table
        .route(AtLeast(Agent), routes!(plan_task))
        .route(AtLeast(Agent), routes!(get_managed_task))
        .route(AtLeast(Agent), routes!(replace_managed_input))
        .route(AtLeast(Agent), routes!(message_managed_task))
        .route(AtLeast(Agent), routes!(approve_managed_task))
        .route(AtLeast(Agent), routes!(approve_managed_output))
        .route(AtLeast(Agent), routes!(rework_managed_task))
        .route(AtLeast(Agent), routes!(retry_managed_task))
        .route(AtLeast(Agent), routes!(cancel_managed_task))
        .route(AtLeast(Agent), routes!(rerun_managed_task))
        .route(AtLeast(Agent), routes!(reassign_managed_task))
        .route(AtLeast(Agent), routes!(replace_stale_owner))
        .route(AtLeast(Agent), routes!(escalate_managed_task))
}

/// Makes a task of the run.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/tasks", params(AttemptQuery), request_body = PlanTask,
               responses((status = 200, description = "Not yet", body = Envelope<Guided<Task>>),
                         (status = 201, body = Envelope<Guided<Task>>)))]
async fn plan_task(
    State(app): State<App>,
    Path(task): Path<TaskId>,
    Query(query): Query<AttemptQuery>,
    command: Command<PlanTask>,
) -> Result<Reply<Guided<Task>>, Error> {
    let (mut write, own, plan) = begin(&app, task, &query, command).await?;
    let made = plan_one(&app, &mut write, &own, plan).await;
    let about = About::run(NotYetReason::WorkItemNotReady);
    answer_made(write, &own, about, made).await
}

async fn plan_one(
    app: &App,
    write: &mut Write,
    own: &Orchestrator,
    plan: PlanTask,
) -> Result<Task, Error> {
    let tenant = write.caller().tenant();
    let playbook = workflows::must_reach(write.conn(), tenant, own.run, None).await?;
    let said = workflows::orchestration_of(write.conn(), tenant, playbook.into()).await?;
    if !said.roles.is_empty() && !said.roles.contains(&plan.role) {
        let message = format!(
            "is no role of the playbook, which has {}",
            said.roles.join(", ")
        );
        return Err(Error::field("role", message));
    }
    let mut wanted = CreateTask::from(plan);
    wanted.workflow_id = Some(own.run);
    wanted.max_reworks = said
        .max_rework_iterations
        .map(|most| most.min(tasks::REWORKS_LIMIT));
    let made = tasks::create_task_in(write, wanted, &app.config.limits).await?;
    tasks::bind_to_activation(write.conn(), tenant, made.id, own.activation).await?;
    tasks::read(write, made.id).await
}

/// Reads a task of the run.
#[utoipa::path(get, path = "/api/v1/orchestrator/tasks/{task_id}/tasks/{managed_task_id}",
               responses((status = 200, body = Envelope<Task>)))]
async fn get_managed_task(
    State(app): State<App>,
    caller: Caller,
    Path((task, id)): Path<(TaskId, TaskId)>,
) -> Result<Reply<Task>, Error> {
    let mut db = app.db.reader().await?;
    let (tenant, workspaces) = (caller.tenant(), caller.workspace_filter());
    let run = run_of(&mut db, &caller, task).await?;
    let found = tasks::record(&mut db, tenant, id, workspaces.as_deref()).await?;
    if found.workflow_id != Some(run) {
        return Err(Error::not_found("task of this run", id));
    }
    Reply::ok(found)
}

/// Gives a task another input, as long as nobody works on it.
#[utoipa::path(patch, path = "/api/v1/orchestrator/tasks/{task_id}/tasks/{managed_task_id}/input", params(AttemptQuery),
               request_body = ReplaceInput, responses((status = 200, body = Envelope<Guided<Task>>)))]
async fn replace_managed_input(
    State(app): State<App>,
    Path((task, id)): Path<(TaskId, TaskId)>,
    Query(query): Query<AttemptQuery>,
    command: Command<ReplaceInput>,
) -> Result<Reply<Guided<Task>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    let before = managed(&mut write, &own, id).await?;
    let given = give_input(&mut write, id, &body.input).await?;
    let done = given.ok_or_else(|| {
        let message = format!("task {id} is {}: its input is in use, or was", before.state);
        workflows::not_yet(NotYetReason::SubjectTaskNotReady, message)
    });
    let about = About::task(id, NotYetReason::SubjectTaskNotReady);
    answer(write, &own, about, done).await
}

/// Says something to whoever holds a task, or will.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/tasks/{managed_task_id}/message", params(AttemptQuery),
               request_body = SendMessage, responses((status = 200, body = Envelope<Guided<TaskMessage>>)))]
async fn message_managed_task(
    State(app): State<App>,
    Path((task, id)): Path<(TaskId, TaskId)>,
    Query(query): Query<AttemptQuery>,
    command: Command<SendMessage>,
) -> Result<Reply<Guided<TaskMessage>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    managed(&mut write, &own, id).await?;
    let from = (own.task, own.activation);
    let done = messages::send_message(&mut write, id, body, Some(from)).await;
    let about = About::task(id, NotYetReason::SubjectTaskNotReady);
    answer(write, &own, about, done).await
}

/// Lets a task run that waits for approval.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/tasks/{managed_task_id}/approve", params(AttemptQuery),
               request_body = ApproveTask, responses((status = 200, body = Envelope<Guided<Task>>)))]
async fn approve_managed_task(
    State(app): State<App>,
    Path((task, id)): Path<(TaskId, TaskId)>,
    Query(query): Query<AttemptQuery>,
    command: Command<ApproveTask>,
) -> Result<Reply<Guided<Task>>, Error> {
    let (mut write, own, _) = begin(&app, task, &query, command).await?;
    managed(&mut write, &own, id).await?;
    let done = tasks::approve_task(&mut write, id).await;
    let about = About::task(id, NotYetReason::TaskNotAwaitingApproval);
    answer(write, &own, about, done).await
}

/// Accepts an output that waits for a judgement.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/tasks/{managed_task_id}/approve-output",
               params(AttemptQuery), request_body = ApproveOutput,
               responses((status = 200, body = Envelope<Guided<Task>>)))]
async fn approve_managed_output(
    State(app): State<App>,
    Path((task, id)): Path<(TaskId, TaskId)>,
    Query(query): Query<AttemptQuery>,
    command: Command<ApproveOutput>,
) -> Result<Reply<Guided<Task>>, Error> {
    let (mut write, own, _) = begin(&app, task, &query, command).await?;
    managed(&mut write, &own, id).await?;
    let done = tasks::approve_task_output(&mut write, id).await;
    let about = About::task(id, NotYetReason::TaskNotAwaitingApproval);
    answer(write, &own, about, done).await
}

/// Sends a task back, with what is to be changed.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/tasks/{managed_task_id}/rework", params(AttemptQuery),
               request_body = RequestChanges, responses((status = 200, body = Envelope<Guided<Task>>)))]
async fn rework_managed_task(
    State(app): State<App>,
    Path((task, id)): Path<(TaskId, TaskId)>,
    Query(query): Query<AttemptQuery>,
    command: Command<RequestChanges>,
) -> Result<Reply<Guided<Task>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    managed(&mut write, &own, id).await?;
    let done = tasks::request_task_changes(&mut write, id, body).await;
    let about = About::task(id, NotYetReason::TaskNotReadyForRework);
    answer(write, &own, about, done).await
}

/// Gives a task another attempt.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/tasks/{managed_task_id}/retry", params(AttemptQuery),
               request_body = RetryTask, responses((status = 200, body = Envelope<Guided<Task>>)))]
async fn retry_managed_task(
    State(app): State<App>,
    Path((task, id)): Path<(TaskId, TaskId)>,
    Query(query): Query<AttemptQuery>,
    command: Command<RetryTask>,
) -> Result<Reply<Guided<Task>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    managed(&mut write, &own, id).await?;
    let done = tasks::retry_task(&mut write, id, body).await;
    let about = About::task(id, NotYetReason::SubjectTaskNotReady);
    answer(write, &own, about, done).await
}

/// Gives a task another input, and runs it again if it has run already. What is held is not taken away.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/tasks/{managed_task_id}/rerun-with-corrected-brief",
               params(AttemptQuery), request_body = CorrectBrief,
               responses((status = 200, body = Envelope<Guided<Task>>)))]
async fn rerun_managed_task(
    State(app): State<App>,
    Path((task, id)): Path<(TaskId, TaskId)>,
    Query(query): Query<AttemptQuery>,
    command: Command<CorrectBrief>,
) -> Result<Reply<Guided<Task>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    managed(&mut write, &own, id).await?;
    let done = rerun(&mut write, id, body.corrected_input).await;
    let about = About::task(id, NotYetReason::SubjectTaskNotReady);
    answer(write, &own, about, done).await
}

/// Gives a task another input. None when somebody works on it, or it has ended.
async fn give_input(
    write: &mut Write,
    id: TaskId,
    input: &JsonObject,
) -> Result<Option<Task>, Error> {
    tasks::lock(write, id).await?;
    let tenant = write.caller().tenant();
    if !store::lock_unclaimed(write.conn(), tenant, id).await? {
        return Ok(None);
    }
    tasks::replace_input(write, id, input).await?;
    tasks::read(write, id).await.map(Some)
}

async fn rerun(write: &mut Write, id: TaskId, input: JsonObject) -> Result<Task, Error> {
    if let Some(waits) = give_input(write, id, &input).await? {
        return Ok(waits);
    }
    let again = RetryTask {
        override_input: Some(input),
        force: Some(true),
        request_id: None,
    };
    tasks::retry_task(write, id, again).await
}

/// Calls a task off. Its holder learns of it with the next heartbeat or report.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/tasks/{managed_task_id}/cancel", params(AttemptQuery),
               request_body = CancelTask, responses((status = 200, body = Envelope<Guided<Task>>)))]
async fn cancel_managed_task(
    State(app): State<App>,
    Path((task, id)): Path<(TaskId, TaskId)>,
    Query(query): Query<AttemptQuery>,
    command: Command<CancelTask>,
) -> Result<Reply<Guided<Task>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    managed(&mut write, &own, id).await?;
    let done = tasks::cancel_task(&mut write, id, body).await;
    let about = About::task(id, NotYetReason::SubjectTaskNotReady);
    answer(write, &own, about, done).await
}

/// Says who may take a task. Who holds it loses it.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/tasks/{managed_task_id}/reassign", params(AttemptQuery),
               request_body = ReassignTask, responses((status = 200, body = Envelope<Guided<Task>>)))]
async fn reassign_managed_task(
    State(app): State<App>,
    Path((task, id)): Path<(TaskId, TaskId)>,
    Query(query): Query<AttemptQuery>,
    command: Command<ReassignTask>,
) -> Result<Reply<Guided<Task>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    managed(&mut write, &own, id).await?;
    let done = tasks::reassign_task(&mut write, id, body).await;
    let about = About::task(id, NotYetReason::SubjectTaskNotReady);
    answer(write, &own, about, done).await
}

/// Gives a task whose owner is gone to somebody else. As long as its owner is heard from, it stays with the owner.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/tasks/{managed_task_id}/reattach-or-replace-stale-owner",
               params(AttemptQuery), request_body = ReassignTask,
               responses((status = 200, body = Envelope<Guided<Task>>)))]
async fn replace_stale_owner(
    State(app): State<App>,
    Path((task, id)): Path<(TaskId, TaskId)>,
    Query(query): Query<AttemptQuery>,
    command: Command<ReassignTask>,
) -> Result<Reply<Guided<Task>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    managed(&mut write, &own, id).await?;
    let tenant = write.caller().tenant();
    let done = match store::lock_living_lease(write.conn(), tenant, id).await? {
        None => tasks::reassign_task(&mut write, id, body).await,
        Some(seconds) => {
            let message =
                format!("task {id} is held for {seconds:.0} s more, and its owner is heard from");
            Err(workflows::not_yet(NotYetReason::OwnerNotStale, message))
        }
    };
    let about = About::task(id, NotYetReason::SubjectTaskNotReady);
    answer(write, &own, about, done).await
}

/// Takes a task from its holder, or from its failure, and asks a person for help with it.
#[utoipa::path(post, path = "/api/v1/orchestrator/tasks/{task_id}/tasks/{managed_task_id}/escalate-to-human",
               params(AttemptQuery), request_body = EscalateToHuman,
               responses((status = 200, body = Envelope<Guided<Task>>)))]
async fn escalate_managed_task(
    State(app): State<App>,
    Path((task, id)): Path<(TaskId, TaskId)>,
    Query(query): Query<AttemptQuery>,
    command: Command<EscalateToHuman>,
) -> Result<Reply<Guided<Task>>, Error> {
    let (mut write, own, body) = begin(&app, task, &query, command).await?;
    managed(&mut write, &own, id).await?;
    let question = json!({
        "reason": body.reason, "context": body.context, "recommendation": body.recommendation,
        "blocking_task_id": body.blocking_task_id, "urgency": body.urgency,
    });
    let done = tasks::escalate_with(&mut write, id, &body.reason, &question).await;
    let about = About::task(id, NotYetReason::SubjectTaskNotReady);
    answer(write, &own, about, done).await
}
