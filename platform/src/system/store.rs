//! What the numbers about a tenant's fleet are read with. Each statement does a bounded amount of work.

use protocol::TenantId;
use sqlx::PgConnection;

/// Tasks of one kind are counted up to here; beyond, their number is not worth its cost.
pub(super) const COUNT_MAX: i64 = 100_000;
/// Lanes that are looked at.
const LANES_MAX: i64 = 1_000;

/// Ready tasks of one lane.
pub(super) struct Lane {
    pub(super) lane: String,
    pub(super) ready: i64,
    pub(super) oldest_seconds: Option<f64>,
}

/// The lanes that have ready tasks: how many, and how long the first in line has waited.
pub(super) async fn lanes(db: &mut PgConnection, tenant: TenantId) -> sqlx::Result<Vec<Lane>> {
    // Leaps from one lane to the next along task_queue_order, in place of reading every task.
    let rows = sqlx::query!(
        r#"with recursive lanes as (
               (select lane from task_queue where tenant_id = $1 order by lane limit 1)
               union all
               select (select q.lane from task_queue q
                       where q.tenant_id = $1 and q.lane > lanes.lane
                       order by q.lane limit 1)
               from lanes
               where lanes.lane is not null)
           select l.lane as "lane!", c.ready as "ready!", o.oldest_seconds
           from (select lane from lanes where lane is not null limit $2) l
           cross join lateral (
               select count(*) as ready
               from (select from task_queue q where q.tenant_id = $1 and q.lane = l.lane limit $3) counted) c
           cross join lateral (
               select max(extract(epoch from clock_timestamp() - f.state_changed_at))::float8 as oldest_seconds
               from (values (0::smallint), (1), (2), (3)) as p (priority)
               cross join lateral (
                   select q.state_changed_at
                   from task_queue q
                   where q.tenant_id = $1 and q.lane = l.lane and q.priority = p.priority
                   order by q.seq
                   limit 1) f) o"#,
        tenant.uuid(),
        LANES_MAX,
        COUNT_MAX,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Lane {
            lane: row.lane,
            ready: row.ready,
            oldest_seconds: row.oldest_seconds,
        })
        .collect())
}

/// How many tasks are in the states that have few.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) pending: i64,
    pub(super) claimed: i64,
    pub(super) in_progress: i64,
    pub(super) parked: i64,
    pub(super) slots: i64,
}

/// Counts tasks by state, and the slots of the holders that were heard from in time.
pub(super) async fn counts(db: &mut PgConnection, tenant: TenantId) -> sqlx::Result<Counts> {
    sqlx::query_as!(
        Counts,
        r#"select
               (select count(*) from (select from task_waiting where tenant_id = $1 limit $2) w) as "pending!",
               (select count(*) from (select from task_leases
                                      where tenant_id = $1 and state = 'claimed' limit $2) c) as "claimed!",
               (select count(*) from (select from task_leases
                                      where tenant_id = $1 and state = 'in_progress' limit $2) i) as "in_progress!",
               (select count(*) from (select from task_parked where tenant_id = $1 limit $2) p) as "parked!",
               (select coalesce(sum(capacity), 0)
                from workers
                where tenant_id = $1
                  and last_heartbeat_at
                      > clock_timestamp() - make_interval(secs => 2 * heartbeat_interval_seconds))
               + (select coalesce(sum(capacity), 0)
                  from agents
                  where tenant_id = $1
                    and worker_id is null
                    and last_heartbeat_at
                        > clock_timestamp() - make_interval(secs => 2 * heartbeat_interval_seconds)) as "slots!""#,
        tenant.uuid(),
        COUNT_MAX,
    )
    .fetch_one(db)
    .await
}

/// How the runs of a tenant are doing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Runs {
    pub(super) pending: i64,
    pub(super) active: i64,
    pub(super) paused: i64,
    /// Things that wait for a person, and how long the oldest has waited.
    pub(super) approvals: i64,
    pub(super) oldest_approval_seconds: f64,
    /// Stage gates among them.
    pub(super) gates: i64,
    pub(super) oldest_gate_seconds: f64,
    /// Orchestrators that have been woken and are not done, by how it goes.
    pub(super) processing: i64,
    pub(super) retrying: i64,
    pub(super) stuck: i64,
}

/// Counts the runs that have not ended by their state, and what waits for a person.
pub(super) async fn runs(db: &mut PgConnection, tenant: TenantId) -> sqlx::Result<Runs> {
    sqlx::query_as!(
        Runs,
        r#"with open as (
               select state from workflows where tenant_id = $1 and completed_at is null limit $2
           ),
           waiting as (
               (select state_changed_at as since, false as is_gate from task_parked where tenant_id = $1 limit $2)
               union all
               (select started_at, false from workflow_steps where tenant_id = $1 and state = 'waiting' limit $2)
               union all
               (select requested_at, true from stage_gates
                where tenant_id = $1 and status = 'awaiting_approval' and superseded_at is null limit $2)
           ),
           woken as (
               select state from activation_batches where tenant_id = $1 and state <> 'completed' limit $2
           )
           select r.pending as "pending!", r.active as "active!", r.paused as "paused!", a.approvals as "approvals!",
                  a.oldest as "oldest_approval_seconds!", a.gates as "gates!", a.oldest_gate as "oldest_gate_seconds!",
                  b.processing as "processing!", b.retrying as "retrying!", b.stuck as "stuck!"
           from (select count(*) filter (where state = 'pending') as pending,
                        count(*) filter (where state = 'active') as active,
                        count(*) filter (where state = 'paused') as paused from open) r,
                (select count(*) as approvals,
                        coalesce(extract(epoch from clock_timestamp() - min(since))::float8, 0) as oldest,
                        count(*) filter (where is_gate) as gates,
                        coalesce(extract(epoch from clock_timestamp() - min(since) filter (where is_gate))::float8, 0) as oldest_gate
                 from waiting) a,
                (select count(*) filter (where state = 'processing') as processing,
                        count(*) filter (where state = 'retrying') as retrying,
                        count(*) filter (where state = 'stuck') as stuck from woken) b"#,
        tenant.uuid(),
        COUNT_MAX,
    )
    .fetch_one(db)
    .await
}
