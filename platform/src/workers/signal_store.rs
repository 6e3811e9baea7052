//! Every statement that writes `worker_signals`.

use std::collections::HashMap;

use protocol::{JsonObject, PendingSignal, SignalId, SignalWorker, TaskId, TenantId, WorkerId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;

/// Stores a signal.
pub(super) async fn insert(
    db: &mut PgConnection,
    tenant: TenantId,
    worker: WorkerId,
    signal: SignalId,
    word: &str,
    wanted: &SignalWorker,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into worker_signals (tenant_id, id, worker_id, signal_type, task_id, data)
         values ($1, $2, $3, $4, $5, $6::text::json)",
        tenant.uuid(),
        signal.uuid(),
        worker.uuid(),
        word,
        wanted.task_id.map(TaskId::uuid),
        wanted.data.as_ref().map_or("{}", JsonObject::text),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Counts the signals that a worker has not acknowledged.
pub(super) async fn count_pending(
    db: &mut PgConnection,
    tenant: TenantId,
    worker: WorkerId,
) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!"
           from worker_signals
           where tenant_id = $1 and worker_id = $2 and acknowledged_at is null"#,
        tenant.uuid(),
        worker.uuid(),
    )
    .fetch_one(db)
    .await
}

/// Whether a task exists in the tenant.
pub(super) async fn task_exists(
    db: &mut PgConnection,
    tenant: TenantId,
    task: TaskId,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from tasks where tenant_id = $1 and id = $2) as "exists!""#,
        tenant.uuid(),
        task.uuid(),
    )
    .fetch_one(db)
    .await
}

/// Acknowledges a signal. Returns false when the worker has none of that id.
pub(super) async fn acknowledge(
    db: &mut PgConnection,
    tenant: TenantId,
    worker: WorkerId,
    signal: SignalId,
) -> sqlx::Result<bool> {
    let acknowledged = sqlx::query!(
        "update worker_signals
         set acknowledged_at = coalesce(acknowledged_at, clock_timestamp())
         where tenant_id = $1 and id = $2 and worker_id = $3",
        tenant.uuid(),
        signal.uuid(),
        worker.uuid(),
    )
    .execute(db)
    .await?;
    Ok(acknowledged.rows_affected() == 1)
}

/// The signals that wait for some workers, the oldest first.
///
/// # Errors
/// Those of the database.
pub(crate) async fn pending(
    db: &mut PgConnection,
    tenant: TenantId,
    workers: &[WorkerId],
) -> Result<HashMap<WorkerId, Vec<PendingSignal>>, Error> {
    let mut waiting = HashMap::<WorkerId, Vec<PendingSignal>>::new();
    if workers.is_empty() {
        return Ok(waiting);
    }
    let workers: Vec<Uuid> = workers.iter().map(|worker| worker.uuid()).collect();
    let rows = sqlx::query!(
        r#"select id, worker_id, signal_type, task_id, data::text as "data!", issued_at
           from worker_signals
           where tenant_id = $1 and worker_id = any($2) and acknowledged_at is null
           order by issued_at, id"#,
        tenant.uuid(),
        &workers,
    )
    .fetch_all(db)
    .await?;
    for row in rows {
        let signals = waiting.entry(row.worker_id.into()).or_default();
        signals.push(PendingSignal {
            id: row.id.into(),
            signal_type: row.signal_type,
            task_id: row.task_id.map(Into::into),
            data: JsonObject::from_text(row.data)?,
            issued_at: row.issued_at.into(),
        });
    }
    Ok(waiting)
}

/// Forgets signals that were acknowledged a day ago, a bounded number a turn.
pub(super) async fn forget(db: &mut PgConnection) -> sqlx::Result<u64> {
    let forgotten = sqlx::query!(
        "delete from worker_signals s
         using (select tenant_id, id
                from worker_signals
                where acknowledged_at < clock_timestamp() - interval '1 day'
                order by tenant_id, id
                limit 1000
                for update skip locked) old
         where s.tenant_id = old.tenant_id and s.id = old.id"
    )
    .execute(db)
    .await?;
    Ok(forgotten.rows_affected())
}
