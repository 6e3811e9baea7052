//! The fingerprint of the sealing key, in `platform_facts`.

use sqlx::PgConnection;

/// Stores the fingerprint if there is none yet, and returns the one that counts.
pub(super) async fn remember_fingerprint(
    db: &mut PgConnection,
    fingerprint: &[u8],
) -> sqlx::Result<Vec<u8>> {
    sqlx::query!(
        "insert into platform_facts (name, value)
         values ('seal_fingerprint', $1)
         on conflict (name) do nothing",
        fingerprint,
    )
    .execute(&mut *db)
    .await?;
    sqlx::query_scalar!("select value from platform_facts where name = 'seal_fingerprint'")
        .fetch_one(db)
        .await
}
