//! Whether the platform lives, whether it can work, its numbers, and its own description.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use protocol::{Envelope, Health, JsonObject, LoopReport, Readiness, Scope};
use utoipa_axum::routes;

use super::{counters, fleet, readiness};
use crate::app::App;
use crate::error::Error;
use crate::http::{Access, Caller, Reply, Routes};

/// How the platform itself is doing.
pub fn routes() -> Routes {
    Routes::new("system")
        .route(Access::Public, routes!(get_health))
        .route(Access::Public, routes!(get_readiness))
        .route(Access::AtLeast(Scope::Admin), routes!(get_metrics))
        .route(Access::AtLeast(Scope::Admin), routes!(list_loops))
        .route(Access::Public, routes!(get_openapi))
}

/// Says that the process answers. Nothing else is looked at.
#[utoipa::path(get, path = "/health", responses((status = 200, body = Health)))]
async fn get_health() -> axum::Json<Health> {
    axum::Json(Health {
        status: "ok".to_owned(),
    })
}

/// Says whether requests can be served: the database answers, and is migrated.
#[utoipa::path(get, path = "/ready", responses((status = 200, body = Readiness),
               (status = 503, description = "Not now", body = Readiness)))]
async fn get_readiness(State(app): State<App>) -> (StatusCode, axum::Json<Readiness>) {
    let readiness = readiness::look(&app).await;
    let status = if readiness.status == "ready" {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, axum::Json(readiness))
}

/// Shows the numbers of this replica, and of the fleet of the key's tenant, for Prometheus.
#[utoipa::path(get, path = "/metrics",
               responses((status = 200, body = String, content_type = "text/plain; version=0.0.4; charset=utf-8")))]
async fn get_metrics(State(app): State<App>, caller: Caller) -> Result<Response, Error> {
    let mut text = counters::render();
    text.push_str(&fleet::render(&app, caller.tenant()).await?);
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    Ok((kind, text).into_response())
}

/// Lists the background loops of this replica, and how each is doing.
#[utoipa::path(get, path = "/api/v1/system/loops",
               responses((status = 200, body = Envelope<Vec<LoopReport>>)))]
async fn list_loops(State(app): State<App>) -> Result<Reply<Vec<LoopReport>>, Error> {
    Reply::ok(app.loops.reports())
}

/// Describes every operation, in the format OpenAPI 3.1.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, body = JsonObject)))]
async fn get_openapi() -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, super::docs::description()).into_response()
}
