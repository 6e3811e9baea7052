//! Who may list, make and change tenants: admins of the default tenant.

use axum::extract::State;
use http::StatusCode;
use protocol::{CreateTenant, Envelope, NewTenant, Page, Scope, Tenant, TenantId, UpdateTenant};
use utoipa_axum::routes;

use super::create::{must_be_platform_admin, no_such_tenant};
use super::store;
use crate::app::App;
use crate::error::Error;
use crate::http::{Access, Caller, Command, PageQuery, Path, Query, Reply, Routes};

/// The routes of this domain.
pub fn routes() -> Routes {
    Routes::new("tenants")
        .route(Access::AtLeast(Scope::Admin), routes!(create_tenant))
        .route(Access::AtLeast(Scope::Admin), routes!(list_tenants))
        .route(Access::AtLeast(Scope::Admin), routes!(get_tenant))
        .route(Access::AtLeast(Scope::Admin), routes!(update_tenant))
}

/// Makes a tenant. The answer is the only place where its first admin key is shown.
#[utoipa::path(post, path = "/api/v1/tenants", request_body = CreateTenant,
               responses((status = 201, body = Envelope<NewTenant>)))]
async fn create_tenant(
    State(app): State<App>,
    command: Command<CreateTenant>,
) -> Result<Reply<NewTenant>, Error> {
    must_be_platform_admin(&command.caller)?;
    let (mut write, wanted) = command.begin(&app).await?;
    let made = super::create::create_tenant(write.tx(), &wanted).await?;
    write.commit_secret(StatusCode::CREATED, made).await
}

/// Lists the tenants, newest first.
#[utoipa::path(get, path = "/api/v1/tenants", params(PageQuery), responses((status = 200, body = Page<Tenant>)))]
async fn list_tenants(
    State(app): State<App>,
    caller: Caller,
    Query(page): Query<PageQuery>,
) -> Result<Reply<Page<Tenant>>, Error> {
    must_be_platform_admin(&caller)?;
    page.check()?;
    let mut db = app.db.reader().await?;
    let (tenants, total) = store::list(&mut db, page).await?;
    Reply::page(tenants, total, page)
}

/// Reads a tenant.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant_id}", responses((status = 200, body = Envelope<Tenant>)))]
async fn get_tenant(
    State(app): State<App>,
    caller: Caller,
    Path(tenant): Path<TenantId>,
) -> Result<Reply<Tenant>, Error> {
    must_be_platform_admin(&caller)?;
    let mut db = app.db.reader().await?;
    let found = store::read(&mut db, tenant).await?;
    Reply::ok(found.ok_or_else(|| no_such_tenant(tenant))?)
}

/// Renames a tenant, or switches its keys off and on.
#[utoipa::path(patch, path = "/api/v1/tenants/{tenant_id}", request_body = UpdateTenant,
               responses((status = 200, body = Envelope<Tenant>)))]
async fn update_tenant(
    State(app): State<App>,
    Path(tenant): Path<TenantId>,
    command: Command<UpdateTenant>,
) -> Result<Reply<Tenant>, Error> {
    must_be_platform_admin(&command.caller)?;
    let (mut write, wanted) = command.begin(&app).await?;
    let changed = super::create::update_tenant(write.tx(), tenant, &wanted).await?;
    write.commit(StatusCode::OK, changed).await
}
