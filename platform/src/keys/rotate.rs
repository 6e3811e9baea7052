//! Replacing a key by a new one with the same rights.

use protocol::{ErrorCode, KeyId, NewKey, RotateKey};

use super::create::may_grant;
use super::{Expiry, Mint, mint, store};
use crate::db::{Note, Tx};
use crate::error::{Error, Refused};
use crate::http::Caller;

/// Longest time for which the old key still works: a day.
const OVERLAP_SECONDS_MAX: i32 = 86_400;

/// Makes the new key, and ends the old one at once or after the overlap.
///
/// # Errors
/// 403 when the key reaches further than the caller; 404; 409 when it is not valid any more.
pub(super) async fn rotate_key(
    tx: &mut Tx,
    caller: &Caller,
    key: KeyId,
    wanted: &RotateKey,
) -> Result<NewKey, Error> {
    let overlap = wanted.overlap_seconds.unwrap_or(0);
    if !(0..=OVERLAP_SECONDS_MAX).contains(&overlap) {
        let message = format!("must be between 0 and {OVERLAP_SECONDS_MAX}");
        return Err(Error::field("overlap_seconds", message));
    }
    let tenant = caller.tenant();
    let old = store::lock(tx.conn(), tenant, key)
        .await?
        .ok_or_else(|| Error::not_found("key", key))?;
    if let Some(state) = old.ended {
        return Err(Refused::new(
            ErrorCode::InvalidStateTransition,
            format!("key {key} cannot be rotated: it is {state} already"),
        )
        .current_state(state)
        .hint("make a new key, or rotate the one that replaced it")
        .into());
    }
    may_grant(
        caller.identity(),
        &old.workspaces,
        &old.routing_tags,
        old.expires_at,
    )?;
    let (id, secret) = mint(
        tx.conn(),
        tenant,
        &Mint {
            scope: old.scope,
            owner_type: &old.owner_type,
            owner: old.owner,
            label: old.label.as_deref(),
            expiry: old.expires_at.map_or(Expiry::Never, Expiry::At),
            workspaces: &old.workspaces,
            routing_tags: &old.routing_tags,
        },
    )
    .await?;
    store::replace(tx.conn(), tenant, key, id, overlap).await?;
    tx.note(Note::KeyChanged { key });
    Ok(NewKey {
        id,
        api_key: secret.reveal().to_owned(),
        key_prefix: secret.prefix(),
    })
}
