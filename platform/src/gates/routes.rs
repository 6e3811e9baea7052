//! The routes of gates.

use axum::extract::State;
use http::StatusCode;
use protocol::Scope::{Admin, Agent};
use protocol::{DecideGate, Envelope, GateId, StageGate, WorkflowId};
use utoipa_axum::routes;

use super::{decide, store};
use crate::app::App;
use crate::error::Error;
use crate::http::Access::AtLeast;
use crate::http::{Caller, Command, Path, Reply, Routes};
use crate::workflows;

/// Gates that one answer has at most.
const GATES_MAX: i64 = 1_000;

/// Who may call what.
pub fn routes() -> Routes {
    Routes::new("gates")
        .route(AtLeast(Agent), routes!(list_gates))
        .route(AtLeast(Agent), routes!(get_gate))
        .route(AtLeast(Admin), routes!(decide_gate))
}

/// Lists what people were asked to look at in a run, newest first, 1000 at most, with what they decided.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/gates", responses((status = 200, body = Envelope<Vec<StageGate>>)))]
async fn list_gates(
    State(app): State<App>,
    caller: Caller,
    Path(run): Path<WorkflowId>,
) -> Result<Reply<Vec<StageGate>>, Error> {
    let mut db = app.db.reader().await?;
    let tenant = caller.tenant();
    let workspaces = caller.workspace_filter();
    workflows::must_reach(&mut db, tenant, run, workspaces.as_deref()).await?;
    let wanted = store::Wanted {
        run: Some(run),
        ..store::Wanted::default()
    };
    Reply::ok(store::list(&mut db, tenant, &wanted, GATES_MAX).await?)
}

/// Reads a gate.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/gates/{gate_id}", responses((status = 200, body = Envelope<StageGate>)))]
async fn get_gate(
    State(app): State<App>,
    caller: Caller,
    Path((run, id)): Path<(WorkflowId, GateId)>,
) -> Result<Reply<StageGate>, Error> {
    let mut db = app.db.reader().await?;
    let tenant = caller.tenant();
    let workspaces = caller.workspace_filter();
    workflows::must_reach(&mut db, tenant, run, workspaces.as_deref()).await?;
    Reply::ok(store::read(&mut db, tenant, run, id).await?)
}

/// Decides about a gate. Its orchestrator is woken.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/gates/{gate_id}", request_body = DecideGate,
               responses((status = 200, body = Envelope<StageGate>)))]
async fn decide_gate(
    State(app): State<App>,
    Path((run, id)): Path<(WorkflowId, GateId)>,
    command: Command<DecideGate>,
) -> Result<Reply<StageGate>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let gate = decide::decide_gate(&mut write, run, id, body).await?;
    write.commit(StatusCode::OK, gate).await
}
