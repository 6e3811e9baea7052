//! Keeping leases alive, and letting go of them: what heartbeats and departing holders need.

use std::collections::HashSet;

use protocol::{AgentId, LeaseRef, TaskId, TenantId, WorkerId};
use sqlx::PgConnection;

use super::renew_store as store;
use crate::error::Error;
use crate::holders::Holder;

/// A holder's wish to keep a lease.
#[derive(Clone, Copy, Debug)]
pub struct Renewal<'a> {
    /// Who holds it.
    pub holder: Holder,
    /// The task and the attempt that holds it.
    pub lease: LeaseRef,
    /// How far it has come, as JSON text; what was said before stays when this is left out.
    pub progress: Option<&'a str>,
}

/// A lease, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    /// The task and the attempt that holds it.
    pub lease: LeaseRef,
    /// The agent that claimed it.
    pub agent: AgentId,
    /// The worker that hosts the agent.
    pub worker: Option<WorkerId>,
    /// Whether its run was cancelled: the holder has to stop.
    pub is_cancelled: bool,
}

/// Extends leases by their length from now.
///
/// A renewal matches task, attempt and holder, or changes nothing. One that comes after the lease has
/// run out, but before anyone took the task, revives it. Of the holders in `everything_of`, which do
/// not list what they hold, every lease is extended.
///
/// # Errors
/// Those of the database.
pub async fn renew(
    db: &mut PgConnection,
    tenant: TenantId,
    renewals: &[Renewal<'_>],
    everything_of: &[Holder],
) -> Result<(), Error> {
    if !renewals.is_empty() {
        store::renew_listed(db, tenant, renewals).await?;
    }
    if !everything_of.is_empty() {
        store::renew_all_of(db, tenant, everything_of).await?;
    }
    Ok(())
}

/// The leases of some holders.
///
/// # Errors
/// Those of the database.
pub async fn held_by(
    db: &mut PgConnection,
    tenant: TenantId,
    holders: &[Holder],
) -> Result<Vec<Holding>, Error> {
    Ok(store::held_by(db, tenant, holders).await?)
}

/// Which of these tasks were cancelled.
///
/// # Errors
/// Those of the database.
pub async fn cancelled_among(
    db: &mut PgConnection,
    tenant: TenantId,
    tasks: &[TaskId],
) -> Result<HashSet<TaskId>, Error> {
    if tasks.is_empty() {
        return Ok(HashSet::new());
    }
    Ok(store::cancelled_among(db, tenant, tasks).await?)
}

/// Makes the leases of a holder that is going run out now, and reports how many.
///
/// Their tasks then go the way of every lost lease. Wake the loop that expires leases after the commit.
///
/// # Errors
/// Those of the database.
pub async fn expire_leases_of(
    db: &mut PgConnection,
    tenant: TenantId,
    agent: Option<AgentId>,
    worker: Option<WorkerId>,
) -> Result<u64, Error> {
    Ok(store::expire_of(db, tenant, agent, worker).await?)
}
