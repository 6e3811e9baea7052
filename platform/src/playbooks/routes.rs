//! Who may list, make, change, publish, compare and delete playbooks.

use axum::extract::State;
use http::StatusCode;
use protocol::{
    ArchivePlaybook, Bare, CreatePlaybook, DeletedPlaybookFamily, Envelope, Lifecycle, Page,
    Playbook, PlaybookComparison, PlaybookDeleteImpact, PlaybookId, PlaybookStatus,
    PlaybookValidation, PublishPlaybook, Scope, UpdatePlaybook, ValidatePlaybook,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::change::LeftOut;
use super::definition::Definition;
use super::no_such_playbook;
use super::store::{self, Filter};
use crate::app::App;
use crate::error::Error;
use crate::http::{Access, Caller, Command, PageQuery, Path, Query, Reply, Routes, check_length};

/// The routes of this domain.
pub fn routes() -> Routes {
    let (read, write) = (Access::AtLeast(Scope::Agent), Access::AtLeast(Scope::Admin));
    Routes::new("playbooks")
        .route(write, routes!(create_playbook))
        .route(read, routes!(list_playbooks))
        .route(write, routes!(validate_playbook))
        .route(read, routes!(get_playbook))
        .route(write, routes!(update_playbook))
        .route(write, routes!(replace_playbook))
        .route(read, routes!(list_playbook_versions))
        .route(read, routes!(compare_playbooks))
        .route(write, routes!(publish_playbook))
        .route(write, routes!(archive_playbook))
        .route(write, routes!(get_playbook_delete_impact))
        .route(write, routes!(delete_playbook))
        .route(write, routes!(delete_playbook_family))
}

/// Makes a playbook, and publishes it unless it is to be a draft.
#[utoipa::path(post, path = "/api/v1/playbooks", request_body = CreatePlaybook,
               responses((status = 201, body = Envelope<Playbook>)))]
async fn create_playbook(
    State(app): State<App>,
    command: Command<CreatePlaybook>,
) -> Result<Reply<Playbook>, Error> {
    let (mut write, wanted) = command.begin(&app).await?;
    let made = super::change::create_playbook(&mut write, wanted).await?;
    write.commit(StatusCode::CREATED, made).await
}

/// Which versions to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct PlaybookQuery {
    /// Only those with this in their name or slug.
    #[param(max_length = 255)]
    q: Option<String>,
    /// Only the versions of this playbook.
    slug: Option<String>,
    /// Only those in this state.
    status: Option<PlaybookStatus>,
    /// Only those that runs are launched from, or only the others.
    is_active: Option<bool>,
    /// The number of the page; 1 unless given.
    #[param(minimum = 1, maximum = 100_000)]
    page: Option<i64>,
    /// How many things a page has, 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    per_page: Option<i64>,
}

/// Lists versions of playbooks: active ones first, then the latest changed.
#[utoipa::path(get, path = "/api/v1/playbooks", params(PlaybookQuery), responses((status = 200, body = Page<Playbook>)))]
async fn list_playbooks(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<PlaybookQuery>,
) -> Result<Reply<Page<Playbook>>, Error> {
    let page = PageQuery::of(query.page, query.per_page)?;
    if let Some(q) = &query.q {
        check_length("q", q, 0..=255)?;
    }
    let filter = Filter {
        q: query.q.filter(|q| !q.trim().is_empty()),
        slug: query.slug,
        status: query.status.map(PlaybookStatus::as_str),
        is_active: query.is_active,
    };
    let mut db = app.db.reader().await?;
    let (playbooks, total) = store::list(&mut db, caller.tenant(), &filter, page).await?;
    Reply::page(playbooks, total, page)
}

/// Looks for every mistake in a definition. Nothing is stored.
#[utoipa::path(post, path = "/api/v1/playbooks/validate", request_body = ValidatePlaybook,
               responses((status = 200, body = Envelope<PlaybookValidation>)))]
async fn validate_playbook(
    State(app): State<App>,
    command: Command<ValidatePlaybook>,
) -> Result<Reply<PlaybookValidation>, Error> {
    let (write, wanted) = command.begin(&app).await?;
    let lifecycle = wanted.lifecycle.unwrap_or(Lifecycle::Planned);
    let mistakes = Definition::parse(&wanted.definition, lifecycle).err();
    let mistakes = mistakes.unwrap_or_default();
    let valid = mistakes.is_empty();
    let told = PlaybookValidation { valid, mistakes };
    write.commit(StatusCode::OK, told).await
}

/// Reads a version of a playbook.
#[utoipa::path(get, path = "/api/v1/playbooks/{playbook_id}", responses((status = 200, body = Envelope<Playbook>)))]
async fn get_playbook(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<PlaybookId>,
) -> Result<Reply<Playbook>, Error> {
    let mut db = app.db.reader().await?;
    let found = store::read(&mut db, caller.tenant(), id).await?;
    Reply::ok(found.ok_or_else(|| no_such_playbook(id))?)
}

/// Changes single fields: a draft is edited in place, of anything else the next version is made.
#[utoipa::path(patch, path = "/api/v1/playbooks/{playbook_id}", request_body = UpdatePlaybook,
               responses((status = 200, body = Envelope<Playbook>)))]
async fn update_playbook(
    State(app): State<App>,
    Path(id): Path<PlaybookId>,
    command: Command<UpdatePlaybook>,
) -> Result<Reply<Playbook>, Error> {
    let (mut write, wanted) = command.begin(&app).await?;
    let made = super::change::update_playbook(&mut write, id, wanted, LeftOut::Stays).await?;
    write.commit(StatusCode::OK, made).await
}

/// Changes the whole: a draft is edited in place, of anything else the next version is made.
#[utoipa::path(put, path = "/api/v1/playbooks/{playbook_id}", request_body = UpdatePlaybook,
               responses((status = 200, body = Envelope<Playbook>)))]
async fn replace_playbook(
    State(app): State<App>,
    Path(id): Path<PlaybookId>,
    command: Command<UpdatePlaybook>,
) -> Result<Reply<Playbook>, Error> {
    let (mut write, wanted) = command.begin(&app).await?;
    let made = super::change::update_playbook(&mut write, id, wanted, LeftOut::MustBeGiven).await?;
    write.commit(StatusCode::OK, made).await
}

/// Lists the versions of the playbook that this one belongs to, newest first.
#[utoipa::path(get, path = "/api/v1/playbooks/{playbook_id}/versions", params(PageQuery),
               responses((status = 200, body = Page<Playbook>)))]
async fn list_playbook_versions(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<PlaybookId>,
    Query(page): Query<PageQuery>,
) -> Result<Reply<Page<Playbook>>, Error> {
    page.check()?;
    let tenant = caller.tenant();
    let mut db = app.db.reader().await?;
    let found = store::read(&mut db, tenant, id).await?;
    let slug = found.ok_or_else(|| no_such_playbook(id))?.slug;
    let (versions, total) = store::versions(&mut db, tenant, &slug, page).await?;
    Reply::page(versions, total, page)
}

/// What to compare with.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct CompareQuery {
    /// The other version; the newest one of the same playbook unless given.
    with: Option<PlaybookId>,
}

/// Tells what is different in another version: where, what it was, what it is.
#[utoipa::path(get, path = "/api/v1/playbooks/{playbook_id}/compare", params(CompareQuery),
               responses((status = 200, body = Envelope<PlaybookComparison>)))]
async fn compare_playbooks(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<PlaybookId>,
    Query(query): Query<CompareQuery>,
) -> Result<Reply<PlaybookComparison>, Error> {
    let mut db = app.db.reader().await?;
    let from = store::read(&mut db, caller.tenant(), id).await?;
    let from = from.ok_or_else(|| no_such_playbook(id))?;
    let to = match query.with {
        Some(with) => {
            let to = store::read(&mut db, caller.tenant(), with).await?;
            to.ok_or_else(|| no_such_playbook(with))?
        }
        None => {
            let newest = PageQuery::of(None, Some(1))?;
            let (newest, _) = store::versions(&mut db, caller.tenant(), &from.slug, newest).await?;
            let newest = newest.into_iter().next();
            newest.ok_or_else(|| no_such_playbook(id))?
        }
    };
    Reply::ok(super::compare::compare(&from, &to)?)
}

/// Publishes a draft: from then on it never changes, and runs are launched from it.
#[utoipa::path(post, path = "/api/v1/playbooks/{playbook_id}/publish", request_body = PublishPlaybook,
               responses((status = 200, body = Envelope<Playbook>)))]
async fn publish_playbook(
    State(app): State<App>,
    Path(id): Path<PlaybookId>,
    command: Command<PublishPlaybook>,
) -> Result<Reply<Playbook>, Error> {
    let (mut write, wanted) = command.begin(&app).await?;
    if let Some(changelog) = &wanted.changelog {
        check_length("changelog", changelog, 0..=4000)?;
    }
    let published = super::publish::publish_playbook(&mut write, id, wanted).await?;
    write.commit(StatusCode::OK, published).await
}

/// Archives every version of the playbook, or makes this version the one that runs are launched from.
#[utoipa::path(patch, path = "/api/v1/playbooks/{playbook_id}/archive", request_body = ArchivePlaybook,
               responses((status = 200, body = Envelope<Playbook>)))]
async fn archive_playbook(
    State(app): State<App>,
    Path(id): Path<PlaybookId>,
    command: Command<ArchivePlaybook>,
) -> Result<Reply<Playbook>, Error> {
    let (mut write, wanted) = command.begin(&app).await?;
    let changed = super::archive::archive_playbook(&mut write, id, wanted.archived).await?;
    write.commit(StatusCode::OK, changed).await
}

/// Tells what hangs on this version and on all versions of the playbook.
#[utoipa::path(get, path = "/api/v1/playbooks/{playbook_id}/delete-impact",
               responses((status = 200, body = Envelope<PlaybookDeleteImpact>)))]
async fn get_playbook_delete_impact(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<PlaybookId>,
) -> Result<Reply<PlaybookDeleteImpact>, Error> {
    let mut db = app.db.reader().await?;
    let impact = store::delete_impact(&mut db, caller.tenant(), id).await?;
    Reply::ok(impact.ok_or_else(|| no_such_playbook(id))?)
}

/// Deletes this version, unless a run refers to it.
#[utoipa::path(delete, path = "/api/v1/playbooks/{playbook_id}", request_body = Bare,
               responses((status = 204, description = "Deleted")))]
async fn delete_playbook(
    State(app): State<App>,
    Path(id): Path<PlaybookId>,
    command: Command<Bare>,
) -> Result<Reply<()>, Error> {
    let (mut write, _) = command.begin(&app).await?;
    super::delete::delete_playbook(&mut write, id).await?;
    write.commit_empty().await
}

/// Deletes all versions of this playbook, with their runs. None of these may go on any more.
#[utoipa::path(delete, path = "/api/v1/playbooks/{playbook_id}/permanent", request_body = Bare,
               responses((status = 200, body = Envelope<DeletedPlaybookFamily>)))]
async fn delete_playbook_family(
    State(app): State<App>,
    Path(id): Path<PlaybookId>,
    command: Command<Bare>,
) -> Result<Reply<DeletedPlaybookFamily>, Error> {
    let (mut write, _) = command.begin(&app).await?;
    let deleted = super::delete::delete_playbook_family(&mut write, id).await?;
    write.commit(StatusCode::OK, deleted).await
}
