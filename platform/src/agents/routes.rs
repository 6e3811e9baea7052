//! Who may register, beat, read and delete agents.

use axum::extract::State;
use http::StatusCode;
use protocol::{
    Agent, AgentHeartbeat, AgentHeartbeatAnswer, AgentId, AgentStatus, Bare, Envelope, Page,
    RegisterAgent, RegisteredAgent, Scope, WorkerId,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::store;
use super::store::Filter;
use crate::app::App;
use crate::error::Error;
use crate::holders::{Beat, Outcome, other_identity};
use crate::http::{Access, Caller, Command, Hot, PageQuery, Path, Query, Reply, Routes};

/// The routes of this domain.
pub fn routes() -> Routes {
    Routes::new("agents")
        .route(Access::AtLeast(Scope::Agent), routes!(register_agent))
        .hot(Access::AtLeast(Scope::Agent), routes!(heartbeat_agent))
        .route(Access::AtLeast(Scope::Agent), routes!(list_agents))
        .route(Access::AtLeast(Scope::Agent), routes!(get_agent))
        .route(Access::AtLeast(Scope::Admin), routes!(delete_agent))
}

/// Registers an agent. The answer is the only place where its key is shown.
#[utoipa::path(post, path = "/api/v1/agents/register", request_body = RegisterAgent,
               responses((status = 201, body = Envelope<RegisteredAgent>)))]
async fn register_agent(
    State(app): State<App>,
    command: Command<RegisterAgent>,
) -> Result<Reply<RegisteredAgent>, Error> {
    let (mut write, wanted) = command.begin(&app).await?;
    let caller = write.caller().clone();
    let days = app.config.auth.holder_key_days;
    let made = super::register::register_agent(write.tx(), &caller, days, &wanted).await?;
    write.commit_secret(StatusCode::CREATED, made).await
}

/// Says that an agent is alive, renews the leases it lists, and tells it what it must know.
#[utoipa::path(post, path = "/api/v1/agents/{agent_id}/heartbeat", request_body = AgentHeartbeat,
               responses((status = 200, body = Envelope<AgentHeartbeatAnswer>)))]
async fn heartbeat_agent(
    State(app): State<App>,
    Path(agent): Path<AgentId>,
    hot: Hot<AgentHeartbeat>,
) -> Result<Reply<AgentHeartbeatAnswer>, Error> {
    let weight = hot.weight();
    let beat = Beat::of_agent(&hot.caller, agent, weight, hot.body)?;
    match app.lanes.heartbeat.run(beat).await? {
        Outcome::Agent(answer) => Reply::ok(answer),
        Outcome::NotHosted => Err(other_identity(agent)),
        Outcome::Worker(_) | Outcome::Unknown => Err(Error::not_found("agent", agent)),
    }
}

/// Which agents to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct AgentQuery {
    /// Only agents that are doing so.
    status: Option<AgentStatus>,
    /// Only agents that this worker hosts.
    worker_id: Option<WorkerId>,
    /// Only agents of exactly this name.
    name: Option<String>,
    /// The number of the page; 1 unless given.
    #[param(minimum = 1, maximum = 100_000)]
    page: Option<i64>,
    /// How many things a page has, 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    per_page: Option<i64>,
}

/// Lists agents, newest first.
#[utoipa::path(get, path = "/api/v1/agents", params(AgentQuery), responses((status = 200, body = Page<Agent>)))]
async fn list_agents(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<AgentQuery>,
) -> Result<Reply<Page<Agent>>, Error> {
    let page = PageQuery::of(query.page, query.per_page)?;
    let filter = Filter {
        id: None,
        status: query.status,
        worker: query.worker_id,
        name: query.name,
    };
    let mut db = app.db.reader().await?;
    let (agents, total) = store::list(&mut db, caller.tenant(), &filter, page).await?;
    Reply::page(agents, total, page)
}

/// Reads an agent.
#[utoipa::path(get, path = "/api/v1/agents/{agent_id}", responses((status = 200, body = Envelope<Agent>)))]
async fn get_agent(
    State(app): State<App>,
    caller: Caller,
    Path(agent): Path<AgentId>,
) -> Result<Reply<Agent>, Error> {
    let mut db = app.db.reader().await?;
    let found = store::read(&mut db, caller.tenant(), agent).await?;
    Reply::ok(found.ok_or_else(|| Error::not_found("agent", agent))?)
}

/// Deletes an agent and revokes its keys. Tasks it holds go back to the queue.
#[utoipa::path(delete, path = "/api/v1/agents/{agent_id}", request_body = Bare,
               responses((status = 204, description = "Deleted")))]
async fn delete_agent(
    State(app): State<App>,
    Path(agent): Path<AgentId>,
    command: Command<Bare>,
) -> Result<Reply<()>, Error> {
    let (mut write, _) = command.begin(&app).await?;
    let caller = write.caller().clone();
    super::delete::delete_agent(write.tx(), &caller, agent).await?;
    write.commit_empty().await
}
