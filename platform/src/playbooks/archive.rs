//! Putting a playbook aside, and bringing a version of it back.

use protocol::{ErrorCode, Playbook, PlaybookId, PlaybookStatus};

use super::{must_reach_all, no_such_playbook, store, tell};
use crate::error::{Error, Refused};
use crate::http::Write;

/// Archives every published version of a playbook, or makes this one the version that runs are launched from.
///
/// # Errors
/// 404; 409 for restoring a draft.
pub(super) async fn archive_playbook(
    write: &mut Write,
    id: PlaybookId,
    archived: bool,
) -> Result<Playbook, Error> {
    let caller = write.caller().clone();
    must_reach_all(&caller)?;
    let tenant = caller.tenant();
    let found = store::read(write.conn(), tenant, id).await?;
    let found = found.ok_or_else(|| no_such_playbook(id))?;
    store::lock_family(write.conn(), tenant, &found.slug).await?;
    if archived {
        store::archive(write.conn(), tenant, &found.slug).await?;
    } else if found.status == PlaybookStatus::Draft {
        let message = format!(
            "version {} of playbook {:?} is a draft",
            found.version, found.slug
        );
        return Err(Refused::new(ErrorCode::InvalidStateTransition, message)
            .hint("publish it, or restore a version that was published")
            .current_state(found.status.as_str())
            .requested_state(PlaybookStatus::Published.as_str())
            .into());
    } else {
        store::deactivate(write.conn(), tenant, &found.slug).await?;
        store::restore(write.conn(), tenant, id).await?;
    }
    let changed = store::read(write.conn(), tenant, id).await?;
    let changed = changed.ok_or_else(|| no_such_playbook(id))?;
    let event = if archived {
        "playbook.archived"
    } else {
        "playbook.restored"
    };
    tell(write.tx(), &caller, event, &changed).await?;
    Ok(changed)
}
