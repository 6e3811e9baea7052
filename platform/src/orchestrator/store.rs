//! The statements that look at a run for its orchestrator.

use protocol::{StateSnapshot, TaskId, TenantId, WorkItemId, WorkflowId};
use sqlx::PgConnection;

use crate::error::Error;

/// How a run is.
pub(super) async fn snapshot(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    item: Option<WorkItemId>,
    task: Option<TaskId>,
) -> Result<StateSnapshot, Error> {
    let row = sqlx::query!(
        r#"select (select g.name from workflow_stages g
                   where g.tenant_id = $1 and g.workflow_id = $2 and g.completed_at is null
                   order by g.position limit 1) as current_stage,
                  array(select t.id from tasks t
                        left join task_results r on r.tenant_id = $1 and r.task_id = t.id
                        where t.tenant_id = $1 and t.workflow_id = $2 and r.task_id is null and not t.is_orchestrator_task
                        order by t.id limit 20) as "tasks!",
                  array(select i.id from work_items i
                        where i.tenant_id = $1 and i.workflow_id = $2 and i.completed_at is null and i.cancel_requested_at is null
                        order by i.id limit 20) as "items!",
                  array(select g.stage_name from stage_gates g
                        where g.tenant_id = $1 and g.workflow_id = $2 and g.superseded_at is null and g.status <> 'approved'
                        order by g.stage_name) as "gated!""#,
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_one(db)
    .await?;
    Ok(StateSnapshot {
        workflow_id: run,
        work_item_id: item,
        task_id: task,
        current_stage: row.current_stage,
        open_task_ids: row.tasks.into_iter().map(Into::into).collect(),
        open_work_item_ids: row.items.into_iter().map(Into::into).collect(),
        gated_stages: row.gated,
    })
}

/// Locks the place of a task that nobody works on. False when somebody does, or it has ended.
pub(super) async fn lock_unclaimed(
    db: &mut PgConnection,
    tenant: TenantId,
    task: TaskId,
) -> Result<bool, Error> {
    // Where tasks come from before where they go to, so that none slips by.
    let waiting = sqlx::query_scalar!(
        "select task_id from task_waiting where tenant_id = $1 and task_id = $2 for update",
        tenant.uuid(),
        task.uuid(),
    )
    .fetch_optional(&mut *db)
    .await?;
    if waiting.is_some() {
        return Ok(true);
    }
    let parked = sqlx::query_scalar!(
        "select task_id from task_parked where tenant_id = $1 and task_id = $2 and state = 'awaiting_approval' for update",
        tenant.uuid(),
        task.uuid(),
    )
    .fetch_optional(&mut *db)
    .await?;
    if parked.is_some() {
        return Ok(true);
    }
    let queued = sqlx::query_scalar!(
        "select task_id from task_queue where tenant_id = $1 and task_id = $2 for update",
        tenant.uuid(),
        task.uuid(),
    )
    .fetch_optional(db)
    .await?;
    Ok(queued.is_some())
}

/// Locks the lease of a task. Answers with the seconds that it still lasts; none when nobody holds the task, or
/// its holder has fallen silent.
pub(super) async fn lock_living_lease(
    db: &mut PgConnection,
    tenant: TenantId,
    task: TaskId,
) -> Result<Option<f64>, Error> {
    let lease = sqlx::query!(
        r#"select extract(epoch from l.expires_at - clock_timestamp())::float8 as "seconds!",
                  exists (select from agent_standing a where a.tenant_id = $1 and a.id = l.agent_id and a.silence is null)
                      as "is_heard!"
           from task_leases l
           where l.tenant_id = $1 and l.task_id = $2
           for update of l"#,
        tenant.uuid(),
        task.uuid(),
    )
    .fetch_optional(db)
    .await?;
    Ok(lease
        .filter(|lease| lease.is_heard && lease.seconds > 0.0)
        .map(|lease| lease.seconds))
}
