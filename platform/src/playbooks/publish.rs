//! A draft becomes what runs are launched from.

use protocol::{ErrorCode, Playbook, PlaybookId, PlaybookStatus, PublishPlaybook};

use super::store::{self, Facts};
use super::{change, must_reach_all, no_such_playbook, tell};
use crate::error::{Error, Refused};
use crate::http::Write;

/// Publishes a draft, and takes the version before it out of use for new runs.
///
/// # Errors
/// 404; 409 for what is no draft; 422 for every mistake in its definition.
pub(super) async fn publish_playbook(
    write: &mut Write,
    id: PlaybookId,
    wanted: PublishPlaybook,
) -> Result<Playbook, Error> {
    let caller = write.caller().clone();
    must_reach_all(&caller)?;
    let tenant = caller.tenant();
    let draft = store::read(write.conn(), tenant, id).await?;
    let draft = draft.ok_or_else(|| no_such_playbook(id))?;
    store::lock_family(write.conn(), tenant, &draft.slug).await?;
    let draft = store::read(write.conn(), tenant, id).await?;
    let draft = draft.ok_or_else(|| no_such_playbook(id))?;
    if draft.status != PlaybookStatus::Draft {
        let message = format!(
            "version {} of playbook {:?} is {}",
            draft.version, draft.slug, draft.status
        );
        return Err(Refused::new(ErrorCode::InvalidStateTransition, message)
            .hint("only a draft can be published; PATCH with \"draft\": true makes the next one")
            .current_state(draft.status.as_str())
            .requested_state(PlaybookStatus::Published.as_str())
            .into());
    }
    let facts = Facts {
        name: draft.name,
        description: draft.description,
        outcome: draft.outcome,
        lifecycle: draft.lifecycle,
        changelog: wanted.changelog.or(draft.changelog),
        definition: draft.definition,
    };
    change::check(&facts, false)?;
    store::deactivate(write.conn(), tenant, &draft.slug).await?;
    let published = store::publish(write.conn(), tenant, id, facts.changelog.as_deref()).await?;
    tell(write.tx(), &caller, "playbook.published", &published).await?;
    Ok(published)
}
