//! Log entries of an attempt renew its lease, like a heartbeat.

use protocol::TenantId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;

/// An attempt that has logged, and who logged for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogTouch {
    /// The task.
    pub task: Uuid,
    /// The attempt.
    pub attempt: i32,
    /// The agent that logged, for an agent's key.
    pub agent: Option<Uuid>,
    /// The worker that logged, for a worker's key.
    pub worker: Option<Uuid>,
}

/// Renews the leases of attempts that have logged, if it is their holder who did.
///
/// A lease that has more than nine tenths of its time left is let be, so that a chatty task does not
/// write its lease with every batch; one that is locked is being renewed or ended by someone else.
///
/// # Errors
/// Those of the database.
pub async fn touch_leases(
    db: &mut PgConnection,
    tenant: TenantId,
    touches: &[LogTouch],
) -> Result<u64, Error> {
    let tasks: Vec<Uuid> = touches.iter().map(|touch| touch.task).collect();
    let attempts: Vec<i32> = touches.iter().map(|touch| touch.attempt).collect();
    let agents: Vec<Option<Uuid>> = touches.iter().map(|touch| touch.agent).collect();
    let workers: Vec<Option<Uuid>> = touches.iter().map(|touch| touch.worker).collect();
    let touched = sqlx::query!(
        "with mine as (
             select l.task_id
             from (select * from unnest($2::uuid[], $3::int[], $4::uuid[], $5::uuid[]) as w (task_id, attempt, agent_id, worker_id)
                   order by task_id) w
             cross join lateral (
                 select l.task_id from task_leases l
                 where l.tenant_id = $1 and l.task_id = w.task_id and l.attempt = w.attempt
                   and (l.agent_id = w.agent_id or l.worker_id = w.worker_id)
                   -- No index knows this expression, so that the leases are found by their key.
                   and l.expires_at - make_interval(secs => l.lease_seconds * 0.9) < clock_timestamp()
                 for update skip locked) l)
         update task_leases l
         set expires_at = greatest(l.expires_at, clock_timestamp() + make_interval(secs => l.lease_seconds))
         where l.tenant_id = $1 and l.task_id = any(array(select task_id from mine))",
        tenant.uuid(),
        &tasks,
        &attempts,
        &agents as &[Option<Uuid>],
        &workers as &[Option<Uuid>],
    )
    .execute(db)
    .await?;
    Ok(touched.rows_affected())
}
