//! A version goes for good.

use protocol::{ErrorCode, PlaybookId, ReasonCode};

use super::{must_reach_all, no_such_playbook, store, tell};
use crate::error::{Error, Refused};
use crate::http::Write;

/// Deletes one version.
///
/// # Errors
/// 404; 409 `in_use` while a run refers to it.
pub(super) async fn delete_playbook(write: &mut Write, id: PlaybookId) -> Result<(), Error> {
    let caller = write.caller().clone();
    must_reach_all(&caller)?;
    let tenant = caller.tenant();
    let found = store::read(write.conn(), tenant, id).await?;
    let found = found.ok_or_else(|| no_such_playbook(id))?;
    store::lock_family(write.conn(), tenant, &found.slug).await?;
    let impact = store::delete_impact(write.conn(), tenant, id).await?;
    let runs = impact.map_or(0, |impact| impact.revision.workflows);
    if runs > 0 {
        let message = format!(
            "version {} of playbook {:?} is referred to by {runs} runs",
            found.version, found.slug
        );
        return Err(Refused::new(ErrorCode::Conflict, message)
            .reason(ReasonCode::InUse)
            .hint("archive it: then no run is launched from it, and those there are keep it; or delete its runs first")
            .into());
    }
    store::delete(write.conn(), tenant, id).await?;
    tell(write.tx(), &caller, "playbook.deleted", &found).await
}
