//! How heartbeats are written.

use sqlx::PgConnection;

/// Lets the commit of this transaction not wait for the disk: a heartbeat that a crash of the database
/// forgets comes again before anyone misses it.
pub(super) async fn spare_the_disk(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("set local synchronous_commit = off")
        .execute(db)
        .await?;
    Ok(())
}
