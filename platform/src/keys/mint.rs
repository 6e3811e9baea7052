//! Making keys, for whoever registers something that needs one.

use protocol::{KeyId, Scope, TenantId, Timestamp, WorkspaceId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Secret, store};
use crate::db::{Note, Tx};
use crate::error::Error;
use crate::http::Caller;

/// When a key ends.
#[derive(Clone, Copy, Debug)]
pub enum Expiry {
    /// When it is revoked.
    Never,
    /// Then.
    At(Timestamp),
    /// So many days from now, by the database clock.
    InDays(u32),
}

/// What a key that is about to be made may do, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct Mint<'a> {
    /// What it may do.
    pub scope: Scope,
    /// What it belongs to.
    pub owner_type: &'a str,
    /// The agent or worker it acts for.
    pub owner: Option<Uuid>,
    /// A note for people.
    pub label: Option<&'a str>,
    /// When it ends.
    pub expiry: Expiry,
    /// The workspaces it is restricted to; empty means all.
    pub workspaces: &'a [WorkspaceId],
    /// The routing tags it is restricted to; empty means all.
    pub routing_tags: &'a [String],
}

impl<'a> Mint<'a> {
    /// A key for an agent or worker that registers: as restricted as the key that registers it.
    pub fn for_holder(
        caller: &'a Caller,
        scope: Scope,
        holder: Uuid,
        name: &'a str,
        days: u32,
    ) -> Self {
        Self {
            scope,
            owner_type: scope.as_str(),
            owner: Some(holder),
            label: Some(name),
            expiry: Expiry::InDays(days),
            workspaces: &caller.identity().workspaces,
            routing_tags: &caller.identity().routing_tags,
        }
    }
}

/// Makes a key. Its secret exists only in what this returns.
///
/// # Errors
/// 422 when it would have ended already.
pub async fn mint(
    db: &mut PgConnection,
    tenant: TenantId,
    wanted: &Mint<'_>,
) -> Result<(KeyId, Secret), Error> {
    let secret = Secret::new(wanted.scope);
    let id = store_secret(db, tenant, wanted, &secret).await?;
    Ok((id, secret))
}

/// Stores a key whose secret is known already.
pub(super) async fn store_secret(
    db: &mut PgConnection,
    tenant: TenantId,
    wanted: &Mint<'_>,
    secret: &Secret,
) -> Result<KeyId, Error> {
    let id = KeyId::new();
    if !store::insert(db, tenant, id, wanted, secret).await? {
        return Err(Error::field("expires_at", "must be in the future"));
    }
    Ok(id)
}

/// Revokes every key of agents and workers that are going.
///
/// # Errors
/// Those of the database.
pub async fn revoke_keys_of(tx: &mut Tx, tenant: TenantId, owners: &[Uuid]) -> Result<(), Error> {
    for key in store::revoke_of_owners(tx.conn(), tenant, owners).await? {
        tx.note(Note::KeyChanged { key });
    }
    Ok(())
}
