//! The routes of the inbox.

use axum::extract::State;
use http::StatusCode;
use protocol::Scope::{Admin, Agent};
use protocol::{Approval, ApprovalDecided, ApprovalKind, DecideApproval, Envelope, Page};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{decide, show, store, tasks};
use crate::app::App;
use crate::error::Error;
use crate::http::Access::AtLeast;
use crate::http::{Caller, Command, PageQuery, Path, Query, Reply, Routes};

/// Who may call what.
pub fn routes() -> Routes {
    Routes::new("approvals")
        .route(AtLeast(Agent), routes!(list_approvals))
        .route(AtLeast(Agent), routes!(get_approval))
        .route(AtLeast(Admin), routes!(decide_approval))
}

/// Which approvals a list shows.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ApprovalQuery {
    /// Only those where this has to be decided.
    kind: Option<ApprovalKind>,
    /// Only those in this workspace.
    workspace_id: Option<Uuid>,
    /// Only those of this workflow.
    workflow_id: Option<Uuid>,
    /// The number of the page; 1 unless given.
    #[param(minimum = 1)]
    page: Option<i64>,
    /// How many a page has, 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    per_page: Option<i64>,
}

/// Lists what waits for a person: tasks, outputs, calls for help, steps that ask, gates of stages. The
/// oldest comes first.
#[utoipa::path(get, path = "/api/v1/approvals", params(ApprovalQuery), responses((status = 200, body = Page<Approval>)))]
async fn list_approvals(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ApprovalQuery>,
) -> Result<Reply<Page<Approval>>, Error> {
    let page = PageQuery::of(query.page, query.per_page)?;
    let states = tasks::states_of(query.kind);
    let wanted = store::Wanted {
        task_states: &states,
        with_steps: query
            .kind
            .is_none_or(|kind| kind == ApprovalKind::StepApproval),
        with_gates: query
            .kind
            .is_none_or(|kind| kind == ApprovalKind::StageGate),
        reachable: caller.workspace_filter(),
        workspace: query.workspace_id,
        workflow: query.workflow_id,
        limit: page.per_page(),
        offset: page.offset(),
    };
    let mut db = app.db.reader().await?;
    let (found, total) = store::waiting(&mut db, caller.tenant(), &wanted).await?;
    let approvals = show::approvals(&mut db, caller.tenant(), &found).await?;
    Reply::page(approvals, total, page)
}

/// Reads something that waits for a person.
#[utoipa::path(get, path = "/api/v1/approvals/{approval_id}", responses((status = 200, body = Envelope<Approval>)))]
async fn get_approval(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Reply<Approval>, Error> {
    let mut db = app.db.reader().await?;
    let workspaces = caller.workspace_filter();
    Reply::ok(show::approval(&mut db, caller.tenant(), id, workspaces.as_deref()).await?)
}

/// Decides about something that waits for a person.
#[utoipa::path(post, path = "/api/v1/approvals/{approval_id}", request_body = DecideApproval,
               responses((status = 200, body = Envelope<ApprovalDecided>)))]
async fn decide_approval(
    State(app): State<App>,
    Path(id): Path<Uuid>,
    command: Command<DecideApproval>,
) -> Result<Reply<ApprovalDecided>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let decided = decide::decide_approval(&mut write, id, body).await?;
    write.commit(StatusCode::OK, decided).await
}
