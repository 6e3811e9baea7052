//! The statements that write the drawers, but for the long ones, which have files of their own.

use std::collections::{HashMap, HashSet};

use protocol::{AgentId, TaskId, TaskState, TenantId, WorkerId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::gates::Run;
use super::moves::{Columns, Moved, Order};
use crate::error::Error;

/// One row of `move_tasks.sql`.
pub(super) struct MoveRow {
    #[expect(dead_code, reason = "rows come in the order of the orders")]
    place: i64,
    pub(super) verdict: String,
    from_state: Option<String>,
    attempt: Option<i32>,
    pub(super) lane: Option<String>,
    has_dependants: Option<bool>,
    agent_id: Option<Uuid>,
    worker_id: Option<Uuid>,
    workflow_id: Option<Uuid>,
    work_item_id: Option<Uuid>,
    pub(super) is_held: bool,
    error: Option<String>,
    output: Option<String>,
}

impl MoveRow {
    pub(super) fn run(&self) -> Option<Run> {
        Run::of(self.workflow_id, self.work_item_id)
    }

    pub(super) fn answer(self) -> Result<Moved, Error> {
        let state = self
            .from_state
            .as_deref()
            .ok_or_else(|| anyhow::anyhow!("a task that was found has no state"))?
            .parse::<TaskState>()
            .map_err(anyhow::Error::from)?;
        let attempt = self.attempt.unwrap_or_default();
        Ok(if self.verdict == "moved" {
            Moved::Yes {
                from: state,
                attempt,
                has_dependants: self.has_dependants.unwrap_or_default(),
                agent: self.agent_id,
                worker: self.worker_id,
                run: self.run(),
            }
        } else {
            Moved::Elsewhere {
                state,
                attempt,
                error: self.error,
                output: self.output,
            }
        })
    }
}

/// Runs `move_tasks.sql` once.
pub(super) async fn move_tasks(
    db: &mut PgConnection,
    tenant: TenantId,
    orders: &[&Order],
) -> Result<Vec<MoveRow>, Error> {
    macro_rules! column {
        ($($field:ident).+) => {
            orders.iter().map(|order| order.$($field).+.clone()).collect::<Vec<_>>()
        };
    }
    let columns = Columns::of(orders);
    sqlx::query_file_as!(
        MoveRow,
        "src/queue/move_tasks.sql",
        tenant.uuid(),
        &columns.tasks,
        &columns.from,
        &columns.attempts as &[Option<i32>],
        &columns.to as &[&str],
        &columns.delays as &[Option<f64>],
        &columns.keeps_place,
        &column!(retries),
        &column!(abandons),
        &column!(reworks),
        &column!(forgets_outcome),
        &column!(outcome.output) as &[Option<String>],
        &column!(outcome.error) as &[Option<String>],
        &column!(outcome.metrics) as &[Option<String>],
        &column!(outcome.git_info) as &[Option<String>],
        &column!(outcome.verification) as &[Option<String>],
        &column!(outcome.progress) as &[Option<String>],
        &column!(reason) as &[&str],
        &column!(actor_type) as &[&str],
        &column!(actor) as &[Option<Uuid>],
        &column!(event_data) as &[Option<String>],
        &column!(outcome.question) as &[Option<String>],
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// Tasks that wait for nothing else any more.
pub(super) struct Unblocked {
    pub(super) lane: String,
    pub(super) run: Option<Run>,
    /// Whether they were kept at the gate of their run.
    pub(super) is_held: bool,
    pub(super) tasks: u32,
}

/// Counts ended tasks off; tells in which lanes of which runs how many tasks wait for nothing else.
pub(super) async fn unblock(
    db: &mut PgConnection,
    tenant: TenantId,
    ended: &[TaskId],
    policies: Option<&[&str]>,
) -> Result<Vec<Unblocked>, Error> {
    let ended: Vec<Uuid> = ended.iter().map(|task| task.uuid()).collect();
    let rows = sqlx::query_file!(
        "src/queue/unblock.sql",
        tenant.uuid(),
        &ended,
        policies as Option<&[&str]>
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Unblocked {
            lane: row.lane,
            run: Run::of(row.workflow_id, row.work_item_id),
            is_held: row.is_held,
            tasks: u32::try_from(row.tasks).unwrap_or(u32::MAX),
        })
        .collect())
}

/// Which of these tasks exist.
pub(super) async fn existing(
    db: &mut PgConnection,
    tenant: TenantId,
    tasks: &[Uuid],
) -> Result<HashSet<Uuid>, Error> {
    let ids = sqlx::query_scalar!(
        "select id from tasks where tenant_id = $1 and id = any($2)",
        tenant.uuid(),
        tasks
    )
    .fetch_all(db)
    .await?;
    Ok(ids.into_iter().collect())
}

/// Locks tasks that a new one depends on, and marks them as having dependants, so that whoever ends them
/// afterwards counts the new one off. Answers with their states; unknown ids are left out.
///
/// A task that moves between two drawers meanwhile is seen in neither; it is looked for again.
///
/// # Errors
/// Those of the database.
pub async fn lock_predecessors(
    db: &mut PgConnection,
    tenant: TenantId,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, TaskState>, Error> {
    let mut found = HashMap::new();
    let mut open: Vec<Uuid> = ids.to_vec();
    open.sort_unstable();
    open.dedup();
    let known = existing(db, tenant, &open).await?;
    open.retain(|id| known.contains(id));
    while !open.is_empty() {
        let rows = sqlx::query!(
            r#"with w as materialized (
                   select task_id, has_dependants from task_waiting
                   where tenant_id = $1 and task_id = any($2) order by task_id for key share
               ),
               q as materialized (
                   select task_id, has_dependants from task_queue
                   where tenant_id = $1 and task_id = any($2) order by task_id for key share
               ),
               l as materialized (
                   select task_id, has_dependants, state from task_leases
                   where tenant_id = $1 and task_id = any($2) order by task_id for key share
               ),
               p as materialized (
                   select task_id, has_dependants, state from task_parked
                   where tenant_id = $1 and task_id = any($2) order by task_id for key share
               ),
               r as materialized (
                   select task_id, has_dependants, state from task_results
                   where tenant_id = $1 and task_id = any($2) order by task_id for key share
               ),
               mark_w as (update task_waiting t set has_dependants = true from w
                          where t.tenant_id = $1 and t.task_id = w.task_id and not w.has_dependants),
               mark_q as (update task_queue t set has_dependants = true from q
                          where t.tenant_id = $1 and t.task_id = q.task_id and not q.has_dependants),
               mark_l as (update task_leases t set has_dependants = true from l
                          where t.tenant_id = $1 and t.task_id = l.task_id and not l.has_dependants),
               mark_p as (update task_parked t set has_dependants = true from p
                          where t.tenant_id = $1 and t.task_id = p.task_id and not p.has_dependants),
               mark_r as (update task_results t set has_dependants = true from r
                          where t.tenant_id = $1 and t.task_id = r.task_id and not r.has_dependants)
               select task_id as "task_id!", 'pending' as "state!" from w
               union all select task_id, 'ready' from q
               union all select task_id, state from l
               union all select task_id, state from p
               union all select task_id, state from r"#,
            tenant.uuid(),
            &open,
        )
        .fetch_all(&mut *db)
        .await?;
        for row in rows {
            found.insert(
                row.task_id,
                row.state
                    .parse::<TaskState>()
                    .map_err(anyhow::Error::from)?,
            );
        }
        open.retain(|id| !found.contains_key(id));
    }
    Ok(found)
}

/// Takes back a claim whose client has gone before it got its answer: no abandon, no trace but its events.
///
/// # Errors
/// Those of the database.
pub async fn unclaim(
    tx: &mut crate::db::Tx,
    tenant: TenantId,
    task: TaskId,
    attempt: i32,
) -> Result<(), Error> {
    let mut order = Order::by_system(
        task,
        vec![TaskState::Claimed, TaskState::InProgress],
        super::Destination::Ready { keeps_place: true },
        "claimant_gone",
    );
    order.attempt = Some(attempt);
    order.forgets_outcome = true;
    super::move_tasks(tx, tenant, &[order]).await?;
    super::settle(tx).await
}

/// Moves a task to another lane, wherever it lies.
///
/// # Errors
/// Those of the database.
pub async fn change_lane(
    db: &mut PgConnection,
    tenant: TenantId,
    task: TaskId,
    lane: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "with queued as (update task_queue set lane = $3 where tenant_id = $1 and task_id = $2),
         waiting as (update task_waiting set lane = $3 where tenant_id = $1 and task_id = $2),
         leased as (update task_leases set lane = $3 where tenant_id = $1 and task_id = $2),
         parked as (update task_parked set lane = $3 where tenant_id = $1 and task_id = $2)
         update task_results set lane = $3 where tenant_id = $1 and task_id = $2",
        tenant.uuid(),
        task.uuid(),
        lane,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Gives a waiting or ready task another priority. It goes behind those that have it already.
///
/// # Errors
/// Those of the database.
pub async fn reprioritise(
    db: &mut PgConnection,
    tenant: TenantId,
    task: TaskId,
    priority: i16,
) -> Result<(), Error> {
    sqlx::query!(
        "with queued as (
             update task_queue set priority = $3, seq = nextval('task_queue_seq') where tenant_id = $1 and task_id = $2
         ),
         waiting as (update task_waiting set priority = $3 where tenant_id = $1 and task_id = $2),
         leased as (update task_leases set priority = $3 where tenant_id = $1 and task_id = $2),
         parked as (update task_parked set priority = $3 where tenant_id = $1 and task_id = $2)
         update task_results set priority = $3 where tenant_id = $1 and task_id = $2",
        tenant.uuid(),
        task.uuid(),
        priority,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A waiting task that ends because one it depends on did not complete.
pub struct Dependant {
    /// The waiting task.
    pub task: TaskId,
    /// One of the tasks that did not complete.
    pub needs: TaskId,
    /// What becomes of it: `fail` or `cancel`.
    pub policy: String,
}

/// The waiting tasks that end because one of these did not complete.
///
/// # Errors
/// Those of the database.
pub async fn dependants_that_end(
    db: &mut PgConnection,
    tenant: TenantId,
    ended: &[TaskId],
) -> Result<Vec<Dependant>, Error> {
    let ended: Vec<Uuid> = ended.iter().map(|task| task.uuid()).collect();
    let rows = sqlx::query!(
        "select distinct on (d.task_id) d.task_id, d.needs_id, w.on_dependency_failure
         from task_dependencies d
         join task_waiting w on w.tenant_id = d.tenant_id and w.task_id = d.task_id
         where d.tenant_id = $1 and d.needs_id = any($2) and w.blocked_count > 0
           and w.on_dependency_failure <> 'run'
         order by d.task_id, d.needs_id",
        tenant.uuid(),
        &ended,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Dependant {
            task: row.task_id.into(),
            needs: row.needs_id.into(),
            policy: row.on_dependency_failure,
        })
        .collect())
}

/// A held task with what decides about its failure.
pub struct HeldTask {
    /// The task.
    pub task: TaskId,
    /// The attempt that holds it.
    pub attempt: i32,
    /// Claimed or in progress.
    pub state: TaskState,
    /// The agent that holds it.
    pub agent: AgentId,
    /// That agent's worker.
    pub worker: Option<WorkerId>,
    /// Whether the holder must name its attempt.
    pub fenced: bool,
    /// Whether its run was cancelled: its end is then no reason for another attempt.
    pub is_cancelled: bool,
    /// How many retries it has had.
    pub retry_count: i32,
    /// When a failed attempt is followed by another one, as JSON text.
    pub retry_policy: Option<String>,
}

/// Locks held tasks in the order of their ids, and before them the runs that they belong to.
///
/// # Errors
/// Those of the database.
pub async fn lock_held(
    db: &mut PgConnection,
    tenant: TenantId,
    tasks: &[Uuid],
) -> Result<Vec<HeldTask>, Error> {
    let rows = sqlx::query!(
        r#"with runs as materialized (
               select w.id from workflows w
               where w.tenant_id = $1
                 and w.id in (select workflow_id from task_leases where tenant_id = $1 and task_id = any($2) and workflow_id is not null)
               order by w.id
               for no key update
           ),
           held as materialized (
               select task_id, attempt, state, agent_id, worker_id, fenced, retry_count,
                      cancel_by is not null as is_cancelled
               from task_leases
               where tenant_id = $1 and task_id = any($2) and (select count(*) from runs) >= 0
               order by task_id
               for update
           )
           select h.task_id, h.attempt, h.state, h.agent_id, h.worker_id, h.fenced, h.retry_count,
                  h.is_cancelled as "is_cancelled!", t.retry_policy::text as retry_policy
           from held h
           join tasks t on t.tenant_id = $1 and t.id = h.task_id"#,
        tenant.uuid(),
        tasks,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(HeldTask {
                task: row.task_id.into(),
                attempt: row.attempt,
                state: row
                    .state
                    .parse::<TaskState>()
                    .map_err(anyhow::Error::from)?,
                agent: row.agent_id.into(),
                worker: row.worker_id.map(Into::into),
                fenced: row.fenced,
                is_cancelled: row.is_cancelled,
                retry_count: row.retry_count,
                retry_policy: row.retry_policy,
            })
        })
        .collect()
}
