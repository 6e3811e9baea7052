//! The routes of steering.

use axum::extract::State;
use http::StatusCode;
use protocol::Scope::{Admin, Agent};
use protocol::{
    AddInputPacket, Envelope, InputPacket, InputPacketId, Intervention, InterventionId, Page,
    RecordIntervention, SteerWorkflow, SteeringMessage, SteeringRecorded, SteeringSession,
    SteeringSessionId, TenantId, WorkflowId,
};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use utoipa_axum::routes;

use super::{intervene, intervention_store, packet_store, request, store, supply};
use crate::app::App;
use crate::error::Error;
use crate::http::Access::AtLeast;
use crate::http::{Caller, Command, PageQuery, Path, Query, Reply, Routes};
use crate::workflows;

/// Conversations, and entries of one, that one answer has at most.
const SHOWN_MAX: i64 = 1_000;

/// Who may call what.
pub fn routes() -> Routes {
    Routes::new("steering")
        .route(AtLeast(Admin), routes!(steer_workflow))
        .route(AtLeast(Agent), routes!(list_steering_sessions))
        .route(AtLeast(Agent), routes!(list_steering_messages))
        .route(AtLeast(Admin), routes!(record_intervention))
        .route(AtLeast(Agent), routes!(list_interventions))
        .route(AtLeast(Agent), routes!(get_intervention))
        .route(AtLeast(Admin), routes!(add_input_packet))
        .route(AtLeast(Agent), routes!(list_input_packets))
        .route(AtLeast(Agent), routes!(get_input_packet))
}

/// Tells the orchestrator of a run what to do, or to know, and wakes it.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/steering-requests", request_body = SteerWorkflow,
               responses((status = 201, body = Envelope<SteeringRecorded>)))]
async fn steer_workflow(
    State(app): State<App>,
    Path(run): Path<WorkflowId>,
    command: Command<SteerWorkflow>,
) -> Result<Reply<SteeringRecorded>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let recorded = request::steer_workflow(&mut write, run, body).await?;
    write.commit(StatusCode::CREATED, recorded).await
}

/// Lists the conversations with the orchestrator of a run, the newest first, 1000 at most.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/steering-sessions",
               responses((status = 200, body = Envelope<Vec<SteeringSession>>)))]
async fn list_steering_sessions(
    State(app): State<App>,
    caller: Caller,
    Path(run): Path<WorkflowId>,
) -> Result<Reply<Vec<SteeringSession>>, Error> {
    let (mut db, tenant) = reach(&app, &caller, run).await?;
    Reply::ok(store::sessions(&mut db, tenant, run, None, SHOWN_MAX).await?)
}

/// Lists what was said last in a conversation, oldest first, 1000 at most.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/steering-sessions/{session_id}/messages",
               responses((status = 200, body = Envelope<Vec<SteeringMessage>>)))]
async fn list_steering_messages(
    State(app): State<App>,
    caller: Caller,
    Path((run, session)): Path<(WorkflowId, SteeringSessionId)>,
) -> Result<Reply<Vec<SteeringMessage>>, Error> {
    let (mut db, tenant) = reach(&app, &caller, run).await?;
    let known = store::sessions(&mut db, tenant, run, Some(session), 1).await?;
    if known.is_empty() {
        return Err(Error::not_found("steering session", session));
    }
    Reply::ok(store::messages(&mut db, tenant, session, SHOWN_MAX).await?)
}

/// Records that an operator has done something about a run, or wants it done. The orchestrator is woken with it.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/interventions", request_body = RecordIntervention,
               responses((status = 201, body = Envelope<Intervention>)))]
async fn record_intervention(
    State(app): State<App>,
    Path(run): Path<WorkflowId>,
    command: Command<RecordIntervention>,
) -> Result<Reply<Intervention>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let made = intervene::record_intervention(&mut write, run, body).await?;
    write.commit(StatusCode::CREATED, made).await
}

/// Lists what operators have done about a run, the newest first.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/interventions", params(PageQuery),
               responses((status = 200, body = Page<Intervention>)))]
async fn list_interventions(
    State(app): State<App>,
    caller: Caller,
    Path(run): Path<WorkflowId>,
    Query(page): Query<PageQuery>,
) -> Result<Reply<Page<Intervention>>, Error> {
    page.check()?;
    let (mut db, tenant) = reach(&app, &caller, run).await?;
    let shown = (page.per_page(), page.offset());
    let found = intervention_store::list(&mut db, tenant, run, None, shown).await?;
    let total = intervention_store::count(&mut db, tenant, run).await?;
    Reply::page(found, total, page)
}

/// Reads an intervention.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/interventions/{intervention_id}",
               responses((status = 200, body = Envelope<Intervention>)))]
async fn get_intervention(
    State(app): State<App>,
    caller: Caller,
    Path((run, id)): Path<(WorkflowId, InterventionId)>,
) -> Result<Reply<Intervention>, Error> {
    let (mut db, tenant) = reach(&app, &caller, run).await?;
    Reply::ok(intervention_store::find(&mut db, tenant, run, id).await?)
}

/// Gives a run something more to work with. The orchestrator is woken with it.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/input-packets", request_body = AddInputPacket,
               responses((status = 201, body = Envelope<InputPacket>)))]
async fn add_input_packet(
    State(app): State<App>,
    Path(run): Path<WorkflowId>,
    command: Command<AddInputPacket>,
) -> Result<Reply<InputPacket>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let made = supply::add_input_packet(&mut write, run, body).await?;
    write.commit(StatusCode::CREATED, made).await
}

/// Lists what a run was given to work with, the newest first.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/input-packets", params(PageQuery),
               responses((status = 200, body = Page<InputPacket>)))]
async fn list_input_packets(
    State(app): State<App>,
    caller: Caller,
    Path(run): Path<WorkflowId>,
    Query(page): Query<PageQuery>,
) -> Result<Reply<Page<InputPacket>>, Error> {
    page.check()?;
    let (mut db, tenant) = reach(&app, &caller, run).await?;
    let shown = (page.per_page(), page.offset());
    let found = packet_store::list(&mut db, tenant, run, None, shown).await?;
    let total = packet_store::count(&mut db, tenant, run, None).await?;
    Reply::page(found, total, page)
}

/// Reads an input packet.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/input-packets/{input_packet_id}",
               responses((status = 200, body = Envelope<InputPacket>)))]
async fn get_input_packet(
    State(app): State<App>,
    caller: Caller,
    Path((run, id)): Path<(WorkflowId, InputPacketId)>,
) -> Result<Reply<InputPacket>, Error> {
    let (mut db, tenant) = reach(&app, &caller, run).await?;
    Reply::ok(packet_store::find(&mut db, tenant, run, id).await?)
}

/// A connection to read what belongs to a run that the caller may see.
async fn reach(
    app: &App,
    caller: &Caller,
    run: WorkflowId,
) -> Result<(PoolConnection<Postgres>, TenantId), Error> {
    let mut db = app.db.reader().await?;
    let tenant = caller.tenant();
    let workspaces = caller.workspace_filter();
    workflows::must_reach(&mut db, tenant, run, workspaces.as_deref()).await?;
    Ok((db, tenant))
}
