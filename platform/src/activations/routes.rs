//! The routes of activations.

use axum::extract::State;
use http::StatusCode;
use protocol::Scope::{Admin, Agent};
use protocol::{
    Activation, ActivationId, CreateActivation, Envelope, ErrorCode, Guided, JsonObject, Page,
    ReasonCode, WorkflowId,
};
use utoipa_axum::routes;

use super::advance::{advance, step_in};
use super::store::{self, ActivationFilter};
use super::wake::{Wake, event, tell};
use crate::app::App;
use crate::error::{Error, Refused};
use crate::holders::check_free_data;
use crate::http::Access::AtLeast;
use crate::http::{Caller, Command, PageQuery, Path, Query, Reply, Routes, Write, check_length};
use crate::steering::FREE_DATA_BYTES_MAX;
use crate::{queue, workflows};

/// Who may call what.
pub fn routes() -> Routes {
    Routes::new("activations")
        .route(AtLeast(Admin), routes!(create_activation))
        .route(AtLeast(Agent), routes!(list_activations))
        .route(AtLeast(Agent), routes!(get_activation))
}

/// Wakes the orchestrator of a run. In a run that has ended nobody is woken, and the activation says so.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/activations", request_body = CreateActivation,
               responses((status = 201, body = Envelope<Guided<Activation>>)))]
async fn create_activation(
    State(app): State<App>,
    Path(run): Path<WorkflowId>,
    command: Command<CreateActivation>,
) -> Result<Reply<Guided<Activation>>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let made = create(&mut write, run, body).await?;
    write
        .commit(StatusCode::CREATED, Guided::applied(made))
        .await
}

async fn create(
    write: &mut Write,
    run: WorkflowId,
    body: CreateActivation,
) -> Result<Activation, Error> {
    check_length("reason", &body.reason, 1..=2000)?;
    check_length("event_type", &body.event_type, 1..=120)?;
    check_free_data("payload", body.payload.as_ref(), FREE_DATA_BYTES_MAX)?;
    let tenant = write.caller().tenant();
    let workspaces = write.caller().workspace_filter();
    let open = workflows::lock_open_run(write.conn(), tenant, run, workspaces.as_deref()).await?;
    if open.kind != "orchestrated" {
        return Err(no_orchestrator(run));
    }
    let is_final =
        open.is_closed || matches!(open.state.as_str(), "completed" | "failed" | "cancelled");
    let why = format!("the run is {}", open.state);
    let payload = body.payload.unwrap_or_else(JsonObject::empty);
    let id = ActivationId::new();
    let asked = Wake::new(&body.event_type, &body.reason, serde_json::json!({}));
    let asked = store::Asked {
        id,
        request_id: body.request_id.as_deref(),
        event_type: &body.event_type,
        reason: &body.reason,
        payload: payload.text(),
        delay_seconds: asked.delay_seconds(),
        ignored: is_final.then_some(why.as_str()),
    };
    store::insert(write.conn(), tenant, run, &asked).await?;
    if !is_final {
        let data = serde_json::json!({ "activation_id": id, "event_type": body.event_type });
        let told = event(run, "workflow.activation_queued", data);
        tell(write.tx(), tenant, &[(run, told)]).await?;
        step_in(write.tx(), tenant, run).await?;
        advance(write.tx(), tenant, run).await?;
        write.tx().note(crate::db::Note::DueSooner {
            name: "dispatch_activations".to_owned(),
        });
        workflows::derive(write.tx(), tenant, run).await?;
        queue::settle(write.tx()).await?;
    }
    store::find(write.conn(), tenant, run, id).await
}

/// The refusal of what needs an orchestrator.
pub(crate) fn no_orchestrator(run: WorkflowId) -> Error {
    Refused::new(
        ErrorCode::Conflict,
        format!("workflow {run} follows a graph and has no orchestrator"),
    )
    .reason(ReasonCode::StateChanged)
    .hint("only runs of playbooks of the kind orchestrated have one")
    .into()
}

/// Lists what has woken the orchestrator of a run, or will, newest first.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/activations", params(PageQuery),
               responses((status = 200, body = Page<Activation>)))]
async fn list_activations(
    State(app): State<App>,
    caller: Caller,
    Path(run): Path<WorkflowId>,
    Query(page): Query<PageQuery>,
) -> Result<Reply<Page<Activation>>, Error> {
    page.check()?;
    let mut db = app.db.reader().await?;
    let tenant = caller.tenant();
    let workspaces = caller.workspace_filter();
    workflows::must_reach(&mut db, tenant, run, workspaces.as_deref()).await?;
    let filter = ActivationFilter {
        id: None,
        limit: page.per_page(),
        offset: page.offset(),
    };
    let found = store::list(&mut db, tenant, run, filter).await?;
    let total = store::event_count(&mut db, tenant, run).await?;
    Reply::page(found, total, page)
}

/// Reads an activation; the first one of those that are told together with all that they tell.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/activations/{activation_id}",
               responses((status = 200, body = Envelope<Activation>)))]
async fn get_activation(
    State(app): State<App>,
    caller: Caller,
    Path((run, id)): Path<(WorkflowId, ActivationId)>,
) -> Result<Reply<Activation>, Error> {
    let mut db = app.db.reader().await?;
    let tenant = caller.tenant();
    let workspaces = caller.workspace_filter();
    workflows::must_reach(&mut db, tenant, run, workspaces.as_deref()).await?;
    Reply::ok(store::find(&mut db, tenant, run, id).await?)
}
