//! The statements about gates.

use protocol::{TaskId, TenantId, WorkItemId, WorkflowId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::gates::{Gate, GateState, Limits};
use crate::error::Error;

impl GateState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
        }
    }

    fn of(word: &str) -> Result<Self, Error> {
        [Self::Open, Self::Paused, Self::Cancelled]
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or_else(|| anyhow::anyhow!("a gate is {word}").into())
    }
}

/// Makes a gate, or gives it other limits.
pub(super) async fn set_limits(
    db: &mut PgConnection,
    tenant: TenantId,
    gate: Uuid,
    workflow: WorkflowId,
    limits: Limits,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into task_gates (tenant_id, id, workflow_id, state, state_changed_at, active_max, item_active_max, items_max)
         values ($1, $2, $3, 'open', clock_timestamp(), $4, $5, $6)
         on conflict (tenant_id, id) do update
         set active_max = excluded.active_max, item_active_max = excluded.item_active_max, items_max = excluded.items_max",
        tenant.uuid(),
        gate,
        workflow.uuid(),
        limits.active_max,
        limits.item_active_max,
        limits.items_max,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Opens or closes a gate.
pub(super) async fn set_state(
    db: &mut PgConnection,
    tenant: TenantId,
    gate: Uuid,
    workflow: WorkflowId,
    state: GateState,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into task_gates (tenant_id, id, workflow_id, state, state_changed_at)
         values ($1, $2, $3, $4, clock_timestamp())
         on conflict (tenant_id, id) do update
         set state = excluded.state, state_changed_at = excluded.state_changed_at",
        tenant.uuid(),
        gate,
        workflow.uuid(),
        state.as_str(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Waits until nobody looks at a gate any more, and lets nobody look until the end of the transaction.
pub(super) async fn lock_gate(
    db: &mut PgConnection,
    tenant: TenantId,
    gate: Uuid,
) -> Result<(), Error> {
    sqlx::query_scalar!(
        "select id from task_gates where tenant_id = $1 and id = $2 for update",
        tenant.uuid(),
        gate,
    )
    .fetch_optional(db)
    .await?;
    Ok(())
}

/// Reads gates, and keeps them as they are until the end of the transaction.
pub(super) async fn lock_gates(
    db: &mut PgConnection,
    tenant: TenantId,
    ids: &[Uuid],
) -> Result<Vec<Gate>, Error> {
    let rows = sqlx::query!(
        "select id, state, active_max, item_active_max, items_max
         from task_gates
         where tenant_id = $1 and id = any($2)
         order by id
         for share",
        tenant.uuid(),
        ids,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Gate {
                id: row.id,
                state: GateState::of(&row.state)?,
                limits: Limits {
                    active_max: row.active_max,
                    item_active_max: row.item_active_max,
                    items_max: row.items_max,
                },
            })
        })
        .collect()
}

/// Takes the locks under which the limits of workflows are counted, in the order of their ids.
pub(super) async fn lock_limits(
    db: &mut PgConnection,
    tenant: TenantId,
    workflows: &[Uuid],
) -> Result<(), Error> {
    sqlx::query!(
        r#"select pg_advisory_xact_lock(hashtextextended('limits of ' || $1::uuid || ' ' || id, 0)) as "lock: ()"
           from unnest($2::uuid[]) as id"#,
        tenant.uuid(),
        workflows,
    )
    .fetch_all(db)
    .await?;
    Ok(())
}

/// Holds what waits behind a paused gate.
pub(super) async fn hold(
    db: &mut PgConnection,
    tenant: TenantId,
    gate: Uuid,
) -> Result<i64, Error> {
    Ok(
        sqlx::query_file_scalar!("src/queue/hold.sql", tenant.uuid(), gate)
            .fetch_one(db)
            .await?,
    )
}

/// Ends the hold of what waits behind a gate that is open again.
pub(super) async fn let_go_on(
    db: &mut PgConnection,
    tenant: TenantId,
    workflow: Uuid,
) -> Result<(), Error> {
    sqlx::query_file!("src/queue/let_go_on.sql", tenant.uuid(), workflow)
        .execute(db)
        .await?;
    Ok(())
}

/// Which held tasks may pass, with limits that concern work items.
pub(super) async fn choose(
    db: &mut PgConnection,
    tenant: TenantId,
    workflow: Uuid,
    limits: Limits,
) -> Result<Vec<Uuid>, Error> {
    Ok(sqlx::query_file_scalar!(
        "src/queue/choose.sql",
        tenant.uuid(),
        workflow,
        limits.active_max,
        limits.item_active_max,
        limits.items_max,
    )
    .fetch_all(db)
    .await?)
}

/// Which held tasks may pass, with a limit of the run at most.
pub(super) async fn choose_in_order(
    db: &mut PgConnection,
    tenant: TenantId,
    workflow: Uuid,
    active_max: Option<i32>,
) -> Result<Vec<Uuid>, Error> {
    Ok(sqlx::query_file_scalar!(
        "src/queue/choose_in_order.sql",
        tenant.uuid(),
        workflow,
        active_max,
    )
    .fetch_all(db)
    .await?)
}

/// Lets held tasks into the queue; tells in which lanes how many, and whether at their old places.
pub(super) async fn admit(
    db: &mut PgConnection,
    tenant: TenantId,
    tasks: &[Uuid],
) -> Result<Vec<(String, bool, u32)>, Error> {
    let rows = sqlx::query_file!("src/queue/admit.sql", tenant.uuid(), tasks)
        .fetch_all(db)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let tasks = u32::try_from(row.tasks).unwrap_or(u32::MAX);
            (row.lane, row.at_old_place, tasks)
        })
        .collect())
}

/// Tasks behind a gate that nobody holds and nobody is moving.
pub(super) async fn idle(
    db: &mut PgConnection,
    tenant: TenantId,
    gate: Uuid,
    limit: i64,
) -> Result<Vec<TaskId>, Error> {
    let ids = sqlx::query_scalar!(
        r#"with w as materialized (
               select task_id from task_waiting where tenant_id = $1 and (workflow_id = $2 or work_item_id = $2)
               order by task_id limit $3 for update skip locked
           ),
           q as materialized (
               select task_id from task_queue where tenant_id = $1 and (workflow_id = $2 or work_item_id = $2)
               order by task_id limit $3 for update skip locked
           ),
           p as materialized (
               select task_id from task_parked where tenant_id = $1 and (workflow_id = $2 or work_item_id = $2)
               order by task_id limit $3 for update skip locked
           )
           select task_id as "task_id!" from w
           union all select task_id from q
           union all select task_id from p"#,
        tenant.uuid(),
        gate,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(ids.into_iter().map(TaskId::from).collect())
}

/// Gives the holders of a cancelled run's tasks until a deadline.
pub(super) async fn give_notice(
    db: &mut PgConnection,
    tenant: TenantId,
    gate: Uuid,
    grace_seconds: f64,
) -> Result<(), Error> {
    sqlx::query!(
        "with held as materialized (
             select task_id from task_leases
             where tenant_id = $1 and (workflow_id = $2 or work_item_id = $2) and cancel_by is null
             order by task_id
             for update skip locked
         )
         update task_leases l
         set cancel_by = clock_timestamp() + make_interval(secs => $3),
             deadline_at = least(l.deadline_at, clock_timestamp() + make_interval(secs => $3))
         where l.tenant_id = $1 and l.task_id = any(array(select task_id from held))",
        tenant.uuid(),
        gate,
        grace_seconds,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Gives notice to holders that were busy when their run was cancelled, and so were passed over.
pub(super) async fn give_late_notice(
    db: &mut PgConnection,
    grace_seconds: f64,
) -> Result<u64, Error> {
    let noticed = sqlx::query!(
        "with held as materialized (
             select l.tenant_id, l.task_id
             from task_gates g
             join task_leases l on l.tenant_id = g.tenant_id and (l.workflow_id = g.id or l.work_item_id = g.id)
             where g.state = 'cancelled' and g.state_changed_at > clock_timestamp() - interval '1 hour'
               and l.cancel_by is null
             order by l.task_id
             for update of l skip locked
         )
         update task_leases l
         set cancel_by = clock_timestamp() + make_interval(secs => $1),
             deadline_at = least(l.deadline_at, clock_timestamp() + make_interval(secs => $1))
         from held h
         where l.tenant_id = h.tenant_id and l.task_id = h.task_id",
        grace_seconds,
    )
    .execute(db)
    .await?;
    Ok(noticed.rows_affected())
}

/// Runs with tasks on the wrong side of a gate: ready behind one that was closed lately, or held.
pub(super) async fn strays(
    db: &mut PgConnection,
    limit: i64,
) -> Result<Vec<(TenantId, WorkflowId, Option<WorkItemId>)>, Error> {
    let rows = sqlx::query!(
        r#"select g.tenant_id as "tenant_id!", g.workflow_id as "workflow_id!", nullif(g.id, g.workflow_id) as "work_item_id?"
           from task_gates g
           where g.state <> 'open' and g.state_changed_at > clock_timestamp() - interval '1 hour'
             and exists (select from task_queue q
                         where q.tenant_id = g.tenant_id and (q.workflow_id = g.id or q.work_item_id = g.id))
           union
           (select distinct w.tenant_id, w.workflow_id, null::uuid
            from task_waiting w
            where w.held = 'limit_full'
            limit $1)
           limit $1"#,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            (
                row.tenant_id.into(),
                row.workflow_id.into(),
                row.work_item_id.map(Into::into),
            )
        })
        .collect())
}

/// What keeps a waiting task at its gate.
pub(super) async fn held(
    db: &mut PgConnection,
    tenant: TenantId,
    task: TaskId,
) -> Result<Option<String>, Error> {
    let held = sqlx::query_scalar!(
        "select held from task_waiting where tenant_id = $1 and task_id = $2",
        tenant.uuid(),
        task.uuid(),
    )
    .fetch_optional(db)
    .await?;
    Ok(held.flatten())
}

/// Forgets the gates of runs that are deleted, and of their work items.
///
/// # Errors
/// Those of the database.
pub async fn forget_gates(
    db: &mut PgConnection,
    tenant: TenantId,
    workflows: &[Uuid],
) -> Result<(), Error> {
    sqlx::query!(
        "delete from task_gates where tenant_id = $1 and workflow_id = any($2)",
        tenant.uuid(),
        workflows,
    )
    .execute(db)
    .await?;
    Ok(())
}
