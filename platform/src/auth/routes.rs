//! Exchanging a key for a token, and asking who one is.

use axum::extract::State;
use chrono::DateTime;
use protocol::{Envelope, ErrorBody, ErrorCode, ExchangeToken, Identity, Scope, Token};
use utoipa_axum::routes;

use super::{Claims, sign};
use crate::app::App;
use crate::error::{Error, Refused};
use crate::http::{Access, Caller, PublicBody, Reply, Routes};
use crate::keys;

/// The routes of this domain.
pub fn routes() -> Routes {
    Routes::new("auth")
        .route(Access::Public, routes!(exchange_token))
        .route(Access::AtLeast(Scope::Agent), routes!(get_identity))
}

/// Exchanges a key for a token that lasts an hour, or as long as the key if that is shorter.
#[utoipa::path(post, path = "/api/v1/auth/token", request_body = ExchangeToken,
               responses((status = 200, body = Envelope<Token>),
                         (status = 401, description = "No valid key", body = ErrorBody),
                         (status = 429, description = "Too many invalid keys from this address", body = ErrorBody),
                         (status = 503, description = "Not now; see Retry-After", body = ErrorBody)))]
async fn exchange_token(
    State(app): State<App>,
    request: PublicBody<ExchangeToken>,
) -> Result<Reply<Token>, Error> {
    let Some(valid) = keys::look_up(&app, request.body.api_key.trim()).await? else {
        app.rates.count_failure(request.address)?;
        return Err(Refused::new(
            ErrorCode::Unauthorized,
            "the key is unknown, expired or revoked",
        )
        .hint("use a valid key, or ask an admin for one")
        .into());
    };
    let identity = valid.identity;
    app.rates.spend(identity.key, false, 1)?;
    let lasts = f64::from(app.config.auth.token_seconds);
    let seconds = valid.seconds_left.map_or(lasts, |left| left.min(lasts));
    // Whole seconds, rounded down, so that no token outlives its key.
    let exp = valid.now.utc().timestamp() + seconds.floor() as i64;
    let expires_at = DateTime::from_timestamp(exp, 0)
        .ok_or_else(|| anyhow::anyhow!("a token would end beyond all time"))?;
    let claims = Claims {
        key_id: identity.key,
        tenant_id: identity.tenant,
        scope: identity.scope,
        exp: exp.unsigned_abs(),
    };
    Reply::ok(Token {
        token: sign(app.seal.signing_key(), &claims),
        expires_at: expires_at.into(),
        scope: identity.scope,
        tenant_id: identity.tenant,
    })
}

/// Says who the platform takes the caller for.
#[utoipa::path(get, path = "/api/v1/auth/me", responses((status = 200, body = Envelope<Identity>)))]
async fn get_identity(caller: Caller) -> Result<Reply<Identity>, Error> {
    let known = caller.identity();
    Reply::ok(Identity {
        authenticated: true,
        scope: known.scope,
        tenant_id: known.tenant,
        key_id: known.key,
        owner_type: known.owner_type.clone(),
        owner_id: known.owner,
        expires_at: known.expires_at,
        workspace_ids: known.workspaces.clone(),
        routing_tags: known.routing_tags.clone(),
    })
}
