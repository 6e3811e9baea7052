//! The statements that dispatch and settle batches of activations, and what they look at before.

use protocol::{TenantId, WorkflowId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;

/// How the orchestration of a run is.
pub(in crate::activations) struct Head {
    pub(in crate::activations) state: String,
    pub(in crate::activations) is_paused: bool,
    pub(in crate::activations) is_ended: bool,
    pub(in crate::activations) has_queued: bool,
    pub(in crate::activations) has_due: bool,
    pub(in crate::activations) batch: Option<OpenBatch>,
}

/// The batch of a run that is not completed.
pub(in crate::activations) struct OpenBatch {
    pub(in crate::activations) id: Uuid,
    pub(in crate::activations) state: String,
    pub(in crate::activations) task: Uuid,
    pub(in crate::activations) dispatch_attempt: i32,
    pub(in crate::activations) failures: i32,
    pub(in crate::activations) is_due: bool,
    /// The state of its task, if there still is one.
    pub(in crate::activations) task_state: Option<String>,
    pub(in crate::activations) task_error: Option<String>,
}

/// Reads how the orchestration of a run is, if it has one.
pub(in crate::activations) async fn head(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<Option<Head>, Error> {
    let row = sqlx::query!(
        r#"select w.state, w.pause_requested_at is not null as "is_paused!",
                  (w.closed_at is not null or w.cancel_requested_at is not null
                   or w.state in ('completed', 'failed', 'cancelled')) as "is_ended!",
                  exists (select from activations a where a.tenant_id = $1 and a.workflow_id = $2
                          and a.batch_id is null and a.consumed_at is null) as "has_queued!",
                  exists (select from activations a where a.tenant_id = $1 and a.workflow_id = $2
                          and a.batch_id is null and a.consumed_at is null and a.due_at <= clock_timestamp()) as "has_due!",
                  b.id as "id?", b.state as "batch_state?", b.task_id as "task_id?", b.dispatch_attempt as "dispatch_attempt?",
                  b.failures as "failures?", coalesce(b.look_at <= clock_timestamp(), false) as "is_due!",
                  p.state as "task_state?", p.error::text as task_error
           from workflows w
           left join activation_batches b on b.tenant_id = $1 and b.workflow_id = $2 and b.state <> 'completed'
           left join lateral (select state, error from task_positions where tenant_id = $1 and task_id = b.task_id limit 1) p on true
           where w.tenant_id = $1 and w.id = $2 and w.kind = 'orchestrated'"#,
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| {
        let batch = (row.id.zip(row.batch_state)).zip(row.task_id);
        Head {
            state: row.state,
            is_paused: row.is_paused,
            is_ended: row.is_ended,
            has_queued: row.has_queued,
            has_due: row.has_due,
            batch: batch.map(|((id, state), task)| OpenBatch {
                id,
                state,
                task,
                dispatch_attempt: row.dispatch_attempt.unwrap_or_default(),
                failures: row.failures.unwrap_or_default(),
                is_due: row.is_due,
                task_state: row.task_state,
                task_error: row.task_error,
            }),
        }
    }))
}

/// What an orchestrator is told of its run.
pub(in crate::activations) struct Facts {
    pub(in crate::activations) name: String,
    pub(in crate::activations) lifecycle: String,
    pub(in crate::activations) workspace_id: Uuid,
    pub(in crate::activations) playbook_id: Uuid,
    pub(in crate::activations) task_timeout_minutes: i32,
    pub(in crate::activations) parameters: String,
    pub(in crate::activations) orchestration_state: String,
    pub(in crate::activations) current_stage: Option<String>,
    pub(in crate::activations) active_stages: Option<Vec<String>>,
}

/// Reads what an orchestrator is told of its run.
pub(in crate::activations) async fn facts(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<Facts, Error> {
    Ok(sqlx::query_as!(
        Facts,
        r#"select w.name, w.lifecycle, w.workspace_id, w.playbook_id, w.task_timeout_minutes, w.input::text as "parameters!",
                  w.orchestration_state::text as "orchestration_state!", g.current as "current_stage?", g.active as "active_stages?"
           from workflows w
           left join lateral (
               select (array_agg(g.name order by g.position) filter (where g.completed_at is null and w.lifecycle = 'planned'))[1] as current,
                      array_agg(g.name order by g.position) filter (where g.started_at is not null and g.completed_at is null) as active
               from workflow_stages g where g.tenant_id = $1 and g.workflow_id = $2
           ) g on true
           where w.tenant_id = $1 and w.id = $2"#,
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_one(db)
    .await?)
}

/// A task that is about to be made of a batch.
pub(in crate::activations) struct Dispatch<'a> {
    pub(in crate::activations) batch: Uuid,
    pub(in crate::activations) reason: &'a str,
    pub(in crate::activations) attempt: i32,
    pub(in crate::activations) token: Uuid,
    pub(in crate::activations) task: Uuid,
    pub(in crate::activations) look_after_seconds: f64,
}

/// Notes that a batch has a task from now on.
pub(in crate::activations) async fn dispatch(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    row: &Dispatch<'_>,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into activation_batches (tenant_id, id, workflow_id, reason, state, dispatch_attempt, dispatch_token, task_id,
                                         look_at, started_at)
         values ($1, $2, $3, $4, 'processing', $5, $6, $7, clock_timestamp() + make_interval(secs => $8), clock_timestamp())
         on conflict (tenant_id, id) do update
         set state = 'processing', reason = excluded.reason, dispatch_attempt = excluded.dispatch_attempt,
             dispatch_token = excluded.dispatch_token, task_id = excluded.task_id, look_at = excluded.look_at,
             started_at = excluded.started_at, stale_noticed_at = null, finished_at = null",
        tenant.uuid(),
        row.batch,
        run.uuid(),
        row.reason,
        row.attempt,
        row.token,
        row.task,
        row.look_after_seconds,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that a batch, and all that it tells, is done with.
pub(in crate::activations) async fn close(
    db: &mut PgConnection,
    tenant: TenantId,
    batch: Uuid,
    summary: Option<&str>,
) -> Result<(), Error> {
    sqlx::query!(
        "with told as (
             update activations set consumed_at = clock_timestamp() where tenant_id = $1 and batch_id = $2
         )
         update activation_batches b
         set state = 'completed', completed_at = clock_timestamp(), look_at = null, summary = coalesce($3, summary),
             was_taken = was_taken or exists (
                 select from task_positions p where p.tenant_id = $1 and p.task_id = b.task_id and p.attempt > 0
             )
         where b.tenant_id = $1 and b.id = $2",
        tenant.uuid(),
        batch,
        summary,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that the task of a batch failed, and when another one follows, if one does by itself.
pub(in crate::activations) async fn fail(
    db: &mut PgConnection,
    tenant: TenantId,
    batch: Uuid,
    failures: i32,
    pause_seconds: Option<f64>,
    error: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "update activation_batches b
         set state = case when $4::float8 is null then 'stuck' else 'retrying' end, failures = $3, error = $5::text::json,
             look_at = clock_timestamp() + make_interval(secs => $4),
             was_taken = was_taken or exists (
                 select from task_positions p where p.tenant_id = $1 and p.task_id = b.task_id and p.attempt > 0
             )
         where b.tenant_id = $1 and b.id = $2",
        tenant.uuid(),
        batch,
        failures,
        pause_seconds,
        error,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that somebody has opened the task of a batch again.
pub(in crate::activations) async fn reopen(
    db: &mut PgConnection,
    tenant: TenantId,
    batch: Uuid,
    look_after_seconds: f64,
) -> Result<(), Error> {
    sqlx::query!(
        "update activation_batches
         set state = 'processing', failures = 0, look_at = clock_timestamp() + make_interval(secs => $3)
         where tenant_id = $1 and id = $2",
        tenant.uuid(),
        batch,
        look_after_seconds,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Lets an orchestrator that failed too often be tried again at once.
pub(in crate::activations) async fn try_again(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<(), Error> {
    sqlx::query!(
        "update activation_batches
         set state = 'retrying', failures = 0, look_at = clock_timestamp()
         where tenant_id = $1 and workflow_id = $2 and state = 'stuck'",
        tenant.uuid(),
        run.uuid(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Lets the loop look at what a run that has ended leaves behind. False when that is nothing.
pub(in crate::activations) async fn look_now(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<bool, Error> {
    let left = sqlx::query!(
        "update activation_batches set look_at = clock_timestamp()
         where tenant_id = $1 and workflow_id = $2 and state <> 'completed'",
        tenant.uuid(),
        run.uuid(),
    )
    .execute(db)
    .await?;
    Ok(left.rows_affected() > 0)
}

/// Notes that the orchestrator of a run takes long, if its task is open and that was not noticed before. In
/// any case the loop looks again later.
pub(in crate::activations) async fn notice_stale(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    stale_after_seconds: f64,
) -> Result<Option<Uuid>, Error> {
    Ok(sqlx::query_scalar!(
        r#"with seen as (
               select id, stale_noticed_at is null and started_at < clock_timestamp() - make_interval(secs => $3) as is_new
               from activation_batches
               where tenant_id = $1 and workflow_id = $2 and state = 'processing' and look_at <= clock_timestamp()
           ),
           noticed as (
               update activation_batches b
               set look_at = clock_timestamp() + make_interval(secs => $3),
                   stale_noticed_at = case when s.is_new then clock_timestamp() else b.stale_noticed_at end
               from seen s
               where b.tenant_id = $1 and b.id = s.id
           )
           select id from seen where is_new"#,
        tenant.uuid(),
        run.uuid(),
        stale_after_seconds,
    )
    .fetch_optional(db)
    .await?)
}

/// Notes that the orchestrator says it is done with a batch.
pub(in crate::activations) async fn note_finished(
    db: &mut PgConnection,
    tenant: TenantId,
    batch: Uuid,
) -> Result<(), Error> {
    sqlx::query!(
        "update activation_batches set finished_at = coalesce(finished_at, clock_timestamp()) where tenant_id = $1 and id = $2",
        tenant.uuid(),
        batch,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Runs of which something is due: their tenants and ids.
pub(in crate::activations) async fn due(
    db: &mut PgConnection,
    limit: i64,
) -> Result<Vec<(TenantId, WorkflowId)>, Error> {
    let rows = sqlx::query!(
        r#"select d.tenant_id as "tenant_id!", d.workflow_id as "workflow_id!"
           from (
               (select b.tenant_id, b.workflow_id
                from activation_batches b
                join workflows w on w.tenant_id = b.tenant_id and w.id = b.workflow_id
                where b.state <> 'completed' and b.look_at <= clock_timestamp()
                  and (b.state <> 'retrying' or w.pause_requested_at is null)
                order by b.look_at
                limit $1)
               union
               (select a.tenant_id, a.workflow_id
                from activations a
                join workflows w on w.tenant_id = a.tenant_id and w.id = a.workflow_id and w.pause_requested_at is null
                where a.batch_id is null and a.consumed_at is null and a.due_at <= clock_timestamp()
                  and not exists (select from activation_batches b
                                  where b.tenant_id = a.tenant_id and b.workflow_id = a.workflow_id and b.state <> 'completed')
                order by a.due_at
                limit $1)
           ) d"#,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.tenant_id.into(), row.workflow_id.into()))
        .collect())
}

/// Seconds until the next thing is due, if there is one.
pub(in crate::activations) async fn next_due(db: &mut PgConnection) -> Result<Option<f64>, Error> {
    Ok(sqlx::query_scalar!(
        r#"select extract(epoch from least(
                      (select min(look_at) from activation_batches where state <> 'completed' and look_at > clock_timestamp()),
                      (select min(due_at) from activations
                       where batch_id is null and consumed_at is null and due_at > clock_timestamp())
                  ) - clock_timestamp())::float8 as "seconds?""#
    )
    .fetch_one(db)
    .await?)
}

/// Locks a run, unless somebody else has; false when that is so.
pub(in crate::activations) async fn lock_if_free(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<bool, Error> {
    let locked = sqlx::query_scalar!(
        "select id from workflows where tenant_id = $1 and id = $2 for no key update skip locked",
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_optional(db)
    .await?;
    Ok(locked.is_some())
}

/// Locks runs in which nothing has happened for so many minutes, and in which nothing would by itself.
pub(in crate::activations) async fn idle(
    db: &mut PgConnection,
    minutes: i32,
    limit: i64,
) -> Result<Vec<(TenantId, WorkflowId)>, Error> {
    let rows = sqlx::query!(
        "select w.tenant_id, w.id
         from workflows w
         where w.kind = 'orchestrated' and w.state in ('pending', 'active') and w.pause_requested_at is null
           and w.created_at < clock_timestamp() - make_interval(mins => $1)
           and not exists (select from activation_batches b
                           where b.tenant_id = w.tenant_id and b.workflow_id = w.id
                             and (b.state <> 'completed' or b.completed_at > clock_timestamp() - make_interval(mins => $1)))
           and not exists (select from activations a
                           where a.tenant_id = w.tenant_id and a.workflow_id = w.id and a.batch_id is null and a.consumed_at is null)
           and not exists (select from task_waiting t where t.tenant_id = w.tenant_id and t.workflow_id = w.id)
           and not exists (select from task_queue t where t.tenant_id = w.tenant_id and t.workflow_id = w.id)
           and not exists (select from task_leases t where t.tenant_id = w.tenant_id and t.workflow_id = w.id)
           and not exists (select from task_parked t where t.tenant_id = w.tenant_id and t.workflow_id = w.id)
           and not exists (select from workflows c where c.tenant_id = w.tenant_id and c.parent_workflow_id = w.id
                             and c.state not in ('completed', 'failed', 'cancelled'))
           and not exists (select from stage_gates g where g.tenant_id = w.tenant_id and g.workflow_id = w.id
                             and g.status = 'awaiting_approval' and g.superseded_at is null)
         order by w.tenant_id, w.id
         limit $2
         for no key update of w skip locked",
        minutes,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.tenant_id.into(), row.id.into()))
        .collect())
}
