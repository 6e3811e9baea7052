//! The routes of tasks.

use axum::extract::State;
use http::StatusCode;
use protocol::Scope::{Agent, Worker};
use protocol::{
    AgentId, CancelTask, ClaimTask, ClaimTasks, ClaimedTask, ClaimedTasks, CompleteTask,
    CompleteTasks, CompletionResult, CompletionResults, CreateTask, Envelope, ErrorCode, FailTask,
    Page, QueueDepth, ReleaseTask, RetryTask, StartTask, TagDepth, Task, TaskContext, TaskId,
    TaskState, UpdateTask, Why,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;
use uuid::Uuid;

use super::claim::{self, Claim, Outcome};
use super::verdict::Reported;
use super::{complete, context, hand_in, new_task, operate, start, store, why};
use crate::app::App;
use crate::error::Error;
use crate::handoffs;
use crate::http::Access::AtLeast;
use crate::http::{Caller, Command, Hot, PageQuery, Path, Query, Reply, Routes};
use crate::queue;

/// Completions that one request may report.
const COMPLETIONS_MAX: usize = 100;

/// Who may call what.
pub fn routes() -> Routes {
    Routes::new("tasks")
        .hot(AtLeast(Agent), routes!(create_task))
        .route(AtLeast(Agent), routes!(list_tasks))
        .route(AtLeast(Worker), routes!(get_queue_depth))
        .hot(AtLeast(Agent), routes!(claim_task))
        .hot(AtLeast(Agent), routes!(claim_tasks))
        .hot(AtLeast(Agent), routes!(complete_tasks))
        .route(AtLeast(Agent), routes!(get_task))
        .route(AtLeast(Worker), routes!(update_task))
        .route(AtLeast(Agent), routes!(get_task_context))
        .route(AtLeast(Agent), routes!(explain_task))
        .hot(AtLeast(Agent), routes!(start_task))
        .hot(AtLeast(Agent), routes!(complete_task))
        .hot(AtLeast(Agent), routes!(fail_task))
        .hot(AtLeast(Agent), routes!(release_task))
        .route(AtLeast(Worker), routes!(retry_task))
        .route(AtLeast(Worker), routes!(cancel_task))
}

/// Creates a task. It can be claimed at once, unless it depends on others or is delayed.
#[utoipa::path(post, path = "/api/v1/tasks", request_body = CreateTask,
               responses((status = 201, body = Envelope<Task>)))]
async fn create_task(State(app): State<App>, hot: Hot<CreateTask>) -> Result<Reply<Task>, Error> {
    let member = new_task::Member::admit(hot, &app.config.limits)?;
    let created = app.lanes.create.run(member).await??;
    let reply = Reply::with(StatusCode::CREATED, created.task)?;
    Ok(if created.is_replay {
        reply.replay()
    } else {
        reply
    })
}

/// Which tasks a list shows.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct TaskQuery {
    /// Only tasks in this state.
    state: Option<TaskState>,
    /// Only tasks of this workspace.
    workspace_id: Option<Uuid>,
    /// Only tasks that this agent holds or held last.
    assigned_agent_id: Option<Uuid>,
    /// Only tasks that an agent of this worker holds or held last.
    assigned_worker_id: Option<Uuid>,
    /// Only subtasks of this task.
    parent_id: Option<Uuid>,
    /// Only tasks of this workflow.
    workflow_id: Option<Uuid>,
    /// Only tasks of this work item.
    work_item_id: Option<Uuid>,
    /// Only tasks of this activation.
    activation_id: Option<Uuid>,
    /// Only tasks of this stage.
    stage_name: Option<String>,
    /// Only tasks for this role.
    role: Option<String>,
    /// Only tasks that steer a workflow, or only others.
    is_orchestrator_task: Option<bool>,
    /// Only the task that this request id made.
    request_id: Option<String>,
    /// The number of the page; 1 unless given.
    #[param(minimum = 1)]
    page: Option<i64>,
    /// How many tasks a page has, 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    per_page: Option<i64>,
}

/// Lists tasks, newest first.
#[utoipa::path(get, path = "/api/v1/tasks", params(TaskQuery), responses((status = 200, body = Page<Task>)))]
async fn list_tasks(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<TaskQuery>,
) -> Result<Reply<Page<Task>>, Error> {
    let page = PageQuery::of(query.page, query.per_page)?;
    let filter = store::Filter {
        states: query.state.map(|state| vec![state.as_str().to_owned()]),
        workspaces: caller.workspace_filter(),
        workspace: query.workspace_id,
        agent: query.assigned_agent_id,
        worker: query.assigned_worker_id,
        parent: query.parent_id,
        workflow: query.workflow_id,
        work_item: query.work_item_id,
        activation: query.activation_id,
        stage_name: query.stage_name,
        role: query.role,
        is_orchestrator_task: query.is_orchestrator_task,
        request_id: query.request_id,
    };
    let mut db = app.db.reader().await?;
    let (tasks, total) = store::list(
        &mut db,
        caller.tenant(),
        &filter,
        page.per_page(),
        page.offset(),
    )
    .await?;
    Reply::page(tasks, total, page)
}

/// Which queues are counted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct DepthQuery {
    /// Only tasks of runs of this playbook.
    playbook_id: Option<Uuid>,
}

/// Tells how many tasks are ready, all together and by routing tag.
#[utoipa::path(get, path = "/api/v1/tasks/queue-depth", params(DepthQuery),
               responses((status = 200, body = Envelope<QueueDepth>)))]
async fn get_queue_depth(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<DepthQuery>,
) -> Result<Reply<QueueDepth>, Error> {
    let mut db = app.db.reader().await?;
    let lanes = match query.playbook_id {
        // No task belongs to a playbook.
        Some(_) => Vec::new(),
        None => store::depths(&mut db, caller.tenant()).await?,
    };
    let mut by_tag: Vec<TagDepth> = Vec::new();
    for (lane, ready, oldest_ready_seconds) in lanes {
        let tag = queue::tag_of(&lane);
        match by_tag.iter_mut().find(|known| known.tag == tag) {
            Some(known) => {
                known.ready += ready;
                known.oldest_ready_seconds = known.oldest_ready_seconds.max(oldest_ready_seconds);
            }
            None => by_tag.push(TagDepth {
                tag: tag.to_owned(),
                ready,
                oldest_ready_seconds,
            }),
        }
    }
    let total_pending = by_tag.iter().map(|tag| tag.ready).sum();
    Reply::ok(QueueDepth {
        total_pending,
        by_playbook: std::collections::BTreeMap::default(),
        by_tag,
    })
}

/// Hands the caller its next task, or 204 when there is none within `wait_seconds`.
#[utoipa::path(post, path = "/api/v1/tasks/claim", request_body = ClaimTask,
               responses((status = 200, body = Envelope<ClaimedTask>), (status = 204, description = "Nothing for it now")))]
async fn claim_task(
    State(app): State<App>,
    hot: Hot<ClaimTask>,
) -> Result<Reply<ClaimedTask>, Error> {
    let claim = Claim::admit(&app, &hot.caller, hot.request_id, hot.body).await?;
    match claim.run(&app).await? {
        Outcome::Claimed(task) => Reply::ok(*task),
        Outcome::Replayed(task) => Ok(Reply::ok(*task)?.replay()),
        Outcome::Nothing => Ok(Reply::no_content()),
    }
}

/// Hands the caller up to `max_tasks` tasks, or 204 when there is none within `wait_seconds`.
#[utoipa::path(post, path = "/api/v1/tasks/claims", request_body = ClaimTasks,
               responses((status = 200, body = Envelope<ClaimedTasks>), (status = 204, description = "Nothing for it now")))]
async fn claim_tasks(
    State(app): State<App>,
    hot: Hot<ClaimTasks>,
) -> Result<Reply<ClaimedTasks>, Error> {
    claim::check_many(&hot.body)?;
    app.rates.spend(
        hot.caller.identity().key,
        true,
        hot.body.max_tasks.saturating_sub(1),
    )?;
    let tasks = claim::claim_many(&app, &hot.caller, hot.request_id, hot.body).await?;
    if tasks.is_empty() {
        return Ok(Reply::no_content());
    }
    Reply::ok(ClaimedTasks { tasks })
}

/// Reports several completions at once; each is judged on its own.
#[utoipa::path(post, path = "/api/v1/tasks/completions", request_body = CompleteTasks,
               responses((status = 200, body = Envelope<CompletionResults>)))]
async fn complete_tasks(
    State(app): State<App>,
    hot: Hot<CompleteTasks>,
) -> Result<Reply<CompletionResults>, Error> {
    let count = hot.body.completions.len();
    if !(1..=COMPLETIONS_MAX).contains(&count) {
        return Err(Error::field(
            "completions",
            format!("must have 1 to {COMPLETIONS_MAX} reports"),
        ));
    }
    app.rates.spend(
        hot.caller.identity().key,
        true,
        u32::try_from(count - 1).unwrap_or(u32::MAX),
    )?;
    let (app, caller) = (&app, &hot.caller);
    let reports = hot.body.completions.into_iter().map(async |completion| {
        let task = completion.task_id;
        let ended = async {
            let member = complete::Member::admit_one(caller, completion)?;
            must_reach(app, caller, task).await?;
            app.lanes.complete.run(member).await?
        };
        result_of(task, ended.await)
    });
    let results = futures_util::future::join_all(reports).await;
    Reply::ok(CompletionResults { results })
}

fn result_of(task: TaskId, ended: Result<Reported, Error>) -> CompletionResult {
    match ended {
        Ok(reported) => CompletionResult {
            task_id: task,
            status: 200,
            state: Some(reported.state),
            error: None,
        },
        Err(error) => {
            let refusal = match error.refusal() {
                Some(refused) => refused.to_wire(),
                None => {
                    tracing::error!(%error, "internal error");
                    crate::error::Refused::new(
                        ErrorCode::InternalError,
                        "the platform failed to take this report",
                    )
                    .to_wire()
                }
            };
            CompletionResult {
                task_id: task,
                status: refusal.code.status(),
                state: None,
                error: Some(refusal),
            }
        }
    }
}

/// Reads a task.
#[utoipa::path(get, path = "/api/v1/tasks/{task_id}", responses((status = 200, body = Envelope<Task>)))]
async fn get_task(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<TaskId>,
) -> Result<Reply<Task>, Error> {
    let mut db = app.db.reader().await?;
    let (tenant, workspaces) = (caller.tenant(), caller.workspace_filter());
    let mut task = store::record(&mut db, tenant, id, workspaces.as_deref()).await?;
    if task.attempt > 0 {
        let latest = handoffs::latest_of_task(&mut db, tenant, id).await?;
        task.latest_handoff = latest.map(Box::new);
    }
    Reply::ok(task)
}

/// Changes the facts of a task; its state does not change.
#[utoipa::path(patch, path = "/api/v1/tasks/{task_id}", request_body = UpdateTask,
               responses((status = 200, body = Envelope<Task>)))]
async fn update_task(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    command: Command<UpdateTask>,
) -> Result<Reply<Task>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let task = operate::update_task(&mut write, id, body).await?;
    write.commit(StatusCode::OK, task).await
}

/// For whom a context is.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ContextQuery {
    /// The agent that will read it.
    agent_id: Option<Uuid>,
}

/// Tells what an agent should know to work on a task, with the outputs of the tasks it depends on.
#[utoipa::path(get, path = "/api/v1/tasks/{task_id}/context", params(ContextQuery),
               responses((status = 200, body = Envelope<TaskContext>)))]
async fn get_task_context(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<TaskId>,
    Query(query): Query<ContextQuery>,
) -> Result<Reply<TaskContext>, Error> {
    let mut db = app.db.reader().await?;
    let workspaces = caller.workspace_filter();
    let agent = query.agent_id.map(AgentId::from);
    Reply::ok(
        context::get_task_context(&mut db, caller.tenant(), id, agent, workspaces.as_deref())
            .await?,
    )
}

/// Tells why a task does not run, and what to do about it.
#[utoipa::path(get, path = "/api/v1/tasks/{task_id}/why", responses((status = 200, body = Envelope<Why>)))]
async fn explain_task(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<TaskId>,
) -> Result<Reply<Why>, Error> {
    let mut db = app.db.reader().await?;
    let workspaces = caller.workspace_filter();
    Reply::ok(why::explain_task(&mut db, caller.tenant(), id, workspaces.as_deref()).await?)
}

/// Hides tasks outside the workspaces that a key is restricted to. A task stays in its workspace, so this
/// need not share a transaction with the report.
async fn must_reach(app: &App, caller: &Caller, task: TaskId) -> Result<(), Error> {
    if let Some(workspaces) = caller.workspace_filter() {
        let mut db = app.db.reader().await?;
        store::record(&mut db, caller.tenant(), task, Some(&workspaces)).await?;
    }
    Ok(())
}

/// What a report is to be answered with.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "described here; read by `Hot`")]
struct Prefer {
    /// `return=minimal` leaves the task out of the answer, which saves reading it: 204 (RFC 7240)
    #[param(rename = "Prefer", required = false)]
    prefer: Option<String>,
}

/// Begins to work on a claimed task, and renews its lease.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/start", request_body = StartTask, params(Prefer),
               responses((status = 200, body = Envelope<Task>), (status = 204, description = "Done, as `Prefer: return=minimal` wants it")))]
async fn start_task(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    hot: Hot<StartTask>,
) -> Result<Reply<Task>, Error> {
    let member = start::Member::admit(&hot.caller, id, &hot.body, hot.wants)?;
    must_reach(&app, &hot.caller, id).await?;
    reply(app.lanes.start.run(member).await??)
}

/// Reports success. An output that does not fit its schema waits for a person.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/complete", request_body = CompleteTask, params(Prefer),
               responses((status = 200, body = Envelope<Task>), (status = 204, description = "Done, as `Prefer: return=minimal` wants it")))]
async fn complete_task(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    hot: Hot<CompleteTask>,
) -> Result<Reply<Task>, Error> {
    let member = complete::Member::admit(&hot.caller, id, hot.body, hot.wants)?;
    must_reach(&app, &hot.caller, id).await?;
    reply(app.lanes.complete.run(member).await??)
}

/// Reports failure. A retry follows when the task's policy says so.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/fail", request_body = FailTask,
               responses((status = 200, body = Envelope<Task>)))]
async fn fail_task(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    hot: Hot<FailTask>,
) -> Result<Reply<Task>, Error> {
    let member = hand_in::Member::failed(&hot.caller, id, hot.body)?;
    reply(app.lanes.hand_in.run(member).await??)
}

/// Hands a task back to the queue, to its old place: no failure, no abandon.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/release", request_body = ReleaseTask,
               responses((status = 200, body = Envelope<Task>)))]
async fn release_task(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    hot: Hot<ReleaseTask>,
) -> Result<Reply<Task>, Error> {
    let member = hand_in::Member::released(&hot.caller, id, hot.body)?;
    reply(app.lanes.hand_in.run(member).await??)
}

pub(super) fn reply(reported: Reported) -> Result<Reply<Task>, Error> {
    let reply = match reported.task {
        Some(task) => Reply::ok(task)?,
        None => Reply::minimal(),
    };
    Ok(if reported.is_replay {
        reply.replay()
    } else {
        reply
    })
}

/// Gives a failed task another attempt; with `force` also one that waits or has completed.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/retry", request_body = RetryTask,
               responses((status = 200, body = Envelope<Task>)))]
async fn retry_task(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    command: Command<RetryTask>,
) -> Result<Reply<Task>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let task = operate::retry_task(&mut write, id, body).await?;
    write.commit(StatusCode::OK, task).await
}

/// Calls a task off, also one that runs: its holder learns of it with its next heartbeat or report.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/cancel", request_body = CancelTask,
               responses((status = 200, body = Envelope<Task>)))]
async fn cancel_task(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    command: Command<CancelTask>,
) -> Result<Reply<Task>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let task = operate::cancel_task(&mut write, id, body).await?;
    write.commit(StatusCode::OK, task).await
}
