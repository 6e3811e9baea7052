//! A playbook says what a run does. Every version of it is a row with an id of its own.
//!
//! ```text
//! draft ──publish──► published, active ──a newer one is published──► published
//!   ▲ edited in place        │  ▲                                        │
//!   └────────────────────────┼──┼── a change makes the next version ─────┘
//!                     archive▼  │restore
//!                           archived
//! ```
//!
//! What was published never changes, so a run that names a version is frozen to it. Runs are launched from
//! the active version; there is one at most.

mod archive;
mod change;
mod compare;
mod definition;
mod delete;
mod parameters;
mod publish;
mod routes;
mod store;

pub use definition::{Board, Column, Definition, Limits, Orchestration, Plan, Stage};
pub use parameters::{Parameter, ParameterFault, Parameters, check_parameters};
pub use routes::routes;

use protocol::{EntityType, JsonObject, Mistake, Playbook, PlaybookId};
use serde_json::json;

use crate::db::{Note, Tx};
use crate::error::{Error, Refused};
use crate::events::{self, NewEvent};
use crate::http::Caller;

fn no_such_playbook(id: PlaybookId) -> Error {
    Error::not_found("playbook", id)
}

/// Refuses changes by a key that is restricted to workspaces: a playbook is the whole tenant's.
///
/// # Errors
/// 403 `outside_workspaces`.
fn must_reach_all(caller: &Caller) -> Result<(), Error> {
    if caller.identity().workspaces.is_empty() {
        return Ok(());
    }
    Err(Error::forbidden(
        protocol::ReasonCode::OutsideWorkspaces,
        "playbooks belong to every workspace, and this key is restricted to some; use another key",
    ))
}

/// 422 that names every mistake of a definition.
fn bad_definition(mistakes: &[Mistake]) -> Error {
    let Some(first) = mistakes.first() else {
        return Error::field("definition", "does not fit");
    };
    let others = match mistakes.len() - 1 {
        0 => String::new(),
        1 => " (and one more mistake)".to_owned(),
        more => format!(" (and {more} more mistakes)"),
    };
    let message = format!(
        "the definition cannot be used: {}: {}{others}",
        first.path, first.message
    );
    let mut refused = Refused::new(protocol::ErrorCode::SchemaValidationFailed, message);
    for mistake in mistakes {
        let text = format!("{}; {}", mistake.message, mistake.hint);
        refused = refused.issue(mistake.path.clone(), text);
    }
    refused
        .hint("correct every field that details.issues names; POST /api/v1/playbooks/validate checks without storing")
        .into()
}

/// Tells of something that happened to a version, in the transaction that makes it happen.
async fn tell(
    tx: &mut Tx,
    caller: &Caller,
    event_type: &'static str,
    playbook: &Playbook,
) -> Result<(), Error> {
    let data = json!({
        "slug": playbook.slug,
        "version": playbook.version,
        "status": playbook.status,
        "is_active": playbook.is_active,
    });
    let event = NewEvent {
        event_type,
        entity_type: EntityType::Playbook,
        entity: playbook.id.uuid(),
        actor_type: caller.scope().as_str(),
        actor: Some(caller.actor()),
        data: JsonObject::from(data.as_object().cloned().unwrap_or_default()),
    };
    events::append(tx.conn(), caller.tenant(), &[event]).await?;
    tx.note(Note::EventsAppended);
    Ok(())
}
