//! What a workspace remembers: values under keys, limited as a whole.

use protocol::{
    ErrorCode, Json, JsonObject, MemoryAction, MemoryChanged, ReasonCode, RememberInWorkspace,
    TenantId, WorkItemId, Workspace, WorkspaceId,
};
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{MEMORY_BYTES_MAX, memory_store, must_be_visible, no_such_workspace, store, tell};
use crate::error::{Error, Refused};
use crate::http::{Write, check_length, refuse_secrets};
use crate::work_items::{self, NewMemoryChange};

/// Values that one request may remember.
const UPDATES_MAX: usize = 100;
/// Characters of a key.
const KEY_CHARS_MAX: usize = 255;
/// Bytes of a value that the history of a work item keeps; of larger ones it keeps the size.
const HISTORY_VALUE_BYTES_MAX: usize = 8 * 1024;

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
    let item = wanted.work_item_id;
    if let Some(item) = item {
        work_items::lock_in_workspace(write.conn(), caller.tenant(), item, id).await?;
    }
    let entries = [(wanted.key.as_str(), text, bytes)];
    memory_store::remember(write.conn(), caller.tenant(), id, &entries, item).await?;
    check_room(write.conn(), caller.tenant(), id).await?;
    if let Some(item) = item {
        let change = NewMemoryChange {
            key: &wanted.key,
            action: MemoryAction::Remembered,
            value: Some(text).filter(|text| text.len() <= HISTORY_VALUE_BYTES_MAX),
            size_bytes: bytes,
        };
        note(write, item.uuid(), change).await?;
    }
    let data = json!({ "key": wanted.key, "size_bytes": bytes, "work_item_id": item });
    tell(write.tx(), &caller, "workspace.memory_updated", id, data).await?;
    let changed = store::read(write.conn(), caller.tenant(), id).await?;
    changed.ok_or_else(|| no_such_workspace(id))
}

/// Values to remember: one by `key` and `value`, or several as `updates`.
pub(crate) struct Updates {
    pub(crate) key: Option<String>,
    pub(crate) value: Option<Json>,
    pub(crate) updates: Option<JsonObject>,
    /// In whose name.
    pub(crate) work_item: Option<WorkItemId>,
}

/// Remembers one value, or several, all of them or none.
///
/// # Errors
/// 400 for none, for both, or for too many; those of [`remember`].
pub(crate) async fn remember_several(
    write: &mut Write,
    id: WorkspaceId,
    wanted: Updates,
) -> Result<MemoryChanged, Error> {
    let mut entries = Vec::new();
    match (wanted.key, wanted.value, wanted.updates) {
        (Some(key), Some(value), None) => entries.push((key, value)),
        (None, None, Some(updates)) => {
            for (key, value) in updates.members() {
                entries.push((key, Json::of(&value)?));
            }
        }
        _ => return Err(Error::invalid("give key and value, or updates")),
    }
    if !(1..=UPDATES_MAX).contains(&entries.len()) {
        let message = format!("must have 1 to {UPDATES_MAX} members");
        return Err(Error::field("updates", message));
    }
    let mut keys = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        keys.push(key.clone());
        let one = RememberInWorkspace {
            key,
            value,
            work_item_id: wanted.work_item,
            request_id: None,
        };
        remember(write, id, &one).await?;
    }
    Ok(MemoryChanged { keys })
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
    let Some(forgotten) = memory_store::forget(write.conn(), caller.tenant(), id, key).await?
    else {
        let message = format!("workspace {id} remembers nothing under {key:?}");
        let hint = "GET /api/v1/workspaces/{workspace_id} shows what it remembers";
        return Err(Refused::new(ErrorCode::NotFound, message).hint(hint).into());
    };
    if let Some(item) = forgotten.work_item_id {
        let change = NewMemoryChange {
            key,
            action: MemoryAction::Forgotten,
            value: None,
            size_bytes: forgotten.size_bytes,
        };
        note(write, item, change).await?;
    }
    let data = json!({ "key": key, "work_item_id": forgotten.work_item_id });
    tell(write.tx(), &caller, "workspace.memory_deleted", id, data).await?;
    let changed = store::read(write.conn(), caller.tenant(), id).await?;
    changed.ok_or_else(|| no_such_workspace(id))
}

/// Notes a change in the history of a work item.
async fn note(write: &mut Write, item: Uuid, change: NewMemoryChange<'_>) -> Result<(), Error> {
    let caller = write.caller();
    let (tenant, actor) = (caller.tenant(), (caller.scope().as_str(), caller.actor()));
    work_items::note_memory_change(write.conn(), tenant, item, actor, change).await
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
    memory_store::remember(db, tenant, id, &rows, None).await?;
    check_room(db, tenant, id).await
}

fn check_key(key: &str) -> Result<(), Error> {
    check_length("key", key, 1..=KEY_CHARS_MAX)
}

fn size_of(key: &str, value: &str) -> i32 {
    i32::try_from(key.len() + value.len()).unwrap_or(i32::MAX)
}

async fn check_room(db: &mut PgConnection, tenant: TenantId, id: WorkspaceId) -> Result<(), Error> {
    let bytes = memory_store::memory_bytes(db, tenant, id).await?;
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
