//! The statements that read runs, as they are shown.

use protocol::{TaskSummary, TenantId, Workflow, WorkflowId, WorkflowStage, WorkflowStep};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;
use crate::workflows::record::{Row, StageRow, StepRow, TaskRow};

/// Selects runs, with what follows `from workflows w`.
macro_rules! select_runs {
    ($rest:literal, $($argument:expr),* $(,)?) => {
        sqlx::query_as!(
            Row,
            r#"select w.tenant_id, w.id, w.workspace_id, s.name as "workspace_name?", w.playbook_id, p.name as "playbook_name?",
                      w.playbook_version, w.kind, w.lifecycle, w.name, w.request_id, w.state, w.pause_requested_at,
                      w.cancel_requested_at, w.parameters::text as "parameters!", w.context::text as "context!",
                      w.metadata::text as "metadata!", w.config_overrides::text as "config_overrides!",
                      w.instruction_config::text as "instruction_config!", w.token_budget, w.cost_cap_usd,
                      w.max_duration_minutes, w.root_workflow_id, w.parent_workflow_id, w.previous_attempt_workflow_id, w.attempt_number,
                      w.redrive_reason, w.output::text as output, w.error::text as error, w.started_at, w.completed_at,
                      w.created_at, w.updated_at, tasks.counts as "task_counts?", steps.counts as "step_counts?",
                      items.total as "items_total!", items.open as "items_open!", items.blocked as "items_blocked!",
                      items.completed as "items_completed!", coalesce(asking.gates, 0) as "gates!",
                      stages.current as "current_stage?", stages.active as "active_stages?"
               from (select w.* from workflows w "#
                + $rest
                + r#") w
               left join workspaces s on s.tenant_id = w.tenant_id and s.id = w.workspace_id
               left join playbooks p on p.tenant_id = w.tenant_id and p.id = w.playbook_id
               left join lateral (
                   select json_object_agg(state, count)::text as counts
                   from (
                       select 'pending' as state, count(*) from task_waiting d where d.tenant_id = w.tenant_id and d.workflow_id = w.id having count(*) > 0
                       union all
                       select 'ready', count(*) from task_queue d where d.tenant_id = w.tenant_id and d.workflow_id = w.id having count(*) > 0
                       union all
                       select state, count(*) from task_leases d where d.tenant_id = w.tenant_id and d.workflow_id = w.id group by state
                       union all
                       select state, count(*) from task_parked d where d.tenant_id = w.tenant_id and d.workflow_id = w.id group by state
                       union all
                       select state, count(*) from task_results d where d.tenant_id = w.tenant_id and d.workflow_id = w.id group by state
                   ) counted
               ) tasks on true
               left join lateral (
                   select json_object_agg(state, count)::text as counts
                   from (select state, count(*) from workflow_steps d where d.tenant_id = w.tenant_id and d.workflow_id = w.id group by state) counted
               ) steps on true
               left join lateral (
                   select count(*) as total,
                          count(*) filter (where completed_at is null and cancel_requested_at is null) as open,
                          count(*) filter (where completed_at is null and cancel_requested_at is null and blocked_state is not null) as blocked,
                          count(*) filter (where completed_at is not null) as completed
                   from work_items i where i.tenant_id = w.tenant_id and i.workflow_id = w.id
               ) items on true
               left join lateral (
                   select (select count(*) from workflow_steps d where d.tenant_id = w.tenant_id and d.workflow_id = w.id and d.state = 'waiting')
                        + (select count(*) from stage_gates d where d.tenant_id = w.tenant_id and d.workflow_id = w.id
                             and d.status = 'awaiting_approval' and d.superseded_at is null) as gates
               ) asking on true
               left join lateral (
                   select (array_agg(g.name order by g.position) filter (where g.completed_at is null and w.lifecycle = 'planned'))[1] as current,
                          array_agg(g.name order by g.position) filter (where g.started_at is not null and g.completed_at is null) as active
                   from workflow_stages g where g.tenant_id = w.tenant_id and g.workflow_id = w.id
               ) stages on true
               order by w.id desc"#,
            $($argument),*
        )
    };
}

/// Which runs a list shows.
#[derive(Clone, Debug, Default)]
pub(in crate::workflows) struct Filter {
    pub(in crate::workflows) workspaces: Option<Vec<Uuid>>,
    pub(in crate::workflows) workspace: Option<Uuid>,
    pub(in crate::workflows) playbook: Option<Uuid>,
    pub(in crate::workflows) states: Option<Vec<String>>,
    pub(in crate::workflows) parent: Option<Uuid>,
}

/// A page of runs, newest first, and how many there are in all.
pub(in crate::workflows) async fn list(
    db: &mut PgConnection,
    tenant: TenantId,
    filter: &Filter,
    limit: i64,
    offset: i64,
) -> Result<(Vec<Workflow>, i64), Error> {
    let rows = select_runs!(
        "where w.tenant_id = $1
           and ($2::uuid[] is null or w.workspace_id = any($2))
           and ($3::uuid is null or w.workspace_id = $3)
           and ($4::uuid is null or w.playbook_id = $4)
           and ($5::text[] is null or w.state = any($5))
           and ($6::uuid is null or w.parent_workflow_id = $6)
         order by w.id desc
         limit $7 offset $8",
        tenant.uuid(),
        filter.workspaces.as_deref() as Option<&[Uuid]>,
        filter.workspace as Option<Uuid>,
        filter.playbook as Option<Uuid>,
        filter.states.as_deref() as Option<&[String]>,
        filter.parent as Option<Uuid>,
        limit,
        offset,
    )
    .fetch_all(&mut *db)
    .await?;
    let total = sqlx::query_scalar!(
        r#"select count(*) as "count!" from workflows w
           where w.tenant_id = $1
             and ($2::uuid[] is null or w.workspace_id = any($2))
             and ($3::uuid is null or w.workspace_id = $3)
             and ($4::uuid is null or w.playbook_id = $4)
             and ($5::text[] is null or w.state = any($5))
             and ($6::uuid is null or w.parent_workflow_id = $6)"#,
        tenant.uuid(),
        filter.workspaces.as_deref() as Option<&[Uuid]>,
        filter.workspace as Option<Uuid>,
        filter.playbook as Option<Uuid>,
        filter.states.as_deref() as Option<&[String]>,
        filter.parent as Option<Uuid>,
    )
    .fetch_one(db)
    .await?;
    let runs = rows
        .into_iter()
        .map(Workflow::try_from)
        .collect::<Result<_, _>>()?;
    Ok((runs, total))
}

/// One run, if a key restricted to these workspaces may see it.
pub(in crate::workflows) async fn read(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkflowId,
    workspaces: Option<&[Uuid]>,
) -> Result<Workflow, Error> {
    let row = select_runs!(
        "where w.tenant_id = $1 and w.id = $2 and ($3::uuid[] is null or w.workspace_id = any($3))",
        tenant.uuid(),
        id.uuid(),
        workspaces as Option<&[Uuid]>,
    )
    .fetch_optional(db)
    .await?;
    row.map_or_else(|| Err(Error::not_found("workflow", id)), Workflow::try_from)
}

/// The stages of a run, in their order.
pub(in crate::workflows) async fn stages(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<Vec<WorkflowStage>, Error> {
    let rows = sqlx::query_as!(
        StageRow,
        r#"select g.id, g.name, g.position, g.goal, g.guidance, g.iteration_count, g.summary, g.started_at, g.completed_at,
                  coalesce(i.total, 0) as "items_total!", coalesce(i.open, 0) as "items_open!", coalesce(i.blocked, 0) as "items_blocked!",
                  coalesce(s.total, 0) as "steps_total!", coalesce(s.remaining, 0) as "steps_left!", coalesce(s.open, 0) as "steps_open!",
                  coalesce(s.asking, 0) as "steps_asking!", coalesce(s.failed, 0) as "steps_failed!",
                  t.status as "gate?"
           from workflow_stages g
           left join stage_gates t on t.tenant_id = $1 and t.workflow_id = $2 and t.stage_name = g.name and t.superseded_at is null
           left join (
               select stage_name, count(*) as total,
                      count(*) filter (where completed_at is null and cancel_requested_at is null) as open,
                      count(*) filter (where completed_at is null and cancel_requested_at is null and blocked_state is not null) as blocked
               from work_items where tenant_id = $1 and workflow_id = $2 group by stage_name
           ) i on i.stage_name = g.name
           left join (
               select stage_name, count(*) as total,
                      count(*) filter (where state in ('pending', 'running', 'waiting', 'failed')) as remaining,
                      count(*) filter (where state in ('running', 'waiting')) as open,
                      count(*) filter (where state = 'waiting') as asking,
                      count(*) filter (where state in ('failed', 'cancelled')) as failed
               from workflow_steps where tenant_id = $1 and workflow_id = $2 group by stage_name
           ) s on s.stage_name = g.name
           where g.tenant_id = $1 and g.workflow_id = $2
           order by g.position"#,
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(WorkflowStage::from).collect())
}

/// The steps of a run: those that have not ended come first, each part in its order.
pub(in crate::workflows) async fn steps(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    limit: i64,
    offset: i64,
) -> Result<Vec<WorkflowStep>, Error> {
    let rows = sqlx::query_as!(
        StepRow,
        r#"select s.step_id, s.kind, s.stage_name, s.state, s.unmet, s.members, s.open, s.done, s.lost, s.work_item_id,
                  m.task_id as "task_id?", s.error::text as error, s.question::text as question, s.expires_at, s.started_at, s.completed_at
           from (
               select * from workflow_steps
               where tenant_id = $1 and workflow_id = $2
               order by state in ('completed', 'skipped'), position
               limit $3 offset $4
           ) s
           left join workflow_step_members m
                  on m.tenant_id = $1 and m.workflow_id = $2 and m.step_id = s.step_id and m.position = 0 and s.members = 1
           order by s.state in ('completed', 'skipped'), s.position"#,
        tenant.uuid(),
        run.uuid(),
        limit,
        offset,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(WorkflowStep::try_from).collect()
}

/// The newest tasks of a run, without what they work on.
pub(in crate::workflows) async fn tasks(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    limit: i64,
) -> Result<Vec<TaskSummary>, Error> {
    let rows = sqlx::query_as!(
        TaskRow,
        r#"select t.id, t.work_item_id, t.stage_name, t.title, t.role, p.state as "state!", p.attempt as "attempt!",
                  p.retry_count as "retry_count!", p.state_changed_at as "state_changed_at!", t.created_at
           from (select * from tasks where tenant_id = $1 and workflow_id = $2 order by id desc limit $3) t
           cross join lateral (select * from task_positions where tenant_id = $1 and task_id = t.id limit 1) p
           order by t.id desc"#,
        tenant.uuid(),
        run.uuid(),
        limit,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(TaskSummary::try_from).collect()
}

/// One step of a run.
pub(in crate::workflows) async fn step(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    step: &str,
) -> Result<WorkflowStep, Error> {
    let row = sqlx::query_as!(
        StepRow,
        r#"select s.step_id, s.kind, s.stage_name, s.state, s.unmet, s.members, s.open, s.done, s.lost, s.work_item_id,
                  m.task_id as "task_id?", s.error::text as error, s.question::text as question, s.expires_at, s.started_at, s.completed_at
           from workflow_steps s
           left join workflow_step_members m
                  on m.tenant_id = $1 and m.workflow_id = $2 and m.step_id = s.step_id and m.position = 0 and s.members = 1
           where s.tenant_id = $1 and s.workflow_id = $2 and s.step_id = $3"#,
        tenant.uuid(),
        run.uuid(),
        step,
    )
    .fetch_optional(db)
    .await?;
    row.map_or_else(
        || Err(Error::not_found("step", step)),
        WorkflowStep::try_from,
    )
}

/// How many steps a run has.
pub(in crate::workflows) async fn count_steps(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "count!" from workflow_steps where tenant_id = $1 and workflow_id = $2"#,
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_one(db)
    .await?)
}
