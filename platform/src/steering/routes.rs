//! The routes of steering.

use axum::extract::State;
use http::StatusCode;
use protocol::Scope::{Admin, Agent};
use protocol::{
    Envelope, SteerWorkflow, SteeringMessage, SteeringRecorded, SteeringSession, SteeringSessionId,
    WorkflowId,
};
use utoipa_axum::routes;

use super::{request, store};
use crate::app::App;
use crate::error::Error;
use crate::http::Access::AtLeast;
use crate::http::{Caller, Command, Path, Reply, Routes};
use crate::workflows;

/// Conversations, and entries of one, that one answer has at most.
const SHOWN_MAX: i64 = 1_000;

/// Who may call what.
pub fn routes() -> Routes {
    Routes::new("steering")
        .route(AtLeast(Admin), routes!(steer_workflow))
        .route(AtLeast(Agent), routes!(list_steering_sessions))
        .route(AtLeast(Agent), routes!(list_steering_messages))
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
    let mut db = app.db.reader().await?;
    let tenant = caller.tenant();
    let workspaces = caller.workspace_filter();
    workflows::must_reach(&mut db, tenant, run, workspaces.as_deref()).await?;
    Reply::ok(store::sessions(&mut db, tenant, run, None, SHOWN_MAX).await?)
}

/// Lists what was said in a conversation, oldest first, 1000 at most.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/steering-sessions/{session_id}/messages",
               responses((status = 200, body = Envelope<Vec<SteeringMessage>>)))]
async fn list_steering_messages(
    State(app): State<App>,
    caller: Caller,
    Path((run, session)): Path<(WorkflowId, SteeringSessionId)>,
) -> Result<Reply<Vec<SteeringMessage>>, Error> {
    let mut db = app.db.reader().await?;
    let tenant = caller.tenant();
    let workspaces = caller.workspace_filter();
    workflows::must_reach(&mut db, tenant, run, workspaces.as_deref()).await?;
    let known = store::sessions(&mut db, tenant, run, Some(session), 1).await?;
    if known.is_empty() {
        return Err(Error::not_found("steering session", session));
    }
    Reply::ok(store::messages(&mut db, tenant, session, SHOWN_MAX).await?)
}
