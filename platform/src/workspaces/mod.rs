//! A workspace is a durable place in which runs happen: a repository or folder, settings, and a memory.
//!
//! Its memory is a map from keys to values of JSON, limited as a whole; every key is a row, so that a
//! change costs what it changes. The token for git is sealed, and no answer shows it.
//!
//! A key that is restricted to workspaces sees those alone: to it the others do not exist.

mod change;
mod delete;
mod memory;
mod memory_store;
mod routes;
mod settings;
mod store;
mod task_routes;

pub(crate) use memory::{Updates, forget, remember_several};
pub(crate) use memory_store::entries_of_item;
pub use routes::routes;
pub use task_routes::task_routes;

use protocol::{EntityType, JsonObject, WorkspaceId};
use serde_json::Value;

use crate::db::{Note, Tx};
use crate::error::Error;
use crate::events::{self, NewEvent};
use crate::http::Caller;

/// What one workspace can remember, keys and values together: what one request could carry.
pub const MEMORY_BYTES_MAX: i64 = 1 << 20;

/// 404 for a workspace that does not exist, or not for this key.
///
/// # Errors
/// 404.
fn must_be_visible(caller: &Caller, workspace: WorkspaceId) -> Result<(), Error> {
    let allowed = &caller.identity().workspaces;
    if allowed.is_empty() || allowed.contains(&workspace) {
        return Ok(());
    }
    Err(no_such_workspace(workspace))
}

fn no_such_workspace(workspace: WorkspaceId) -> Error {
    Error::not_found("workspace", workspace)
}

/// Tells of something that happened to a workspace, in the transaction that makes it happen.
async fn tell(
    tx: &mut Tx,
    caller: &Caller,
    event_type: &'static str,
    workspace: WorkspaceId,
    data: Value,
) -> Result<(), Error> {
    let event = NewEvent {
        event_type,
        entity_type: EntityType::Workspace,
        entity: workspace.uuid(),
        actor_type: caller.scope().as_str(),
        actor: Some(caller.actor()),
        data: JsonObject::from(data.as_object().cloned().unwrap_or_default()),
    };
    events::append(tx.conn(), caller.tenant(), &[event]).await?;
    tx.note(Note::EventsAppended);
    Ok(())
}
