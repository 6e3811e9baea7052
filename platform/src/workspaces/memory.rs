//! What a workspace remembers: values under keys, limited as a whole.

use protocol::{ErrorCode, ReasonCode, RememberInWorkspace, TenantId, Workspace, WorkspaceId};
use serde_json::{Map, Value, json};
use sqlx::PgConnection;

use super::{MEMORY_BYTES_MAX, must_be_visible, no_such_workspace, store, tell};
use crate::error::{Error, Refused};
use crate::http::{Write, check_length, refuse_secrets};

/// Characters of a key.
const KEY_CHARS_MAX: usize = 255;

/// Remembers a value under a key, in place of what was there.
///
/// # Errors
/// 404; 409 `limit_reached` when the memory is full; 422 for a bad key; 400 for a plain secret.
pub(crate) async fn remember(
    write: &mut Write,
    id: WorkspaceId,
    wanted: &RememberInWorkspace,
) -> Result<Workspace, Error> {
    let caller = write.caller().clone();
    must_be_visible(&caller, id)?;
    check_key(&wanted.key)?;
    let text = wanted.value.text();
    let entry = Map::from_iter([(wanted.key.clone(), wanted.value.value())]);
    refuse_secrets("memory", &Value::Object(entry))?;
    // Locked, so that two that remember at once do not both find room for themselves.
    let found = store::lock(write.conn(), caller.tenant(), id).await?;
    found.ok_or_else(|| no_such_workspace(id))?;
    let bytes = size_of(&wanted.key, text);
    store::remember(
        write.conn(),
        caller.tenant(),
        id,
        &[(&wanted.key, text, bytes)],
    )
    .await?;
    check_room(write.conn(), caller.tenant(), id).await?;
    let data = json!({ "key": wanted.key, "size_bytes": bytes });
    tell(write.tx(), &caller, "workspace.memory_updated", id, data).await?;
    let changed = store::read(write.conn(), caller.tenant(), id).await?;
    changed.ok_or_else(|| no_such_workspace(id))
}

/// Forgets the value under a key.
///
/// # Errors
/// 404 for the workspace or the key.
pub(crate) async fn forget(
    write: &mut Write,
    id: WorkspaceId,
    key: &str,
) -> Result<Workspace, Error> {
    let caller = write.caller().clone();
    must_be_visible(&caller, id)?;
    // Only a path can carry one: bodies with it are refused before they are read.
    if key.contains('\0') {
        return Err(Error::invalid("the key contains the character NUL"));
    }
    let found = store::lock(write.conn(), caller.tenant(), id).await?;
    found.ok_or_else(|| no_such_workspace(id))?;
    if !store::forget(write.conn(), caller.tenant(), id, key).await? {
        let message = format!("workspace {id} remembers nothing under {key:?}");
        let hint = "GET /api/v1/workspaces/{workspace_id} shows what it remembers";
        return Err(Refused::new(ErrorCode::NotFound, message).hint(hint).into());
    }
    let data = json!({ "key": key });
    tell(write.tx(), &caller, "workspace.memory_deleted", id, data).await?;
    let changed = store::read(write.conn(), caller.tenant(), id).await?;
    changed.ok_or_else(|| no_such_workspace(id))
}

/// Remembers what a new workspace begins with.
///
/// # Errors
/// As [`remember`].
pub(super) async fn fill(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkspaceId,
    entries: &Map<String, Value>,
) -> Result<(), Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut texts = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        check_key(key)?;
        texts.push((key.as_str(), value.to_string()));
    }
    refuse_secrets("memory", &Value::Object(entries.clone()))?;
    let rows: Vec<(&str, &str, i32)> = texts
        .iter()
        .map(|(key, text)| (*key, text.as_str(), size_of(key, text)))
        .collect();
    store::remember(db, tenant, id, &rows).await?;
    check_room(db, tenant, id).await
}

fn check_key(key: &str) -> Result<(), Error> {
    check_length("key", key, 1..=KEY_CHARS_MAX)
}

fn size_of(key: &str, value: &str) -> i32 {
    i32::try_from(key.len() + value.len()).unwrap_or(i32::MAX)
}

async fn check_room(db: &mut PgConnection, tenant: TenantId, id: WorkspaceId) -> Result<(), Error> {
    let bytes = store::memory_bytes(db, tenant, id).await?;
    if bytes <= MEMORY_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "the memory of workspace {id} would have {bytes} bytes; {MEMORY_BYTES_MAX} is the most"
    );
    Err(Refused::new(ErrorCode::Conflict, message)
        .reason(ReasonCode::LimitReached)
        .hint("forget something, or keep large things in files")
        .into())
}
