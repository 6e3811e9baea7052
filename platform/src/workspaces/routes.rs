//! Who may list, make, change and delete workspaces, and make them remember.

use axum::extract::State;
use http::StatusCode;
use protocol::{
    Bare, CreateWorkspace, Envelope, Page, RememberInWorkspace, Scope, UpdateWorkspace, Workspace,
    WorkspaceDeleteImpact, WorkspaceId,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::store::{self, Filter};
use super::{must_be_visible, no_such_workspace};
use crate::app::App;
use crate::error::Error;
use crate::http::{Access, Caller, Command, PageQuery, Path, Query, Reply, Routes, check_length};

/// The routes of this domain.
pub fn routes() -> Routes {
    Routes::new("workspaces")
        .route(Access::AtLeast(Scope::Admin), routes!(create_workspace))
        .route(Access::AtLeast(Scope::Agent), routes!(list_workspaces))
        .route(Access::AtLeast(Scope::Agent), routes!(get_workspace))
        .route(Access::AtLeast(Scope::Admin), routes!(update_workspace))
        .route(Access::AtLeast(Scope::Admin), routes!(delete_workspace))
        .route(
            Access::AtLeast(Scope::Admin),
            routes!(get_workspace_delete_impact),
        )
        .route(
            Access::Only(&[Scope::Agent, Scope::Admin, Scope::Service]),
            routes!(remember_in_workspace),
        )
        .route(
            Access::Only(&[Scope::Agent, Scope::Admin, Scope::Service]),
            routes!(forget_in_workspace),
        )
}

/// Makes a workspace.
#[utoipa::path(post, path = "/api/v1/workspaces", request_body = CreateWorkspace,
               responses((status = 201, body = Envelope<Workspace>)))]
async fn create_workspace(
    State(app): State<App>,
    command: Command<CreateWorkspace>,
) -> Result<Reply<Workspace>, Error> {
    let (mut write, wanted) = command.begin(&app).await?;
    let made = super::change::create_workspace(&app, &mut write, &wanted).await?;
    write.commit(StatusCode::CREATED, made).await
}

/// Which workspaces to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct WorkspaceQuery {
    /// Only those with this in their name or slug.
    #[param(max_length = 255)]
    q: Option<String>,
    /// Only those that are active, or those that are not.
    is_active: Option<bool>,
    /// The number of the page; 1 unless given.
    #[param(minimum = 1, maximum = 100_000)]
    page: Option<i64>,
    /// How many things a page has, 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    per_page: Option<i64>,
}

/// Lists workspaces, newest first, without what they remember.
#[utoipa::path(get, path = "/api/v1/workspaces", params(WorkspaceQuery), responses((status = 200, body = Page<Workspace>)))]
async fn list_workspaces(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<WorkspaceQuery>,
) -> Result<Reply<Page<Workspace>>, Error> {
    let page = PageQuery::of(query.page, query.per_page)?;
    if let Some(q) = &query.q {
        check_length("q", q, 0..=255)?;
    }
    let filter = Filter {
        q: query.q.filter(|q| !q.trim().is_empty()),
        is_active: query.is_active,
        visible: caller.workspace_filter(),
    };
    let mut db = app.db.reader().await?;
    let (workspaces, total) = store::list(&mut db, caller.tenant(), &filter, page).await?;
    Reply::page(workspaces, total, page)
}

/// Reads a workspace with what it remembers.
#[utoipa::path(get, path = "/api/v1/workspaces/{workspace_id}", responses((status = 200, body = Envelope<Workspace>)))]
async fn get_workspace(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkspaceId>,
) -> Result<Reply<Workspace>, Error> {
    must_be_visible(&caller, id)?;
    let mut db = app.db.reader().await?;
    let found = store::read(&mut db, caller.tenant(), id).await?;
    Reply::ok(found.ok_or_else(|| no_such_workspace(id))?)
}

/// Changes a workspace. Settings are merged member by member.
#[utoipa::path(patch, path = "/api/v1/workspaces/{workspace_id}", request_body = UpdateWorkspace,
               responses((status = 200, body = Envelope<Workspace>)))]
async fn update_workspace(
    State(app): State<App>,
    Path(id): Path<WorkspaceId>,
    command: Command<UpdateWorkspace>,
) -> Result<Reply<Workspace>, Error> {
    let (mut write, wanted) = command.begin(&app).await?;
    let changed = super::change::update_workspace(&app, &mut write, id, &wanted).await?;
    write.commit(StatusCode::OK, changed).await
}

/// How to delete a workspace.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct DeleteQuery {
    /// Also deletes its runs and tasks; those that go on are called off.
    cascade: Option<bool>,
}

/// Deletes a workspace. Without `cascade` it must have no runs and no tasks.
#[utoipa::path(delete, path = "/api/v1/workspaces/{workspace_id}", params(DeleteQuery), request_body = Bare,
               responses((status = 204, description = "Deleted")))]
async fn delete_workspace(
    State(app): State<App>,
    Path(id): Path<WorkspaceId>,
    Query(query): Query<DeleteQuery>,
    command: Command<Bare>,
) -> Result<Reply<()>, Error> {
    let (mut write, _) = command.begin(&app).await?;
    let cascade = query.cascade.unwrap_or(false);
    super::delete::delete_workspace(&mut write, id, cascade).await?;
    write.commit_empty().await
}

/// Tells what hangs on a workspace.
#[utoipa::path(get, path = "/api/v1/workspaces/{workspace_id}/delete-impact",
               responses((status = 200, body = Envelope<WorkspaceDeleteImpact>)))]
async fn get_workspace_delete_impact(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkspaceId>,
) -> Result<Reply<WorkspaceDeleteImpact>, Error> {
    must_be_visible(&caller, id)?;
    let mut db = app.db.reader().await?;
    let found = store::read(&mut db, caller.tenant(), id).await?;
    found.ok_or_else(|| no_such_workspace(id))?;
    Reply::ok(store::delete_impact(&mut db, caller.tenant(), id).await?)
}

/// Makes a workspace remember a value under a key, in place of what was there.
#[utoipa::path(patch, path = "/api/v1/workspaces/{workspace_id}/memory", request_body = RememberInWorkspace,
               responses((status = 200, body = Envelope<Workspace>)))]
async fn remember_in_workspace(
    State(app): State<App>,
    Path(id): Path<WorkspaceId>,
    command: Command<RememberInWorkspace>,
) -> Result<Reply<Workspace>, Error> {
    let (mut write, wanted) = command.begin(&app).await?;
    let changed = super::memory::remember(&mut write, id, &wanted).await?;
    write.commit(StatusCode::OK, changed).await
}

/// Makes a workspace forget the value under a key.
#[utoipa::path(delete, path = "/api/v1/workspaces/{workspace_id}/memory/{memory_key}", request_body = Bare,
               responses((status = 200, body = Envelope<Workspace>)))]
async fn forget_in_workspace(
    State(app): State<App>,
    Path((id, key)): Path<(WorkspaceId, String)>,
    command: Command<Bare>,
) -> Result<Reply<Workspace>, Error> {
    let (mut write, _) = command.begin(&app).await?;
    let changed = super::memory::forget(&mut write, id, &key).await?;
    write.commit(StatusCode::OK, changed).await
}
