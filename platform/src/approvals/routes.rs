//! The routes of the inbox.

use axum::extract::State;
use http::StatusCode;
use protocol::Scope::{Admin, Agent};
use protocol::{Approval, ApprovalDecided, ApprovalKind, DecideApproval, Envelope, Page, TaskId};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;
use uuid::Uuid;

use super::decide;
use crate::app::App;
use crate::error::Error;
use crate::http::Access::AtLeast;
use crate::http::{Caller, Command, PageQuery, Path, Query, Reply, Routes};
use crate::tasks;

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
    /// Only those of this workflow.
    workflow_id: Option<Uuid>,
    /// The number of the page; 1 unless given.
    #[param(minimum = 1)]
    page: Option<i64>,
    /// How many a page has, 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    per_page: Option<i64>,
}

/// Lists what waits for a person, the oldest first.
#[utoipa::path(get, path = "/api/v1/approvals", params(ApprovalQuery), responses((status = 200, body = Page<Approval>)))]
async fn list_approvals(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ApprovalQuery>,
) -> Result<Reply<Page<Approval>>, Error> {
    let page = PageQuery::of(query.page, query.per_page)?;
    let states: Vec<&str> = decide::STATES
        .iter()
        .filter(|(kind, _)| query.kind.is_none_or(|wanted| wanted == *kind))
        .map(|(_, state)| state.as_str())
        .collect();
    let mut db = app.db.reader().await?;
    let wanted = tasks::Waiting {
        states: &states,
        workspaces: caller.workspace_filter(),
        workflow: query.workflow_id,
        limit: page.per_page(),
        offset: page.offset(),
    };
    let (tasks, total) = tasks::waiting_for_people(&mut db, caller.tenant(), &wanted).await?;
    // One that was decided in this moment is not shown.
    let approvals = tasks
        .into_iter()
        .filter_map(|task| decide::approval_of(task).ok());
    Reply::page(approvals.collect(), total, page)
}

/// Reads something that waits for a person.
#[utoipa::path(get, path = "/api/v1/approvals/{approval_id}", responses((status = 200, body = Envelope<Approval>)))]
async fn get_approval(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<TaskId>,
) -> Result<Reply<Approval>, Error> {
    let mut db = app.db.reader().await?;
    let workspaces = caller.workspace_filter();
    let task = tasks::record(&mut db, caller.tenant(), id, workspaces.as_deref()).await?;
    Reply::ok(decide::approval_of(task)?)
}

/// Decides about something that waits for a person.
#[utoipa::path(post, path = "/api/v1/approvals/{approval_id}", request_body = DecideApproval,
               responses((status = 200, body = Envelope<ApprovalDecided>)))]
async fn decide_approval(
    State(app): State<App>,
    Path(id): Path<TaskId>,
    command: Command<DecideApproval>,
) -> Result<Reply<ApprovalDecided>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let decided = decide::decide_approval(&mut write, id, body).await?;
    write.commit(StatusCode::OK, decided).await
}
