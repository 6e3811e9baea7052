//! Every statement that writes `request_slots`.

use sqlx::PgConnection;
use uuid::Uuid;

/// What a slot remembers about the request that took it.
pub(super) struct Slot<'a> {
    pub(super) tenant: Uuid,
    pub(super) holder: Uuid,
    pub(super) request_id: &'a str,
    pub(super) operation: &'a str,
    pub(super) target: &'a str,
    pub(super) fingerprint: &'a [u8],
}

/// What a slot remembers about its request and its answer.
pub(super) struct Taken {
    pub(super) operation: String,
    pub(super) target: String,
    pub(super) fingerprint: Vec<u8>,
    pub(super) status: Option<i16>,
    pub(super) body: Option<Vec<u8>>,
    pub(super) is_sealed: bool,
}

/// Takes a slot. A twin on another replica waits here, on the primary key, until the first one ends.
///
/// Returns false when the slot was taken before.
pub(super) async fn take(
    db: &mut PgConnection,
    slot: &Slot<'_>,
    keep_hours: i32,
) -> sqlx::Result<bool> {
    let taken = sqlx::query!(
        "insert into request_slots (tenant_id, holder_id, request_id, operation, target, fingerprint, expires_at)
         values ($1, $2, $3, $4, $5, $6, clock_timestamp() + make_interval(hours => $7))
         on conflict (tenant_id, holder_id, request_id) do nothing",
        slot.tenant,
        slot.holder,
        slot.request_id,
        slot.operation,
        slot.target,
        slot.fingerprint,
        keep_hours,
    )
    .execute(db)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Reads what was answered under a slot.
pub(super) async fn read(db: &mut PgConnection, slot: &Slot<'_>) -> sqlx::Result<Option<Taken>> {
    sqlx::query_as!(
        Taken,
        "select operation, target, fingerprint, status, body, is_sealed
         from request_slots
         where tenant_id = $1 and holder_id = $2 and request_id = $3",
        slot.tenant,
        slot.holder,
        slot.request_id,
    )
    .fetch_optional(db)
    .await
}

/// Stores the answer in a slot. Fails when the transaction has already failed.
pub(super) async fn fill(
    db: &mut PgConnection,
    tenant: Uuid,
    holder: Uuid,
    request_id: &str,
    status: i16,
    body: &[u8],
    seal_hours: Option<i32>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update request_slots
         set status = $4, body = $5, is_sealed = $6::int is not null,
             expires_at = coalesce(clock_timestamp() + make_interval(hours => $6), expires_at)
         where tenant_id = $1 and holder_id = $2 and request_id = $3",
        tenant,
        holder,
        request_id,
        status,
        body,
        seal_hours,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Fails when the transaction has already failed, so that its COMMIT cannot be a silent ROLLBACK.
pub(super) async fn prove(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("select 1 as alive").fetch_one(db).await?;
    Ok(())
}

/// Forgets slots whose time is over, a bounded number a turn.
pub(super) async fn forget(db: &mut PgConnection) -> sqlx::Result<u64> {
    let forgotten = sqlx::query!(
        "delete from request_slots s
         using (select tenant_id, holder_id, request_id
                from request_slots
                where expires_at < clock_timestamp()
                order by expires_at
                limit 5000
                for update skip locked) old
         where s.tenant_id = old.tenant_id and s.holder_id = old.holder_id and s.request_id = old.request_id"
    )
    .execute(db)
    .await?;
    Ok(forgotten.rows_affected())
}
