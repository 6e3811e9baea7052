//! The statements that write runs, their stages and their steps, and what those look at who write.

use protocol::{TenantId, WorkflowId};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::db::Tx;
use crate::error::Error;

/// A run that is about to be made.
pub(in crate::workflows) struct NewRun<'r> {
    pub(in crate::workflows) id: WorkflowId,
    pub(in crate::workflows) workspace: Uuid,
    pub(in crate::workflows) playbook: Uuid,
    pub(in crate::workflows) playbook_version: i32,
    pub(in crate::workflows) kind: &'r str,
    pub(in crate::workflows) lifecycle: &'r str,
    pub(in crate::workflows) name: &'r str,
    pub(in crate::workflows) request_id: Option<&'r str>,
    pub(in crate::workflows) parameters: &'r str,
    pub(in crate::workflows) input: &'r str,
    pub(in crate::workflows) context: &'r str,
    pub(in crate::workflows) metadata: &'r str,
    pub(in crate::workflows) config_overrides: &'r str,
    pub(in crate::workflows) instruction_config: &'r str,
    pub(in crate::workflows) task_timeout_minutes: i32,
    pub(in crate::workflows) token_budget: Option<i64>,
    pub(in crate::workflows) cost_cap_usd: Option<f64>,
    pub(in crate::workflows) max_duration_minutes: Option<i32>,
    pub(in crate::workflows) live_visibility_mode: Option<&'r str>,
    pub(in crate::workflows) root: WorkflowId,
    pub(in crate::workflows) previous: Option<WorkflowId>,
    pub(in crate::workflows) parent: Option<WorkflowId>,
    pub(in crate::workflows) attempt_number: i32,
    pub(in crate::workflows) redrive_reason: Option<&'r str>,
}

/// Makes a run.
pub(in crate::workflows) async fn insert(
    db: &mut PgConnection,
    tenant: TenantId,
    run: &NewRun<'_>,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into workflows (
             tenant_id, id, workspace_id, playbook_id, playbook_version, kind, lifecycle, name, request_id, state,
             parameters, input, context, metadata, config_overrides, instruction_config, task_timeout_minutes,
             token_budget, cost_cap_usd, max_duration_minutes, live_visibility_mode, root_workflow_id,
             previous_attempt_workflow_id, attempt_number, redrive_reason, parent_workflow_id
         )
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'pending', $10::text::json, $11::text::json, $12::text::json,
                 $13::text::json, $14::text::json, $15::text::json, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)",
        tenant.uuid(),
        run.id.uuid(),
        run.workspace,
        run.playbook,
        run.playbook_version,
        run.kind,
        run.lifecycle,
        run.name,
        run.request_id,
        run.parameters,
        run.input,
        run.context,
        run.metadata,
        run.config_overrides,
        run.instruction_config,
        run.task_timeout_minutes,
        run.token_budget,
        run.cost_cap_usd,
        run.max_duration_minutes,
        run.live_visibility_mode,
        run.root.uuid(),
        run.previous.map(WorkflowId::uuid),
        run.attempt_number,
        run.redrive_reason,
        run.parent.map(WorkflowId::uuid),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A stage that is about to be made.
pub(in crate::workflows) struct NewStage {
    pub(in crate::workflows) name: String,
    pub(in crate::workflows) goal: String,
    pub(in crate::workflows) guidance: Option<String>,
}

/// Makes the stages of a run.
pub(in crate::workflows) async fn insert_stages(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    stages: &[NewStage],
) -> Result<(), Error> {
    let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
    let goals: Vec<&str> = stages.iter().map(|stage| stage.goal.as_str()).collect();
    let guidances: Vec<Option<&str>> = stages
        .iter()
        .map(|stage| stage.guidance.as_deref())
        .collect();
    let ids: Vec<Uuid> = stages.iter().map(|_| Uuid::now_v7()).collect();
    sqlx::query!(
        "insert into workflow_stages (tenant_id, workflow_id, name, id, position, goal, guidance)
         select $1, $2, s.name, s.id, s.place - 1, s.goal, s.guidance
         from unnest($3::text[], $4::uuid[], $5::text[], $6::text[]) with ordinality as s (name, id, goal, guidance, place)",
        tenant.uuid(),
        run.uuid(),
        &names as &[&str],
        &ids,
        &goals as &[&str],
        &guidances as &[Option<&str>],
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A step that is about to be made.
pub(in crate::workflows) struct NewStep {
    pub(in crate::workflows) id: String,
    pub(in crate::workflows) kind: &'static str,
    pub(in crate::workflows) stage: Option<String>,
    pub(in crate::workflows) needs: i32,
    pub(in crate::workflows) is_forgiven: bool,
}

/// Makes the steps of a run.
pub(in crate::workflows) async fn insert_steps(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    steps: &[NewStep],
) -> Result<(), Error> {
    macro_rules! column {
        ($step:ident => $value:expr) => {
            steps.iter().map(|$step| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query!(
        "insert into workflow_steps (tenant_id, workflow_id, step_id, position, kind, stage_name, state, unmet, is_forgiven)
         select $1, $2, s.step_id, s.place - 1, s.kind, s.stage_name, 'pending', s.needs, s.is_forgiven
         from unnest($3::text[], $4::text[], $5::text[], $6::int[], $7::bool[])
              with ordinality as s (step_id, kind, stage_name, needs, is_forgiven, place)",
        tenant.uuid(),
        run.uuid(),
        &column!(step => step.id.as_str()) as &[&str],
        &column!(step => step.kind) as &[&str],
        &column!(step => step.stage.clone()) as &[Option<String>],
        &column!(step => step.needs),
        &column!(step => step.is_forgiven),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes over what steps of an earlier run came to, where they completed or were skipped, and counts them
/// off for those that need them. Answers with how many.
pub(in crate::workflows) async fn inherit_steps(
    db: &mut PgConnection,
    tenant: TenantId,
    from: WorkflowId,
    to: WorkflowId,
    edges: (&[String], &[String]),
) -> Result<i64, Error> {
    let inherited = sqlx::query!(
        "update workflow_steps n
         set state = o.state, output = o.output, error = o.error, members = o.members, made = o.made, done = o.done,
             lost = o.lost, lived = o.lived, is_released = true, started_at = o.started_at, completed_at = o.completed_at
         from workflow_steps o
         where o.tenant_id = $1 and o.workflow_id = $2 and o.state in ('completed', 'skipped')
           and n.tenant_id = $1 and n.workflow_id = $3 and n.step_id = o.step_id",
        tenant.uuid(),
        from.uuid(),
        to.uuid(),
    )
    .execute(&mut *db)
    .await?
    .rows_affected();
    sqlx::query!(
        "update workflow_steps n
         set unmet = n.unmet - counted.ended, lived = counted.lived
         from (
             select e.step_id, count(*)::int as ended, (count(*) filter (where s.state = 'completed'))::int as lived
             from unnest($3::text[], $4::text[]) as e (needs_id, step_id)
             join workflow_steps s on s.tenant_id = $1 and s.workflow_id = $2 and s.step_id = e.needs_id
             where s.state in ('completed', 'skipped')
             group by e.step_id
         ) counted
         where n.tenant_id = $1 and n.workflow_id = $2 and n.step_id = counted.step_id",
        tenant.uuid(),
        to.uuid(),
        edges.0,
        edges.1,
    )
    .execute(db)
    .await?;
    Ok(i64::try_from(inherited).unwrap_or(i64::MAX))
}

/// Locks the runs that tasks belong to, in the order of their ids.
///
/// # Errors
/// Those of the database.
pub(crate) async fn lock_runs_of(
    tx: &mut Tx,
    tenant: TenantId,
    tasks: &[Uuid],
) -> Result<(), Error> {
    sqlx::query!(
        "select id from workflows
         where tenant_id = $1
           and id in (select workflow_id from tasks where tenant_id = $1 and id = any($2) and workflow_id is not null)
         order by id
         for no key update",
        tenant.uuid(),
        tasks,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(())
}

/// Locks runs in the order of their ids.
///
/// # Errors
/// Those of the database.
pub(crate) async fn lock_runs(tx: &mut Tx, tenant: TenantId, runs: &[Uuid]) -> Result<(), Error> {
    sqlx::query!(
        "select id from workflows where tenant_id = $1 and id = any($2) order by id for no key update",
        tenant.uuid(),
        runs,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(())
}

/// A run as it is for those who make work in it.
pub(crate) struct OpenRun {
    pub(crate) id: Uuid,
    pub(crate) state: String,
    pub(crate) kind: String,
    pub(crate) lifecycle: String,
    pub(crate) playbook_id: Uuid,
    pub(crate) workspace_id: Uuid,
    pub(crate) name: String,
    /// Whether an orchestrator has said that it is over.
    pub(crate) is_closed: bool,
    pub(crate) settings_revision: i32,
}

/// Locks a run, if a key restricted to these workspaces may see it.
///
/// # Errors
/// 404.
pub(crate) async fn lock_open_run(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    workspaces: Option<&[Uuid]>,
) -> Result<OpenRun, Error> {
    let found = sqlx::query_as!(
        OpenRun,
        r#"select id, state, kind, lifecycle, playbook_id, workspace_id, name, closed_at is not null as "is_closed!", settings_revision
           from workflows
           where tenant_id = $1 and id = $2 and ($3::uuid[] is null or workspace_id = any($3))
           for no key update"#,
        tenant.uuid(),
        run.uuid(),
        workspaces as Option<&[Uuid]>,
    )
    .fetch_optional(db)
    .await?;
    found.ok_or_else(|| Error::not_found("workflow", run))
}

/// Refuses a run that does not exist, or that a key restricted to these workspaces may not see. Answers
/// with its playbook.
///
/// # Errors
/// 404.
pub(crate) async fn must_reach(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    workspaces: Option<&[Uuid]>,
) -> Result<Uuid, Error> {
    let found = sqlx::query_scalar!(
        "select playbook_id from workflows where tenant_id = $1 and id = $2 and ($3::uuid[] is null or workspace_id = any($3))",
        tenant.uuid(),
        run.uuid(),
        workspaces as Option<&[Uuid]>,
    )
    .fetch_optional(db)
    .await?;
    found.ok_or_else(|| Error::not_found("workflow", run))
}

/// What a redrive takes over from a run.
pub(in crate::workflows) struct Source {
    pub(in crate::workflows) name: String,
    pub(in crate::workflows) state: String,
    pub(in crate::workflows) kind: String,
    pub(in crate::workflows) lifecycle: String,
    pub(in crate::workflows) workspace_id: Uuid,
    pub(in crate::workflows) playbook_id: Uuid,
    pub(in crate::workflows) playbook_version: i32,
    pub(in crate::workflows) parameters: String,
    pub(in crate::workflows) input: String,
    pub(in crate::workflows) context: String,
    pub(in crate::workflows) metadata: String,
    pub(in crate::workflows) config_overrides: String,
    pub(in crate::workflows) instruction_config: String,
    pub(in crate::workflows) token_budget: Option<i64>,
    pub(in crate::workflows) cost_cap_usd: Option<f64>,
    pub(in crate::workflows) max_duration_minutes: Option<i32>,
    pub(in crate::workflows) live_visibility_mode: Option<String>,
    pub(in crate::workflows) root_workflow_id: Uuid,
    /// The number of the latest attempt of the group.
    pub(in crate::workflows) latest_attempt: i32,
}

/// Reads what a redrive takes over, and locks the first run of the group, so that attempts are numbered one
/// after the other.
pub(in crate::workflows) async fn source(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    workspaces: Option<&[Uuid]>,
) -> Result<Source, Error> {
    sqlx::query!(
        "select r.id from workflows r
         where r.tenant_id = $1 and r.id = (select root_workflow_id from workflows where tenant_id = $1 and id = $2)
         for no key update",
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_optional(&mut *db)
    .await?;
    let found = sqlx::query_as!(
        Source,
        r#"select name, state, kind, lifecycle, workspace_id, playbook_id, playbook_version, parameters::text as "parameters!",
                  input::text as "input!", context::text as "context!", metadata::text as "metadata!",
                  config_overrides::text as "config_overrides!", instruction_config::text as "instruction_config!",
                  token_budget, cost_cap_usd, max_duration_minutes, live_visibility_mode, root_workflow_id,
                  (select max(a.attempt_number) from workflows a
                   where a.tenant_id = $1 and a.root_workflow_id = w.root_workflow_id) as "latest_attempt!"
           from workflows w
           where w.tenant_id = $1 and w.id = $2 and ($3::uuid[] is null or w.workspace_id = any($3))
           for share"#,
        tenant.uuid(),
        run.uuid(),
        workspaces as Option<&[Uuid]>,
    )
    .fetch_optional(db)
    .await?;
    found.ok_or_else(|| Error::not_found("workflow", run))
}

/// What the settings of a run are.
pub(in crate::workflows) struct Settings {
    pub(in crate::workflows) mode: Option<String>,
    pub(in crate::workflows) revision: i32,
    pub(in crate::workflows) updated_by: Option<Uuid>,
    pub(in crate::workflows) updated_at: Option<DateTime<Utc>>,
}

/// Reads the settings of a run.
pub(in crate::workflows) async fn settings(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<Settings, Error> {
    let found = sqlx::query_as!(
        Settings,
        "select live_visibility_mode as mode, settings_revision as revision, settings_updated_by as updated_by,
                settings_updated_at as updated_at
         from workflows where tenant_id = $1 and id = $2",
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_optional(db)
    .await?;
    found.ok_or_else(|| Error::not_found("workflow", run))
}

/// Changes the settings of a run.
pub(in crate::workflows) async fn set_settings(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    mode: Option<&str>,
    by: Uuid,
) -> Result<(), Error> {
    sqlx::query!(
        "update workflows
         set live_visibility_mode = $3, settings_revision = settings_revision + 1, settings_updated_by = $4,
             settings_updated_at = clock_timestamp(), updated_at = clock_timestamp()
         where tenant_id = $1 and id = $2",
        tenant.uuid(),
        run.uuid(),
        mode,
        by,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whether a workspace takes runs.
pub(in crate::workflows) async fn workspace_is_active(
    db: &mut PgConnection,
    tenant: TenantId,
    workspace: Uuid,
) -> Result<bool, Error> {
    let found = sqlx::query_scalar!(
        "select is_active from workspaces where tenant_id = $1 and id = $2 for key share",
        tenant.uuid(),
        workspace,
    )
    .fetch_optional(db)
    .await?;
    Ok(found.unwrap_or(false))
}

/// A version of a playbook, as a launch looks at it.
pub(in crate::workflows) struct Version {
    pub(in crate::workflows) number: i32,
    pub(in crate::workflows) status: String,
    pub(in crate::workflows) lifecycle: String,
}

/// Reads a version, and keeps it from being deleted until the run that follows it has been made.
pub(in crate::workflows) async fn version(
    db: &mut PgConnection,
    tenant: TenantId,
    playbook: Uuid,
) -> Result<Option<Version>, Error> {
    Ok(sqlx::query_as!(
        Version,
        "select version as number, status, lifecycle from playbooks where tenant_id = $1 and id = $2 for key share",
        tenant.uuid(),
        playbook,
    )
    .fetch_optional(db)
    .await?)
}

/// Notes that a stage has begun.
pub(in crate::workflows) async fn begin_stage(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    stage: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "update workflow_stages set started_at = coalesce(started_at, clock_timestamp())
         where tenant_id = $1 and workflow_id = $2 and name = $3",
        tenant.uuid(),
        run.uuid(),
        stage,
    )
    .execute(db)
    .await?;
    Ok(())
}
