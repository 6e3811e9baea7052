//! The statements on `task_leases` that extend or end leases without moving their tasks.
//!
//! All of them lock in the order of task ids, so that two batches never wait for each other in a circle.

use std::collections::HashSet;

use protocol::{AgentId, LeaseRef, TaskId, TenantId, WorkerId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::renew::{Holding, Renewal};
use crate::holders::Holder;

/// Holders as the two columns that name them.
fn columns(holders: impl Iterator<Item = Holder>) -> (Vec<Option<Uuid>>, Vec<Option<Uuid>>) {
    holders
        .map(|holder| match holder {
            Holder::Agent(agent) => (Some(agent.uuid()), None),
            Holder::Worker(worker) => (None, Some(worker.uuid())),
        })
        .unzip()
}

/// Extends the leases that are listed, where task, attempt and holder match.
pub(super) async fn renew_listed(
    db: &mut PgConnection,
    tenant: TenantId,
    renewals: &[Renewal<'_>],
) -> sqlx::Result<()> {
    let tasks: Vec<Uuid> = renewals.iter().map(|r| r.lease.task_id.uuid()).collect();
    let attempts: Vec<i32> = renewals.iter().map(|r| r.lease.attempt).collect();
    let progress: Vec<Option<&str>> = renewals.iter().map(|r| r.progress).collect();
    let (agents, workers) = columns(renewals.iter().map(|r| r.holder));
    sqlx::query!(
        "with kept as (
             select l.task_id, r.progress
             from (select * from unnest($2::uuid[], $3::int[], $4::uuid[], $5::uuid[], $6::text[])
                       as r (task_id, attempt, agent_id, worker_id, progress)
                   order by task_id) r
             cross join lateral (
                 select l.task_id from task_leases l
                 where l.tenant_id = $1 and l.task_id = r.task_id and l.attempt = r.attempt
                   and (l.agent_id = r.agent_id or l.worker_id = r.worker_id)
                 for no key update) l)
         update task_leases l
         set expires_at = clock_timestamp() + make_interval(secs => l.lease_seconds),
             progress = coalesce((select k.progress::json from kept k where k.task_id = l.task_id limit 1), l.progress)
         where l.tenant_id = $1 and l.task_id = any(array(select task_id from kept))",
        tenant.uuid(),
        &tasks,
        &attempts,
        &agents as &[Option<Uuid>],
        &workers as &[Option<Uuid>],
        &progress as &[Option<&str>],
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Extends every lease of holders that do not list theirs.
pub(super) async fn renew_all_of(
    db: &mut PgConnection,
    tenant: TenantId,
    holders: &[Holder],
) -> sqlx::Result<()> {
    let (agents, workers) = columns(holders.iter().copied());
    sqlx::query!(
        "with kept as (
             select l.task_id
             from task_leases l
             where l.tenant_id is not distinct from $1
               and (l.agent_id = any($2::uuid[]) or l.worker_id = any($3::uuid[]))
             order by l.task_id
             for no key update of l)
         update task_leases l
         set expires_at = clock_timestamp() + make_interval(secs => l.lease_seconds)
         where l.tenant_id = $1 and l.task_id = any(array(select task_id from kept))",
        tenant.uuid(),
        &agents as &[Option<Uuid>],
        &workers as &[Option<Uuid>],
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Reads the leases of some holders, the oldest first.
pub(super) async fn held_by(
    db: &mut PgConnection,
    tenant: TenantId,
    holders: &[Holder],
) -> sqlx::Result<Vec<Holding>> {
    let (agents, workers) = columns(holders.iter().copied());
    let rows = sqlx::query!(
        r#"select task_id, attempt, agent_id, worker_id, cancel_by is not null as "is_cancelled!"
         from task_leases
         where tenant_id is not distinct from $1
           and (agent_id = any($2::uuid[]) or worker_id = any($3::uuid[]))
         order by claimed_at, task_id"#,
        tenant.uuid(),
        &agents as &[Option<Uuid>],
        &workers as &[Option<Uuid>],
    )
    .fetch_all(db)
    .await?;
    let holding = rows.into_iter().map(|row| Holding {
        lease: LeaseRef {
            task_id: row.task_id.into(),
            attempt: row.attempt,
        },
        agent: row.agent_id.into(),
        worker: row.worker_id.map(Into::into),
        is_cancelled: row.is_cancelled,
    });
    Ok(holding.collect())
}

/// Finds out which tasks were cancelled.
pub(super) async fn cancelled_among(
    db: &mut PgConnection,
    tenant: TenantId,
    tasks: &[TaskId],
) -> sqlx::Result<HashSet<TaskId>> {
    let tasks: Vec<Uuid> = tasks.iter().map(|task| task.uuid()).collect();
    let cancelled = sqlx::query_scalar!(
        "select task_id
         from task_results
         where tenant_id = $1 and task_id = any($2) and state = 'cancelled'",
        tenant.uuid(),
        &tasks,
    )
    .fetch_all(db)
    .await?;
    Ok(cancelled.into_iter().map(TaskId::from).collect())
}

/// Makes the leases of an agent, or of all agents of a worker, run out now.
pub(super) async fn expire_of(
    db: &mut PgConnection,
    tenant: TenantId,
    agent: Option<AgentId>,
    worker: Option<WorkerId>,
) -> sqlx::Result<u64> {
    let expired = sqlx::query!(
        "with gone as (
             select l.task_id
             from task_leases l
             where l.tenant_id is not distinct from $1 and (l.agent_id = $2 or l.worker_id = $3)
             order by l.task_id
             for no key update of l)
         update task_leases l
         set expires_at = least(l.expires_at, clock_timestamp())
         where l.tenant_id = $1 and l.task_id = any(array(select task_id from gone))",
        tenant.uuid(),
        agent.map(AgentId::uuid),
        worker.map(WorkerId::uuid),
    )
    .execute(db)
    .await?;
    Ok(expired.rows_affected())
}
