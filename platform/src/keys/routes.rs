//! Who may list, make, rotate and revoke keys.

use axum::extract::State;
use http::StatusCode;
use protocol::{ApiKey, Bare, CreateKey, Envelope, KeyId, NewKey, RevokedKey, RotateKey, Scope};
use utoipa_axum::routes;

use super::store;
use crate::app::App;
use crate::db::Note;
use crate::error::Error;
use crate::http::{Access, Caller, Command, Path, Reply, Routes};

/// The routes of this domain.
pub fn routes() -> Routes {
    Routes::new("keys")
        .route(Access::AtLeast(Scope::Admin), routes!(list_keys))
        .route(Access::AtLeast(Scope::Admin), routes!(create_key))
        .route(Access::AtLeast(Scope::Admin), routes!(rotate_key))
        .route(Access::AtLeast(Scope::Admin), routes!(revoke_key))
}

/// Lists the tenant's keys without their secrets, newest first, 10000 at most.
///
/// Revoked admin and service keys leave the list after an hour.
#[utoipa::path(get, path = "/api/v1/api-keys", responses((status = 200, body = Envelope<Vec<ApiKey>>)))]
async fn list_keys(State(app): State<App>, caller: Caller) -> Result<Reply<Vec<ApiKey>>, Error> {
    let mut db = app.db.reader().await?;
    Reply::ok(store::list(&mut db, caller.tenant()).await?)
}

/// Makes a key. The answer is the only place where its secret is shown.
#[utoipa::path(post, path = "/api/v1/api-keys", request_body = CreateKey,
               responses((status = 201, body = Envelope<NewKey>)))]
async fn create_key(
    State(app): State<App>,
    command: Command<CreateKey>,
) -> Result<Reply<NewKey>, Error> {
    let (mut write, wanted) = command.begin(&app).await?;
    let caller = write.caller().clone();
    let (id, secret) = super::create::create_key(write.conn(), &caller, &wanted).await?;
    let made = NewKey {
        id,
        api_key: secret.reveal().to_owned(),
        key_prefix: secret.prefix(),
    };
    write.commit_secret(StatusCode::CREATED, made).await
}

/// Replaces a key by a new one with the same rights.
#[utoipa::path(post, path = "/api/v1/api-keys/{key_id}/rotate", request_body = RotateKey,
               responses((status = 201, body = Envelope<NewKey>)))]
async fn rotate_key(
    State(app): State<App>,
    Path(key): Path<KeyId>,
    command: Command<RotateKey>,
) -> Result<Reply<NewKey>, Error> {
    let (mut write, wanted) = command.begin(&app).await?;
    let caller = write.caller().clone();
    let made = super::rotate::rotate_key(write.tx(), &caller, key, &wanted).await?;
    write.commit_secret(StatusCode::CREATED, made).await
}

/// Revokes a key: it is refused from now on, on every replica.
#[utoipa::path(delete, path = "/api/v1/api-keys/{key_id}", request_body = Bare,
               responses((status = 200, body = Envelope<RevokedKey>)))]
async fn revoke_key(
    State(app): State<App>,
    Path(key): Path<KeyId>,
    command: Command<Bare>,
) -> Result<Reply<RevokedKey>, Error> {
    let (mut write, _) = command.begin(&app).await?;
    let caller = write.caller().clone();
    let tenant = caller.tenant();
    let found = store::lock(write.conn(), tenant, key).await?;
    let found = found.ok_or_else(|| Error::not_found("key", key))?;
    super::create::may_end(caller.identity(), &found.workspaces, &found.routing_tags)?;
    store::revoke(write.conn(), tenant, key).await?;
    write.tx().note(Note::KeyChanged { key });
    let revoked = RevokedKey {
        id: key,
        revoked: true,
    };
    write.commit(StatusCode::OK, revoked).await
}
