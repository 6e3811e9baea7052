//! The statements that pause, resume and call off runs, decide in them, delete and forget them.

use protocol::{TenantId, WorkflowId};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::Error;

/// Notes that a run is to be paused, and stops the clocks of what it asks people.
pub(in crate::workflows) async fn pause(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<(), Error> {
    sqlx::query!(
        "with clocks as (
             update workflow_steps
             set seconds_left = greatest(extract(epoch from expires_at - clock_timestamp()), 0), expires_at = null
             where tenant_id = $1 and workflow_id = $2 and state = 'waiting' and expires_at is not null
         )
         update workflows set pause_requested_at = clock_timestamp(), updated_at = clock_timestamp()
         where tenant_id = $1 and id = $2",
        tenant.uuid(),
        run.uuid(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes back that a run is to be paused, and lets the clocks go on where they stood.
pub(in crate::workflows) async fn resume(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<(), Error> {
    sqlx::query!(
        "with clocks as (
             update workflow_steps
             set expires_at = clock_timestamp() + make_interval(secs => seconds_left), seconds_left = null
             where tenant_id = $1 and workflow_id = $2 and state = 'waiting' and seconds_left is not null
         )
         update workflows set pause_requested_at = null, updated_at = clock_timestamp()
         where tenant_id = $1 and id = $2",
        tenant.uuid(),
        run.uuid(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that a run is called off, and with it the steps that have not ended.
pub(in crate::workflows) async fn cancel(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<(), Error> {
    sqlx::query!(
        "with steps as (
             update workflow_steps
             set state = 'cancelled', question = null, expires_at = null, seconds_left = null, completed_at = clock_timestamp()
             where tenant_id = $1 and workflow_id = $2 and state in ('pending', 'running', 'waiting')
         )
         update workflows
         set cancel_requested_at = clock_timestamp(), pause_requested_at = null, updated_at = clock_timestamp()
         where tenant_id = $1 and id = $2",
        tenant.uuid(),
        run.uuid(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A question that waits for a person.
pub(in crate::workflows) struct Question {
    pub(in crate::workflows) state: String,
    pub(in crate::workflows) question: Option<String>,
}

/// Reads the question of a step. Its run is locked.
pub(in crate::workflows) async fn question(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    step: &str,
) -> Result<Option<Question>, Error> {
    Ok(sqlx::query_as!(
        Question,
        "select state, question::text as question
         from workflow_steps
         where tenant_id = $1 and workflow_id = $2 and step_id = $3",
        tenant.uuid(),
        run.uuid(),
        step,
    )
    .fetch_optional(db)
    .await?)
}

/// A step that asks a person, as the inbox shows it.
pub(crate) struct AskingStep {
    pub(crate) workflow_id: Uuid,
    pub(crate) workspace_id: Uuid,
    pub(crate) step_id: String,
    pub(crate) stage_name: Option<String>,
    pub(crate) work_item_id: Uuid,
    /// What it asks, as JSON text.
    pub(crate) question: String,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

/// The steps that ask a person, among those that made these work items.
pub(crate) async fn asking_steps(
    db: &mut PgConnection,
    tenant: TenantId,
    items: &[Uuid],
) -> Result<Vec<AskingStep>, Error> {
    Ok(sqlx::query_as!(
        AskingStep,
        r#"select s.workflow_id, w.workspace_id, s.step_id, s.stage_name, s.work_item_id as "work_item_id!",
                  s.question::text as "question!", s.started_at as "started_at!", s.expires_at
           from workflow_steps s
           join workflows w on w.tenant_id = $1 and w.id = s.workflow_id
           where s.tenant_id = $1 and s.work_item_id = any($2) and s.state = 'waiting'"#,
        tenant.uuid(),
        items,
    )
    .fetch_all(db)
    .await?)
}

/// The step that made a work item, for a key that may be restricted to workspaces.
pub(crate) async fn step_of_item(
    db: &mut PgConnection,
    tenant: TenantId,
    item: Uuid,
    workspaces: Option<&[Uuid]>,
) -> Result<(WorkflowId, String), Error> {
    let found = sqlx::query!(
        "select s.workflow_id, s.step_id
         from workflow_steps s
         join workflows w on w.tenant_id = $1 and w.id = s.workflow_id
         where s.tenant_id = $1 and s.work_item_id = $2 and ($3::uuid[] is null or w.workspace_id = any($3))",
        tenant.uuid(),
        item,
        workspaces as Option<&[Uuid]>,
    )
    .fetch_optional(db)
    .await?;
    let row = found.ok_or_else(|| Error::not_found("approval", item))?;
    Ok((row.workflow_id.into(), row.step_id))
}

/// Questions whose time is over: their tenant, run and step.
pub(in crate::workflows) async fn expired(
    db: &mut PgConnection,
    limit: i64,
) -> Result<Vec<(TenantId, WorkflowId, String)>, Error> {
    let rows = sqlx::query!(
        "select tenant_id, workflow_id, step_id from workflow_steps
         where state = 'waiting' and expires_at < clock_timestamp()
         order by expires_at
         limit $1",
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.tenant_id.into(), row.workflow_id.into(), row.step_id))
        .collect())
}

/// Whether the time of a question is over. Its run is locked.
pub(in crate::workflows) async fn is_expired(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    step: &str,
) -> Result<bool, Error> {
    let found = sqlx::query_scalar!(
        r#"select state = 'waiting' and coalesce(expires_at < clock_timestamp(), false) as "is_expired!"
           from workflow_steps
           where tenant_id = $1 and workflow_id = $2 and step_id = $3"#,
        tenant.uuid(),
        run.uuid(),
        step,
    )
    .fetch_optional(db)
    .await?;
    Ok(found.unwrap_or(false))
}

/// Seconds until the time of the next question is over, if there is one.
pub(in crate::workflows) async fn next_expiry(db: &mut PgConnection) -> Result<Option<f64>, Error> {
    Ok(sqlx::query_scalar!(
        r#"select extract(epoch from min(expires_at) - clock_timestamp())::float8 as "seconds?"
           from workflow_steps
           where state = 'waiting' and expires_at is not null"#
    )
    .fetch_one(db)
    .await?)
}

/// Which of these runs there are, whether they have ended, and whether a worker still holds a task of them.
pub(in crate::workflows) async fn lock_for_deletion(
    db: &mut PgConnection,
    tenant: TenantId,
    runs: &[Uuid],
    workspaces: Option<&[Uuid]>,
) -> Result<Vec<(Uuid, String, bool)>, Error> {
    let rows = sqlx::query!(
        r#"select id, state,
                  exists (select from task_leases l where l.tenant_id = $1 and l.workflow_id = w.id) as "is_held!"
           from workflows w
           where tenant_id = $1 and id = any($2) and ($3::uuid[] is null or workspace_id = any($3))
           order by id
           for update"#,
        tenant.uuid(),
        runs,
        workspaces as Option<&[Uuid]>,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.id, row.state, row.is_held))
        .collect())
}

/// Deletes runs, and with them their stages, steps and work items. Their tasks are deleted before.
pub(in crate::workflows) async fn delete(
    db: &mut PgConnection,
    tenant: TenantId,
    runs: &[Uuid],
) -> Result<(), Error> {
    sqlx::query!(
        "delete from workflows where tenant_id = $1 and id = any($2)",
        tenant.uuid(),
        runs,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Locks runs that ended before the retention began, and of which no worker holds a task.
pub(in crate::workflows) async fn past_retention(
    db: &mut PgConnection,
    days: i32,
    limit: i64,
) -> Result<Vec<(TenantId, Uuid)>, Error> {
    let rows = sqlx::query!(
        "select w.tenant_id, w.id
         from tenants t
         cross join lateral (
             select * from workflows w
             where w.tenant_id = t.id and w.completed_at < clock_timestamp() - make_interval(days => $1)
             order by w.completed_at
             limit $2
             for update skip locked
         ) w
         where not exists (select from task_leases l where l.tenant_id = w.tenant_id and l.workflow_id = w.id)
         limit $2",
        days,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.tenant_id.into(), row.id))
        .collect())
}

/// A step that stands in the way of a run.
pub(in crate::workflows) struct StepInTheWay {
    pub(in crate::workflows) step_id: String,
    pub(in crate::workflows) state: String,
    pub(in crate::workflows) message: Option<String>,
    pub(in crate::workflows) work_item_id: Option<Uuid>,
}

/// The steps of a run, or of one work item of it, in one of these states, 20 at most.
pub(in crate::workflows) async fn steps_in(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    item: Option<Uuid>,
    states: &[&str],
) -> Result<Vec<StepInTheWay>, Error> {
    Ok(sqlx::query_as!(
        StepInTheWay,
        r#"select step_id, state, coalesce(error->>'message', question->>'message') as message, work_item_id
           from workflow_steps
           where tenant_id = $1 and workflow_id = $2 and ($3::uuid is null or work_item_id = $3) and state = any($4)
             and (state <> 'failed' or not is_forgiven)
           order by position
           limit 20"#,
        tenant.uuid(),
        run.uuid(),
        item as Option<Uuid>,
        states as &[&str],
    )
    .fetch_all(db)
    .await?)
}

/// Open tasks of a run, or of one work item of it, 20 at most: those that are held come first.
pub(in crate::workflows) async fn open_tasks(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    item: Option<Uuid>,
) -> Result<Vec<Uuid>, Error> {
    let rows = sqlx::query!(
        r#"select o.task_id as "task_id!"
           from (
               (select task_id, 0 as part from task_leases where tenant_id = $1 and workflow_id = $2 and $3::uuid is null order by task_id limit 20)
               union all
               (select task_id, 1 from task_queue where tenant_id = $1 and workflow_id = $2 and $3::uuid is null order by task_id limit 20)
               union all
               (select task_id, 2 from task_parked where tenant_id = $1 and workflow_id = $2 and $3::uuid is null order by task_id limit 20)
               union all
               (select task_id, 3 from task_waiting where tenant_id = $1 and workflow_id = $2 and $3::uuid is null order by task_id limit 20)
               union all
               (select t.id, 0 from tasks t
                cross join lateral (select state from task_positions where tenant_id = $1 and task_id = t.id limit 1) p
                where t.tenant_id = $1 and t.work_item_id = $3 and p.state not in ('completed', 'failed', 'cancelled')
                order by t.id limit 20)
           ) o
           order by o.part, o.task_id
           limit 20"#,
        tenant.uuid(),
        run.uuid(),
        item as Option<Uuid>,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| row.task_id).collect())
}

/// The step that made a work item, if it has not ended.
pub(in crate::workflows) async fn open_step_of(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    item: Uuid,
) -> Result<Option<String>, Error> {
    Ok(sqlx::query_scalar!(
        "select step_id from workflow_steps
         where tenant_id = $1 and workflow_id = $2 and work_item_id = $3 and state in ('running', 'waiting')",
        tenant.uuid(),
        run.uuid(),
        item,
    )
    .fetch_optional(db)
    .await?)
}

/// Locks the runs of all versions of a playbook, in the order of their ids.
pub(in crate::workflows) async fn lock_of_playbooks(
    db: &mut PgConnection,
    tenant: TenantId,
    slug: &str,
) -> Result<Vec<Uuid>, Error> {
    Ok(sqlx::query_scalar!(
        "select id from workflows
         where tenant_id = $1 and playbook_id in (select id from playbooks where tenant_id = $1 and slug = $2)
         order by id
         for update",
        tenant.uuid(),
        slug,
    )
    .fetch_all(db)
    .await?)
}

/// Locks the runs in a workspace.
pub(in crate::workflows) async fn lock_of_workspace(
    db: &mut PgConnection,
    tenant: TenantId,
    workspace: Uuid,
) -> Result<Vec<Uuid>, Error> {
    Ok(sqlx::query_scalar!(
        "select id from workflows where tenant_id = $1 and workspace_id = $2 order by id for update",
        tenant.uuid(),
        workspace,
    )
    .fetch_all(db)
    .await?)
}
