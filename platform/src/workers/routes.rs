//! Who may register, beat, signal, drain, read and delete workers.

use axum::extract::State;
use http::StatusCode;
use protocol::{
    Bare, Envelope, Page, RegisterWorker, RegisteredWorker, Scope, SignalId, SignalSent,
    SignalWorker, Worker, WorkerHeartbeat, WorkerHeartbeatAnswer, WorkerId, WorkerStatus,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::store::Filter;
use super::{signal_store, store};
use crate::app::App;
use crate::error::Error;
use crate::holders::{Beat, Outcome};
use crate::http::{Access, Caller, Command, Hot, PageQuery, Path, Query, Reply, Routes};

/// The routes of this domain.
pub fn routes() -> Routes {
    Routes::new("workers")
        .route(Access::AtLeast(Scope::Worker), routes!(register_worker))
        .hot(Access::AtLeast(Scope::Worker), routes!(heartbeat_worker))
        .route(Access::AtLeast(Scope::Admin), routes!(signal_worker))
        .route(Access::AtLeast(Scope::Worker), routes!(acknowledge_signal))
        .route(Access::AtLeast(Scope::Admin), routes!(drain_worker))
        .route(Access::AtLeast(Scope::Admin), routes!(list_workers))
        .route(Access::AtLeast(Scope::Admin), routes!(get_worker))
        .route(Access::AtLeast(Scope::Admin), routes!(delete_worker))
}

/// Registers a worker together with its agents. The answer is the only place where their keys are shown.
#[utoipa::path(post, path = "/api/v1/workers/register", request_body = RegisterWorker,
               responses((status = 201, body = Envelope<RegisteredWorker>)))]
async fn register_worker(
    State(app): State<App>,
    command: Command<RegisterWorker>,
) -> Result<Reply<RegisteredWorker>, Error> {
    let (mut write, wanted) = command.begin(&app).await?;
    let caller = write.caller().clone();
    let days = app.config.auth.holder_key_days;
    let made = super::register::register_worker(write.tx(), &caller, days, &wanted).await?;
    write.commit_secret(StatusCode::CREATED, made).await
}

/// Says that a worker is alive, renews the leases it lists, and tells it what it must know.
#[utoipa::path(post, path = "/api/v1/workers/{worker_id}/heartbeat", request_body = WorkerHeartbeat,
               responses((status = 200, body = Envelope<WorkerHeartbeatAnswer>)))]
async fn heartbeat_worker(
    State(app): State<App>,
    Path(worker): Path<WorkerId>,
    hot: Hot<WorkerHeartbeat>,
) -> Result<Reply<WorkerHeartbeatAnswer>, Error> {
    let weight = hot.weight();
    let beat = Beat::of_worker(&hot.caller, worker, weight, hot.body)?;
    match app.lanes.heartbeat.run(beat).await? {
        Outcome::Worker(answer) => Reply::ok(answer),
        Outcome::Agent(_) | Outcome::Unknown | Outcome::NotHosted => {
            Err(Error::not_found("worker", worker))
        }
    }
}

/// Asks a worker to drain, to cancel a task, or to reload its configuration.
#[utoipa::path(post, path = "/api/v1/workers/{worker_id}/signal", request_body = SignalWorker,
               responses((status = 200, body = Envelope<SignalSent>)))]
async fn signal_worker(
    State(app): State<App>,
    Path(worker): Path<WorkerId>,
    command: Command<SignalWorker>,
) -> Result<Reply<SignalSent>, Error> {
    let (mut write, wanted) = command.begin(&app).await?;
    let caller = write.caller().clone();
    let signal_id = super::signal::signal_worker(write.tx(), &caller, worker, &wanted).await?;
    write.commit(StatusCode::OK, SignalSent { signal_id }).await
}

/// Says that a signal was heard: it is not in the next heartbeat answer.
#[utoipa::path(post, path = "/api/v1/workers/{worker_id}/signals/{signal_id}/ack", request_body = Bare,
               responses((status = 204, description = "Acknowledged")))]
async fn acknowledge_signal(
    State(app): State<App>,
    Path((worker, signal)): Path<(WorkerId, SignalId)>,
    command: Command<Bare>,
) -> Result<Reply<()>, Error> {
    command.caller.must_be(None, Some(worker))?;
    let (mut write, _) = command.begin(&app).await?;
    let tenant = write.caller().tenant();
    if !signal_store::acknowledge(write.conn(), tenant, worker, signal).await? {
        return Err(Error::not_found("signal", signal));
    }
    write.commit_empty().await
}

/// Makes a worker take nothing new and asks it to finish what runs.
#[utoipa::path(post, path = "/api/v1/workers/{worker_id}/drain", request_body = Bare,
               responses((status = 200, body = Envelope<Worker>)))]
async fn drain_worker(
    State(app): State<App>,
    Path(worker): Path<WorkerId>,
    command: Command<Bare>,
) -> Result<Reply<Worker>, Error> {
    let (mut write, _) = command.begin(&app).await?;
    let caller = write.caller().clone();
    super::signal::drain_worker(write.tx(), &caller, worker).await?;
    let drained = store::read(write.conn(), caller.tenant(), worker).await?;
    let drained = drained.ok_or_else(|| Error::not_found("worker", worker))?;
    write.commit(StatusCode::OK, drained).await
}

/// Which workers to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct WorkerQuery {
    /// Only workers that are doing so.
    status: Option<WorkerStatus>,
    /// Only workers of exactly this name.
    name: Option<String>,
    /// The number of the page; 1 unless given.
    #[param(minimum = 1, maximum = 100_000)]
    page: Option<i64>,
    /// How many things a page has, 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    per_page: Option<i64>,
}

/// Lists workers, newest first.
#[utoipa::path(get, path = "/api/v1/workers", params(WorkerQuery), responses((status = 200, body = Page<Worker>)))]
async fn list_workers(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<WorkerQuery>,
) -> Result<Reply<Page<Worker>>, Error> {
    let page = PageQuery::of(query.page, query.per_page)?;
    let filter = Filter {
        id: None,
        status: query.status,
        name: query.name,
    };
    let mut db = app.db.reader().await?;
    let (workers, total) = store::list(&mut db, caller.tenant(), &filter, page).await?;
    Reply::page(workers, total, page)
}

/// Reads a worker.
#[utoipa::path(get, path = "/api/v1/workers/{worker_id}", responses((status = 200, body = Envelope<Worker>)))]
async fn get_worker(
    State(app): State<App>,
    caller: Caller,
    Path(worker): Path<WorkerId>,
) -> Result<Reply<Worker>, Error> {
    let mut db = app.db.reader().await?;
    let found = store::read(&mut db, caller.tenant(), worker).await?;
    Reply::ok(found.ok_or_else(|| Error::not_found("worker", worker))?)
}

/// Deletes a worker and its agents, and revokes their keys. Tasks they hold go back to the queue.
#[utoipa::path(delete, path = "/api/v1/workers/{worker_id}", request_body = Bare,
               responses((status = 204, description = "Deleted")))]
async fn delete_worker(
    State(app): State<App>,
    Path(worker): Path<WorkerId>,
    command: Command<Bare>,
) -> Result<Reply<()>, Error> {
    let (mut write, _) = command.begin(&app).await?;
    let caller = write.caller().clone();
    super::delete::delete_worker(write.tx(), &caller, worker).await?;
    write.commit_empty().await
}
