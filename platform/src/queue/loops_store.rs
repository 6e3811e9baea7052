//! The statements of the queue's loops: what is over, what is due, who lives.

use std::time::Duration;

use protocol::{AgentId, TaskId, TenantId, WorkerId};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use super::watermark::Marks;
use crate::error::Error;

/// A lease whose time is over, or an attempt that took too long.
pub(super) struct Overdue {
    pub(super) tenant: TenantId,
    pub(super) task: TaskId,
    pub(super) attempt: i32,
    pub(super) abandon_count: i32,
    pub(super) max_abandons: i32,
    /// Whether its run was cancelled.
    pub(super) is_cancelled: bool,
    pub(super) agent: AgentId,
    pub(super) worker: Option<WorkerId>,
}

/// Locks leases that have expired, oldest first, and before them the runs that their tasks belong to. None
/// while renewals may have been impossible: the pulse of the replicas is older than the outage threshold.
/// Leases are looked for from the floor on, if there is one.
pub(super) async fn expired(
    db: &mut PgConnection,
    floor: Option<DateTime<Utc>>,
    outage_seconds: f64,
    limit: i64,
) -> Result<Vec<Overdue>, Error> {
    let rows = sqlx::query!(
        r#"with seen as materialized (
               select l.tenant_id, l.task_id, l.workflow_id
               from task_leases l
               where l.expires_at >= coalesce($3::timestamptz, '-infinity') and l.expires_at < statement_timestamp()
                 and (select beat_at > clock_timestamp() - make_interval(secs => $1) from platform_pulse)
               order by l.expires_at
               limit $2
           ),
           runs as materialized (
               select w.id from workflows w
               where (w.tenant_id, w.id) in (select tenant_id, workflow_id from seen where workflow_id is not null)
               order by w.tenant_id, w.id
               for no key update
           ),
           due as materialized (
               select l.tenant_id, l.task_id, l.attempt, l.abandon_count, l.agent_id, l.worker_id, l.cancel_by
               from task_leases l
               where l.task_id = any(array(select task_id from seen)) and l.expires_at < clock_timestamp()
                 and (select count(*) from runs) >= 0
               for update of l skip locked
           )
           select d.tenant_id, d.task_id, d.attempt, d.abandon_count, d.agent_id, d.worker_id, t.max_abandons,
                  d.cancel_by is not null as "is_cancelled!"
           from due d
           join tasks t on t.tenant_id = d.tenant_id and t.id = d.task_id"#,
        outage_seconds,
        limit,
        floor as Option<DateTime<Utc>>,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Overdue {
            tenant: row.tenant_id.into(),
            task: row.task_id.into(),
            attempt: row.attempt,
            abandon_count: row.abandon_count,
            max_abandons: row.max_abandons,
            is_cancelled: row.is_cancelled,
            agent: row.agent_id.into(),
            worker: row.worker_id.map(Into::into),
        })
        .collect())
}

/// When the next lease ends.
pub(super) struct NextExpiry {
    /// The moment of the look.
    pub(super) now: DateTime<Utc>,
    /// The end of the first one, if one ends within the time that was asked for.
    pub(super) at: Option<DateTime<Utc>>,
}

/// Looks for the next lease that ends, from the floor on, and not further ahead than this.
pub(super) async fn next_expiry(
    db: &mut PgConnection,
    floor: Option<DateTime<Utc>>,
    ahead: Duration,
) -> Result<NextExpiry, Error> {
    Ok(sqlx::query_as!(
        NextExpiry,
        r#"select statement_timestamp() as "now!",
                  (select min(expires_at) from task_leases
                   where expires_at >= coalesce($1::timestamptz, '-infinity')
                     and expires_at < statement_timestamp() + make_interval(secs => $2)) as at"#,
        floor as Option<DateTime<Utc>>,
        ahead.as_secs_f64(),
    )
    .fetch_one(db)
    .await?)
}

/// Locks attempts that take longer than their task allows, and before them the runs of their tasks. Leases are
/// looked for from the floor on, if there is one.
pub(super) async fn timed_out(
    db: &mut PgConnection,
    floor: Option<DateTime<Utc>>,
    limit: i64,
) -> Result<Vec<(TenantId, TaskId, i32)>, Error> {
    let rows = sqlx::query!(
        r#"with seen as materialized (
               select l.tenant_id, l.task_id, l.workflow_id
               from task_leases l
               where l.deadline_at < statement_timestamp() and l.expires_at >= coalesce($2::timestamptz, '-infinity')
               order by l.expires_at
               limit $1
           ),
           runs as materialized (
               select w.id from workflows w
               where (w.tenant_id, w.id) in (select tenant_id, workflow_id from seen where workflow_id is not null)
               order by w.tenant_id, w.id
               for no key update
           )
           select l.tenant_id as "tenant_id!", l.task_id as "task_id!", l.attempt as "attempt!"
           from task_leases l
           where l.task_id = any(array(select task_id from seen)) and l.deadline_at < clock_timestamp()
             and (select count(*) from runs) >= 0
           order by l.task_id
           for update of l skip locked"#,
        limit,
        floor as Option<DateTime<Utc>>,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.tenant_id.into(), row.task_id.into(), row.attempt))
        .collect())
}

/// Locks waiting tasks that are due.
pub(super) async fn due(
    db: &mut PgConnection,
    limit: i64,
) -> Result<Vec<(TenantId, TaskId, bool)>, Error> {
    let rows = sqlx::query!(
        "select tenant_id, task_id, needs_approval from task_waiting
         where blocked_count = 0 and available_at <= clock_timestamp()
         order by available_at
         limit $1
         for update skip locked",
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.tenant_id.into(), row.task_id.into(), row.needs_approval))
        .collect())
}

/// Seconds until the next waiting task is due, if there is one.
pub(super) async fn next_due(db: &mut PgConnection) -> Result<Option<f64>, Error> {
    Ok(sqlx::query_scalar!(
        r#"select extract(epoch from min(available_at) - clock_timestamp())::float8 as "seconds?"
           from task_waiting
           where blocked_count = 0"#
    )
    .fetch_one(db)
    .await?)
}

/// Which of these lanes hold anything.
pub(super) async fn filled_lanes(
    db: &mut PgConnection,
    tenant: TenantId,
    lanes: &[String],
) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar!(
        r#"select w.lane as "lane!"
           from unnest($2::text[]) as w (lane)
           cross join lateral (
               select from task_queue q where q.tenant_id = $1 and q.lane = w.lane order by q.priority, q.seq limit 1
           ) found"#,
        tenant.uuid(),
        lanes,
    )
    .fetch_all(db)
    .await?)
}

/// How many tasks lie in each of these lanes, counted to 100 per priority beyond the seqs given.
pub(super) async fn depths(
    db: &mut PgConnection,
    watched: &[(TenantId, String, Marks)],
) -> Result<Vec<(TenantId, String, u32)>, Error> {
    let mut tenants: Vec<Uuid> = Vec::new();
    let mut lanes: Vec<&str> = Vec::new();
    let mut priorities: Vec<i16> = Vec::new();
    let mut beyond: Vec<i64> = Vec::new();
    for (tenant, lane, floor) in watched {
        for (priority, seq) in (0..).zip(floor) {
            tenants.push(tenant.uuid());
            lanes.push(lane);
            priorities.push(priority);
            beyond.push(*seq);
        }
    }
    let rows = sqlx::query!(
        r#"select w.tenant_id as "tenant_id!", w.lane as "lane!", sum(found.tasks)::bigint as "tasks!"
           from unnest($1::uuid[], $2::text[], $3::smallint[], $4::bigint[]) as w (tenant_id, lane, priority, beyond)
           cross join lateral (
               select count(*) as tasks
               from (
                   select
                   from task_queue q
                   where q.tenant_id = w.tenant_id and q.lane = w.lane and q.priority = w.priority and q.seq > w.beyond
                   order by q.seq
                   limit 100
               ) counted
           ) found
           where found.tasks > 0
           group by w.tenant_id, w.lane"#,
        &tenants,
        &lanes as &[&str],
        &priorities,
        &beyond,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            (
                row.tenant_id.into(),
                row.lane,
                u32::try_from(row.tasks).unwrap_or(u32::MAX),
            )
        })
        .collect())
}

/// Keeps the pulse of the replicas. After an outage it first gives every lease that lived when it began
/// another full length, because nobody could renew it. Answers with how many were extended.
pub(super) async fn keep_pulse(db: &mut PgConnection, outage_seconds: f64) -> Result<i64, Error> {
    let row = sqlx::query!(
        r#"with before as materialized (
               select beat_at from platform_pulse where id = 1 for update
           ),
           extended as (
               update task_leases l
               set expires_at = clock_timestamp() + make_interval(secs => l.lease_seconds),
                   deadline_at = l.deadline_at + (clock_timestamp() - b.beat_at)
               from before b
               where b.beat_at < clock_timestamp() - make_interval(secs => $1) and l.expires_at > b.beat_at
               returning 1
           ),
           kept as (
               update platform_pulse p set beat_at = clock_timestamp() from before where p.id = 1
           )
           select count(*) as "extended!",
                  -- A lost beat does no harm; a lost extension would.
                  case when count(*) = 0 then set_config('synchronous_commit', 'off', true) end as relaxed
           from extended"#,
        outage_seconds,
    )
    .fetch_one(db)
    .await?;
    Ok(row.extended)
}

/// Forgets which claim request got what, once no client can still repeat it.
pub(super) async fn forget_claim_requests(db: &mut PgConnection) -> Result<u64, Error> {
    let forgotten = sqlx::query!(
        "delete from claim_requests c
         using (select tenant_id, agent_id, request_id from claim_requests
                where claimed_at < clock_timestamp() - interval '24 hours'
                order by claimed_at limit 5000 for update skip locked) old
         where c.tenant_id = old.tenant_id and c.agent_id = old.agent_id and c.request_id = old.request_id"
    )
    .execute(db)
    .await?;
    Ok(forgotten.rows_affected())
}
