//! The statements of what orchestrators say of their runs: stages, the end, what they keep.

use protocol::{TenantId, WorkflowId};
use sqlx::PgConnection;

use crate::error::Error;

/// How a run lives.
pub(in crate::workflows) struct Lifecycle {
    pub(in crate::workflows) state: String,
    pub(in crate::workflows) lifecycle: String,
    pub(in crate::workflows) is_over: bool,
}

/// Reads how a run lives.
pub(in crate::workflows) async fn lifecycle(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<Lifecycle, Error> {
    let found = sqlx::query_as!(
        Lifecycle,
        r#"select state, lifecycle,
                  (closed_at is not null or cancel_requested_at is not null or pause_requested_at is not null
                   or state in ('failed', 'cancelled')) as "is_over!"
           from workflows where tenant_id = $1 and id = $2"#,
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_optional(db)
    .await?;
    found.ok_or_else(|| Error::not_found("workflow", run))
}

/// How much of a run, or of a stage of it, is open. The tasks of its orchestrator do not count.
pub(in crate::workflows) struct Open {
    pub(in crate::workflows) tasks: i64,
    pub(in crate::workflows) escalated: i64,
    pub(in crate::workflows) items: i64,
    pub(in crate::workflows) blocked: i64,
    /// Runs that it launched; counted for the run as a whole.
    pub(in crate::workflows) children: i64,
}

/// Counts what of a run, or of a stage of it, is open.
pub(in crate::workflows) async fn open(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    stage: Option<&str>,
) -> Result<Open, Error> {
    Ok(sqlx::query_as!(
        Open,
        r#"select t.open as "tasks!", t.escalated as "escalated!", i.open as "items!", i.blocked as "blocked!",
                  (select count(*) from workflows c
                   where c.tenant_id = $1 and c.parent_workflow_id = $2 and $3::text is null
                     and c.state not in ('completed', 'failed', 'cancelled')) as "children!"
           from (
               select count(*) as open, count(*) filter (where p.state = 'escalated') as escalated
               from (
                   select task_id, 'pending' as state from task_waiting where tenant_id = $1 and workflow_id = $2
                   union all
                   select task_id, 'ready' from task_queue where tenant_id = $1 and workflow_id = $2
                   union all
                   select task_id, state from task_leases where tenant_id = $1 and workflow_id = $2
                   union all
                   select task_id, state from task_parked where tenant_id = $1 and workflow_id = $2
               ) p
               join tasks t on t.tenant_id = $1 and t.id = p.task_id and not t.is_orchestrator_task
               where $3::text is null or t.stage_name = $3
           ) t
           cross join (
               select count(*) as open, count(*) filter (where blocked_state is not null) as blocked
               from work_items
               where tenant_id = $1 and workflow_id = $2 and completed_at is null and cancel_requested_at is null
                 and ($3::text is null or stage_name = $3)
           ) i"#,
        tenant.uuid(),
        run.uuid(),
        stage as Option<&str>,
    )
    .fetch_one(db)
    .await?)
}

/// Ends a stage, or all that have not ended.
pub(in crate::workflows) async fn end_stages_by_word(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    stage: Option<&str>,
    summary: Option<&str>,
) -> Result<(), Error> {
    sqlx::query!(
        "update workflow_stages
         set completed_at = clock_timestamp(), started_at = coalesce(started_at, clock_timestamp()), summary = coalesce($4, summary)
         where tenant_id = $1 and workflow_id = $2 and completed_at is null and ($3::text is null or name = $3)",
        tenant.uuid(),
        run.uuid(),
        stage as Option<&str>,
        summary,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that a stage is gone through once more.
///
/// # Errors
/// Those of the database.
pub(crate) async fn count_iteration(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    stage: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "update workflow_stages set iteration_count = iteration_count + 1 where tenant_id = $1 and workflow_id = $2 and name = $3",
        tenant.uuid(),
        run.uuid(),
        stage,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What an orchestrator says at the end, as JSON texts.
pub(in crate::workflows) struct Closing<'c> {
    pub(in crate::workflows) summary: &'c str,
    pub(in crate::workflows) artifacts: &'c str,
    pub(in crate::workflows) callouts: Option<String>,
}

/// Notes that a run is over, by the word of its orchestrator.
pub(in crate::workflows) async fn close(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    closing: &Closing<'_>,
) -> Result<(), Error> {
    sqlx::query!(
        "update workflows
         set closed_at = clock_timestamp(), updated_at = clock_timestamp(), completion_callouts = $5::text::json,
             output = json_build_object('summary', $3::text, 'final_artifacts', $4::text::json, 'completion_callouts', $5::text::json)
         where tenant_id = $1 and id = $2",
        tenant.uuid(),
        run.uuid(),
        closing.summary,
        closing.artifacts,
        closing.callouts.as_deref(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Keeps something under a name for the next activation. Answers with all that is kept.
pub(in crate::workflows) async fn keep(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    member: &str,
    value: &str,
) -> Result<String, Error> {
    Ok(sqlx::query_scalar!(
        r#"update workflows
           set orchestration_state = (orchestration_state::jsonb || jsonb_build_object($3::text, $4::text::jsonb))::json,
               updated_at = clock_timestamp()
           where tenant_id = $1 and id = $2
           returning orchestration_state::text as "state!""#,
        tenant.uuid(),
        run.uuid(),
        member,
        value,
    )
    .fetch_one(db)
    .await?)
}

/// What the orchestrator of a run keeps, as JSON text.
///
/// # Errors
/// 404.
pub(crate) async fn kept_orchestration(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<String, Error> {
    let found = sqlx::query_scalar!(
        r#"select orchestration_state::text as "state!" from workflows where tenant_id = $1 and id = $2"#,
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_optional(db)
    .await?;
    found.ok_or_else(|| Error::not_found("workflow", run))
}

/// What a run has used, and may use.
pub(in crate::workflows) struct Used {
    pub(in crate::workflows) token_budget: Option<i64>,
    pub(in crate::workflows) cost_cap_usd: Option<f64>,
    pub(in crate::workflows) max_duration_minutes: Option<i32>,
    pub(in crate::workflows) elapsed_minutes: f64,
    pub(in crate::workflows) tokens: i64,
    pub(in crate::workflows) cost_usd: f64,
    pub(in crate::workflows) tasks: i64,
    pub(in crate::workflows) activations: i64,
}

/// Reads what a run has used, and may use.
pub(in crate::workflows) async fn used(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<Used, Error> {
    let found = sqlx::query_as!(
        Used,
        r#"select w.token_budget, w.cost_cap_usd, w.max_duration_minutes,
                  (extract(epoch from coalesce(w.completed_at, clock_timestamp()) - w.created_at) / 60)::float8 as "elapsed_minutes!",
                  (select count(*) from tasks t
                   where t.tenant_id = $1 and t.workflow_id = $2 and not t.is_orchestrator_task) as "tasks!",
                  (select count(*) from activation_batches b where b.tenant_id = $1 and b.workflow_id = $2) as "activations!",
                  coalesce(m.tokens, 0) as "tokens!", coalesce(m.cost_usd, 0) as "cost_usd!"
           from workflows w
           left join metering_totals m on m.tenant_id = $1 and m.workflow_id = w.id
           where w.tenant_id = $1 and w.id = $2"#,
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_optional(db)
    .await?;
    found.ok_or_else(|| Error::not_found("workflow", run))
}

/// How many open children a run has, and how deep it is nested itself.
pub(in crate::workflows) async fn family(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    depth_max: i64,
) -> Result<(i64, i64), Error> {
    let row = sqlx::query!(
        r#"with recursive above as (
               select parent_workflow_id, 0::bigint as depth from workflows where tenant_id = $1 and id = $2
               union all
               select w.parent_workflow_id, a.depth + 1
               from above a
               join workflows w on w.tenant_id = $1 and w.id = a.parent_workflow_id
               where a.depth < $3
           )
           select (select max(depth) from above) as "depth!",
                  (select count(*) from workflows c
                   where c.tenant_id = $1 and c.parent_workflow_id = $2
                     and c.state not in ('completed', 'failed', 'cancelled')) as "children!""#,
        tenant.uuid(),
        run.uuid(),
        depth_max,
    )
    .fetch_one(db)
    .await?;
    Ok((row.children, row.depth))
}

/// The runs that hang on a run and have not ended, in the order in which they are locked.
pub(in crate::workflows) async fn open_descendants(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<Vec<WorkflowId>, Error> {
    let rows = sqlx::query_scalar!(
        r#"with recursive below as (
               select id, state from workflows where tenant_id = $1 and parent_workflow_id = $2
               union all
               select w.id, w.state
               from below b
               join workflows w on w.tenant_id = $1 and w.parent_workflow_id = b.id
           )
           select id as "id!" from below where state not in ('completed', 'failed', 'cancelled') order by id"#,
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}
