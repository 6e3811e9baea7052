//! The statements that queue activations, and take what is queued into a batch or out of the queue.

use protocol::{ActivationId, TenantId, WorkflowId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::activations::wake::{TaskWake, Wake};
use crate::error::Error;

/// Queues what has happened in a run, if the run has an orchestrator and has not ended. Answers with the
/// activations, in their order.
pub(in crate::activations) async fn queue(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    wakes: &[Wake],
) -> Result<Vec<ActivationId>, Error> {
    macro_rules! column {
        ($wake:ident => $value:expr) => {
            wakes.iter().map(|$wake| $value).collect::<Vec<_>>()
        };
    }
    let ids: Vec<Uuid> = wakes.iter().map(|_| Uuid::now_v7()).collect();
    let rows = sqlx::query_scalar!(
        "insert into activations (tenant_id, id, workflow_id, event_type, reason, payload, work_item_id, stage_name, due_at)
         select $1, w.id, $2, w.event_type, w.reason, w.payload::json, w.work_item_id, w.stage_name,
                clock_timestamp() + make_interval(secs => w.delay)
         from unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::text[], $9::float8[])
              with ordinality as w (id, event_type, reason, payload, work_item_id, stage_name, delay, place)
         join workflows f on f.tenant_id = $1 and f.id = $2 and f.kind = 'orchestrated' and f.closed_at is null
                         and f.cancel_requested_at is null and f.state not in ('completed', 'failed', 'cancelled')
         order by w.place
         returning id",
        tenant.uuid(),
        run.uuid(),
        &ids,
        &column!(wake => wake.event_type.as_str()) as &[&str],
        &column!(wake => wake.reason.as_str()) as &[&str],
        &column!(wake => wake.payload.text()) as &[&str],
        &column!(wake => wake.work_item) as &[Option<Uuid>],
        &column!(wake => wake.stage.as_deref()) as &[Option<&str>],
        &column!(wake => wake.delay_seconds()),
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Queues what has happened to tasks of runs, but for the tasks of orchestrators. Answers with the run, the
/// activation, and what has happened.
pub(in crate::activations) async fn queue_for_tasks(
    db: &mut PgConnection,
    tenant: TenantId,
    wakes: &[TaskWake],
) -> Result<Vec<(WorkflowId, ActivationId, String)>, Error> {
    let ids: Vec<Uuid> = wakes.iter().map(|_| Uuid::now_v7()).collect();
    let tasks: Vec<Uuid> = wakes.iter().map(|wake| wake.task.uuid()).collect();
    let types: Vec<&str> = wakes.iter().map(|wake| wake.event_type).collect();
    let rows = sqlx::query!(
        "insert into activations (tenant_id, id, workflow_id, event_type, reason, payload, work_item_id, stage_name, due_at)
         select $1, w.id, t.workflow_id, w.event_type, 'a task of the run has changed',
                json_build_object('task_id', t.id, 'title', t.title, 'role', t.role, 'state', p.state, 'attempt', p.attempt,
                                  'rework_count', p.rework_count, 'error', p.error, 'question', k.question),
                t.work_item_id, t.stage_name, clock_timestamp()
         from unnest($2::uuid[], $3::uuid[], $4::text[]) with ordinality as w (id, task_id, event_type, place)
         join tasks t on t.tenant_id = $1 and t.id = w.task_id and not t.is_orchestrator_task
         cross join lateral (select * from task_positions where tenant_id = $1 and task_id = t.id limit 1) p
         left join task_parked k on k.tenant_id = $1 and k.task_id = t.id
         join workflows f on f.tenant_id = $1 and f.id = t.workflow_id and f.kind = 'orchestrated' and f.closed_at is null
                         and f.cancel_requested_at is null and f.state not in ('completed', 'failed', 'cancelled')
         order by w.place
         returning workflow_id, id, event_type",
        tenant.uuid(),
        &ids,
        &tasks,
        &types as &[&str],
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.workflow_id.into(), row.id.into(), row.event_type))
        .collect())
}

/// An activation that somebody asks for.
pub(in crate::activations) struct Asked<'a> {
    pub(in crate::activations) id: ActivationId,
    pub(in crate::activations) request_id: Option<&'a str>,
    pub(in crate::activations) event_type: &'a str,
    pub(in crate::activations) reason: &'a str,
    pub(in crate::activations) payload: &'a str,
    pub(in crate::activations) delay_seconds: f64,
    /// Why it wakes nobody.
    pub(in crate::activations) ignored: Option<&'a str>,
}

/// Stores an activation that somebody asks for.
pub(in crate::activations) async fn insert(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    asked: &Asked<'_>,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into activations (tenant_id, id, workflow_id, request_id, event_type, reason, payload, due_at, ignored, consumed_at)
         values ($1, $2, $3, $4, $5, $6, $7::text::json, clock_timestamp() + make_interval(secs => $8), $9,
                 case when $9::text is not null then clock_timestamp() end)",
        tenant.uuid(),
        asked.id.uuid(),
        run.uuid(),
        asked.request_id,
        asked.event_type,
        asked.reason,
        asked.payload,
        asked.delay_seconds,
        asked.ignored,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The first activation of a run that waits.
pub(in crate::activations) async fn first_queued(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<Uuid, Error> {
    Ok(sqlx::query_scalar!(
        "select id from activations
         where tenant_id = $1 and workflow_id = $2 and batch_id is null and consumed_at is null
         order by seq
         limit 1",
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_one(db)
    .await?)
}

/// Lets a batch take in what is queued, oldest first, until it tells so many things, or of so many bytes. An empty
/// batch takes in one, however large.
pub(in crate::activations) async fn take_in(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    batch: Uuid,
    (events, bytes): (i64, i64),
) -> Result<(), Error> {
    sqlx::query!(
        "with taken as (
             select count(*) as events, coalesce(sum(octet_length(payload::text)), 0) as bytes
             from activations where tenant_id = $1 and batch_id = $3
         ),
         queued as (
             select id, seq, octet_length(payload::text) as bytes
             from activations
             where tenant_id = $1 and workflow_id = $2 and batch_id is null and consumed_at is null
             order by seq
             limit greatest($4 - (select events from taken), 0)
         ),
         summed as (
             select id, row_number() over (order by seq) as place, sum(bytes) over (order by seq) as bytes
             from queued
         )
         update activations a
         set batch_id = $3
         from summed q, taken t
         where a.tenant_id = $1 and a.id = q.id
           and (t.bytes + q.bytes <= $5 or t.events + q.place = 1)",
        tenant.uuid(),
        run.uuid(),
        batch,
        events,
        bytes,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What is queued in a run wakes nobody any more.
pub(in crate::activations) async fn ignore_queued(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    why: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "update activations set consumed_at = clock_timestamp(), ignored = $3
         where tenant_id = $1 and workflow_id = $2 and batch_id is null and consumed_at is null",
        tenant.uuid(),
        run.uuid(),
        why,
    )
    .execute(db)
    .await?;
    Ok(())
}
