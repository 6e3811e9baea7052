//! Every statement that reads tasks, and those that write the table `tasks` after its rows were made.
//!
//! Rows are made by the queue (`place.sql`), together with their first drawer.

use std::collections::HashMap;

use protocol::{Task, TaskId, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::record::Row;
use crate::error::Error;

/// Selects from the one projection, with the `from` clause that names it `t`, and what follows.
macro_rules! select_records {
    ($rest:literal, $($argument:expr),* $(,)?) => {
        sqlx::query_as!(
            Row,
            r#"select tenant_id as "tenant_id!", id as "id!", workflow_id, work_item_id, workspace_id, activation_id, parent_id,
                      title as "title!", description, task_type as "task_type!", task_kind as "task_kind!", role, stage_name,
                      priority as "priority!", state as "state!", state_changed_at as "state_changed_at!",
                      attempt as "attempt!", retry_count as "retry_count!", abandon_count as "abandon_count!",
                      rework_count as "rework_count!", agent_id, worker_id, claimed_at, started_at, expires_at, progress,
                      available_at, depends_on as "depends_on!", blocked_count as "blocked_count!",
                      on_dependency_failure as "on_dependency_failure!", input as "input!", context as "context!", output,
                      error, metrics, git_info, verification, role_config as "role_config!", environment as "environment!",
                      metadata as "metadata!", retry_policy, settings as "settings!", request_id,
                      is_orchestrator_task as "is_orchestrator_task!", timeout_minutes as "timeout_minutes!",
                      max_abandons as "max_abandons!", max_reworks as "max_reworks!", requires_approval as "requires_approval!",
                      question, preferred_agent_id, preferred_worker_id,
                      created_at as "created_at!", updated_at as "updated_at!"
               "#
                + $rest,
            $($argument),*
        )
    };
}

/// Tasks by their ids; unknown ones are left out.
pub(super) async fn records(
    db: &mut PgConnection,
    tenant: TenantId,
    ids: &[Uuid],
) -> Result<HashMap<TaskId, Task>, Error> {
    let rows = select_records!(
        "from unnest($2::uuid[]) as wanted (task_id)
         cross join lateral (select * from task_records where tenant_id = $1 and id = wanted.task_id limit 1) t",
        tenant.uuid(),
        ids
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| Task::try_from(row).map(|task| (task.id, task)))
        .collect()
}

/// One task, if a key restricted to these workspaces may see it.
pub(crate) async fn record(
    db: &mut PgConnection,
    tenant: TenantId,
    id: TaskId,
    workspaces: Option<&[Uuid]>,
) -> Result<Task, Error> {
    let row = select_records!(
        "from task_records t
         where t.tenant_id = $1 and t.id = $2 and ($3::uuid[] is null or t.workspace_id = any($3))",
        tenant.uuid(),
        id.uuid(),
        workspaces as Option<&[Uuid]>,
    )
    .fetch_optional(db)
    .await?;
    row.map_or_else(|| Err(Error::not_found("task", id)), Task::try_from)
}

/// One of these tasks that lies in none of these workspaces, or is none at all.
pub(super) async fn outside(
    db: &mut PgConnection,
    tenant: TenantId,
    ids: &[Uuid],
    workspaces: &[Uuid],
) -> Result<Option<Uuid>, Error> {
    Ok(sqlx::query_scalar!(
        r#"select w.id as "id!"
           from unnest($2::uuid[]) as w (id)
           where not exists (select from tasks t where t.tenant_id = $1 and t.id = w.id and t.workspace_id = any($3))
           limit 1"#,
        tenant.uuid(),
        ids,
        workspaces,
    )
    .fetch_optional(db)
    .await?)
}

/// Which tasks a list shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) states: Option<Vec<String>>,
    pub(super) workspaces: Option<Vec<Uuid>>,
    pub(super) workspace: Option<Uuid>,
    pub(super) agent: Option<Uuid>,
    pub(super) worker: Option<Uuid>,
    pub(super) parent: Option<Uuid>,
    pub(super) workflow: Option<Uuid>,
    pub(super) work_item: Option<Uuid>,
    pub(super) activation: Option<Uuid>,
    pub(super) stage_name: Option<String>,
    pub(super) role: Option<String>,
    pub(super) is_orchestrator_task: Option<bool>,
    pub(super) request_id: Option<String>,
}

/// A page of tasks, newest first, and how many there are in all.
pub(super) async fn list(
    db: &mut PgConnection,
    tenant: TenantId,
    filter: &Filter,
    limit: i64,
    offset: i64,
) -> Result<(Vec<Task>, i64), Error> {
    let rows = select_records!(
        "from task_records t
         where t.tenant_id = $1
           and ($2::text[] is null or t.state = any($2))
           and ($3::uuid[] is null or t.workspace_id = any($3))
           and ($4::uuid is null or t.workspace_id = $4)
           and ($5::uuid is null or t.agent_id = $5)
           and ($6::uuid is null or t.worker_id = $6)
           and ($7::uuid is null or t.parent_id = $7)
           and ($8::uuid is null or t.workflow_id = $8)
           and ($9::uuid is null or t.work_item_id = $9)
           and ($10::uuid is null or t.activation_id = $10)
           and ($11::text is null or t.stage_name = $11)
           and ($12::text is null or t.role = $12)
           and ($13::bool is null or t.is_orchestrator_task = $13)
           and ($14::text is null or t.request_id = $14)
         order by t.id desc
         limit $15 offset $16",
        tenant.uuid(),
        filter.states.as_deref() as Option<&[String]>,
        filter.workspaces.as_deref() as Option<&[Uuid]>,
        filter.workspace as Option<Uuid>,
        filter.agent as Option<Uuid>,
        filter.worker as Option<Uuid>,
        filter.parent as Option<Uuid>,
        filter.workflow as Option<Uuid>,
        filter.work_item as Option<Uuid>,
        filter.activation as Option<Uuid>,
        filter.stage_name.as_deref() as Option<&str>,
        filter.role.as_deref() as Option<&str>,
        filter.is_orchestrator_task as Option<bool>,
        filter.request_id.as_deref() as Option<&str>,
        limit,
        offset,
    )
    .fetch_all(&mut *db)
    .await?;
    let total = count(db, tenant, filter).await?;
    let tasks = rows
        .into_iter()
        .map(Task::try_from)
        .collect::<Result<_, _>>()?;
    Ok((tasks, total))
}

/// How many tasks a list has in all.
async fn count(db: &mut PgConnection, tenant: TenantId, filter: &Filter) -> Result<i64, Error> {
    if filter.states.is_none() && filter.agent.is_none() && filter.worker.is_none() {
        // Each task lies in one drawer, and which one does not matter here.
        return Ok(sqlx::query_scalar!(
            r#"select count(*) as "count!"
               from tasks t
               where t.tenant_id = $1
                 and ($2::uuid[] is null or t.workspace_id = any($2))
                 and ($3::uuid is null or t.workspace_id = $3)
                 and ($4::uuid is null or t.parent_id = $4)
                 and ($5::uuid is null or t.workflow_id = $5)
                 and ($6::uuid is null or t.work_item_id = $6)
                 and ($7::uuid is null or t.activation_id = $7)
                 and ($8::text is null or t.stage_name = $8)
                 and ($9::text is null or t.role = $9)
                 and ($10::bool is null or t.is_orchestrator_task = $10)
                 and ($11::text is null or t.request_id = $11)"#,
            tenant.uuid(),
            filter.workspaces.as_deref() as Option<&[Uuid]>,
            filter.workspace as Option<Uuid>,
            filter.parent as Option<Uuid>,
            filter.workflow as Option<Uuid>,
            filter.work_item as Option<Uuid>,
            filter.activation as Option<Uuid>,
            filter.stage_name.as_deref() as Option<&str>,
            filter.role.as_deref() as Option<&str>,
            filter.is_orchestrator_task as Option<bool>,
            filter.request_id.as_deref() as Option<&str>,
        )
        .fetch_one(db)
        .await?);
    }
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "count!"
           from tasks t
           join task_positions p on p.tenant_id = t.tenant_id and p.task_id = t.id
           where t.tenant_id = $1
             and ($2::text[] is null or p.state = any($2))
             and ($3::uuid[] is null or t.workspace_id = any($3))
             and ($4::uuid is null or t.workspace_id = $4)
             and ($5::uuid is null or p.agent_id = $5)
             and ($6::uuid is null or p.worker_id = $6)
             and ($7::uuid is null or t.parent_id = $7)
             and ($8::uuid is null or t.workflow_id = $8)
             and ($9::uuid is null or t.work_item_id = $9)
             and ($10::uuid is null or t.activation_id = $10)
             and ($11::text is null or t.stage_name = $11)
             and ($12::text is null or t.role = $12)
             and ($13::bool is null or t.is_orchestrator_task = $13)
             and ($14::text is null or t.request_id = $14)"#,
        tenant.uuid(),
        filter.states.as_deref() as Option<&[String]>,
        filter.workspaces.as_deref() as Option<&[Uuid]>,
        filter.workspace as Option<Uuid>,
        filter.agent as Option<Uuid>,
        filter.worker as Option<Uuid>,
        filter.parent as Option<Uuid>,
        filter.workflow as Option<Uuid>,
        filter.work_item as Option<Uuid>,
        filter.activation as Option<Uuid>,
        filter.stage_name.as_deref() as Option<&str>,
        filter.role.as_deref() as Option<&str>,
        filter.is_orchestrator_task as Option<bool>,
        filter.request_id.as_deref() as Option<&str>,
    )
    .fetch_one(db)
    .await?)
}

/// The task that a request id made, with its fingerprint.
pub(super) async fn by_request_id(
    db: &mut PgConnection,
    tenant: TenantId,
    holder: Uuid,
    request_id: &str,
) -> Result<Option<(TaskId, Option<Vec<u8>>)>, Error> {
    let row = sqlx::query!(
        "select id, fingerprint from tasks where tenant_id = $1 and request_holder = $2 and request_id = $3",
        tenant.uuid(),
        holder,
        request_id,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.id.into(), row.fingerprint)))
}

/// The facts that may be changed.
pub(super) struct Facts<'a> {
    pub(super) title: &'a str,
    pub(super) description: Option<&'a str>,
    pub(super) priority: i16,
    pub(super) timeout_minutes: i32,
    pub(super) metadata: &'a str,
    pub(super) parent: Option<Uuid>,
}

/// Changes the facts of a task.
pub(super) async fn update(
    db: &mut PgConnection,
    tenant: TenantId,
    id: TaskId,
    facts: &Facts<'_>,
) -> Result<(), Error> {
    sqlx::query!(
        "update tasks
         set title = $3, description = $4, priority = $5, timeout_minutes = $6, metadata = $7::text::json, parent_id = $8,
             updated_at = clock_timestamp()
         where tenant_id = $1 and id = $2",
        tenant.uuid(),
        id.uuid(),
        facts.title,
        facts.description,
        facts.priority,
        facts.timeout_minutes,
        facts.metadata,
        facts.parent,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Gives a task another input, for its next attempt.
pub(super) async fn replace_input(
    db: &mut PgConnection,
    tenant: TenantId,
    id: TaskId,
    input: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "update tasks set input = $3::text::json, updated_at = clock_timestamp() where tenant_id = $1 and id = $2",
        tenant.uuid(),
        id.uuid(),
        input,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Locks the facts of a task, so that two changes do not overwrite each other.
pub(super) async fn lock(
    db: &mut PgConnection,
    tenant: TenantId,
    id: TaskId,
) -> Result<bool, Error> {
    let found = sqlx::query_scalar!(
        "select id from tasks where tenant_id = $1 and id = $2 for no key update",
        tenant.uuid(),
        id.uuid()
    )
    .fetch_optional(db)
    .await?;
    Ok(found.is_some())
}

/// How deep a task is nested, from 1 for one without a parent, and how many subtasks it has. Its facts are
/// locked, so that two subtasks made at once are counted one after the other.
pub(super) async fn family(
    db: &mut PgConnection,
    tenant: TenantId,
    id: TaskId,
) -> Result<Option<(i32, i64)>, Error> {
    if !lock(db, tenant, id).await? {
        return Ok(None);
    }
    let row = sqlx::query!(
        r#"with recursive ancestors as (
               select id, parent_id, 1 as depth from tasks where tenant_id = $1 and id = $2
               union all
               select t.id, t.parent_id, a.depth + 1
               from tasks t
               join ancestors a on t.id = a.parent_id
               where t.tenant_id = $1 and a.depth < 100
           )
           select max(depth) as "depth!",
                  (select count(*) from tasks c where c.tenant_id = $1 and c.parent_id = $2) as "children!"
           from ancestors"#,
        tenant.uuid(),
        id.uuid(),
    )
    .fetch_one(db)
    .await?;
    Ok(Some((row.depth, row.children)))
}

/// The output schemas of tasks that have one, as JSON texts.
pub(super) async fn role_configs(
    db: &mut PgConnection,
    tenant: TenantId,
    ids: &[Uuid],
) -> Result<HashMap<TaskId, String>, Error> {
    let rows = sqlx::query!(
        r#"select id, role_config::text as "role_config!" from tasks where tenant_id = $1 and id = any($2)"#,
        tenant.uuid(),
        ids,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.id.into(), row.role_config))
        .collect())
}

/// The outputs of completed tasks, as JSON texts.
pub(super) async fn outputs(
    db: &mut PgConnection,
    tenant: TenantId,
    ids: &[Uuid],
) -> Result<Vec<(TaskId, String)>, Error> {
    let rows = sqlx::query!(
        r#"select task_id, output::text as "output!"
           from task_results
           where tenant_id = $1 and task_id = any($2) and state = 'completed' and output is not null"#,
        tenant.uuid(),
        ids,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.task_id.into(), row.output))
        .collect())
}

/// How many tasks are ready in each lane, and for how long the oldest of them.
pub(super) async fn depths(
    db: &mut PgConnection,
    tenant: TenantId,
) -> Result<Vec<(String, i64, f64)>, Error> {
    let rows = sqlx::query!(
        r#"select lane, count(*) as "ready!",
                  extract(epoch from clock_timestamp() - min(state_changed_at))::float8 as "oldest!"
           from task_queue
           where tenant_id = $1
           group by lane
           order by lane"#,
        tenant.uuid(),
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.lane, row.ready, row.oldest))
        .collect())
}

/// The facts of an agent and its worker that never change after registration.
pub(super) struct HolderRow {
    pub(super) worker_id: Option<Uuid>,
    pub(super) execution_mode: String,
    pub(super) capacity: i32,
    pub(super) worker_capacity: Option<i32>,
    pub(super) heartbeat_interval_seconds: i32,
    pub(super) is_fenced: bool,
}

/// Reads an agent together with its worker.
pub(super) async fn holder(
    db: &mut PgConnection,
    tenant: TenantId,
    agent: Uuid,
) -> Result<Option<HolderRow>, Error> {
    Ok(sqlx::query_as!(
        HolderRow,
        r#"select a.worker_id, a.execution_mode, a.capacity,
                  w.capacity as "worker_capacity?",
                  coalesce(w.heartbeat_interval_seconds, a.heartbeat_interval_seconds) as "heartbeat_interval_seconds!",
                  coalesce(w.protocol_version, a.protocol_version) is not null as "is_fenced!"
           from agents a
           left join workers w on w.tenant_id = a.tenant_id and w.id = a.worker_id
           where a.tenant_id = $1 and a.id = $2"#,
        tenant.uuid(),
        agent,
    )
    .fetch_optional(db)
    .await?)
}

/// The name, tags and metadata of an agent, for the context of a task.
pub(super) async fn context_agent(
    db: &mut PgConnection,
    tenant: TenantId,
    agent: Uuid,
) -> Result<Option<(String, Vec<String>, String)>, Error> {
    let row = sqlx::query!(
        r#"select name, routing_tags, metadata::text as "metadata!" from agents where tenant_id = $1 and id = $2"#,
        tenant.uuid(),
        agent,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.name, row.routing_tags, row.metadata)))
}

/// Which of these agents and workers exist.
pub(super) async fn holders_exist(
    db: &mut PgConnection,
    tenant: TenantId,
    ids: &[Uuid],
) -> Result<Vec<Uuid>, Error> {
    Ok(sqlx::query_scalar!(
        r#"select id as "id!" from agents where tenant_id = $1 and id = any($2)
           union all
           select id from workers where tenant_id = $1 and id = any($2)"#,
        tenant.uuid(),
        ids,
    )
    .fetch_all(db)
    .await?)
}

/// Tasks by their ids, in the order of their making; unknown ones are left out.
///
/// # Errors
/// Those of the database.
pub(crate) async fn by_ids(
    db: &mut PgConnection,
    tenant: TenantId,
    ids: &[Uuid],
) -> Result<Vec<Task>, Error> {
    let mut tasks: Vec<Task> = records(db, tenant, ids).await?.into_values().collect();
    tasks.sort_by_key(|task| task.id);
    Ok(tasks)
}

/// Forgets the tasks of runs that have ended, with what belongs to them.
///
/// # Errors
/// Those of the database.
pub(crate) async fn forget_of_runs(
    db: &mut PgConnection,
    tenant: TenantId,
    runs: &[Uuid],
) -> Result<(), Error> {
    sqlx::query!(
        "with old as materialized (
             select id from tasks where tenant_id = $1 and workflow_id = any($2)
         ),
         results as (delete from task_results r using old where r.tenant_id = $1 and r.task_id = old.id),
         waiting as (delete from task_waiting r using old where r.tenant_id = $1 and r.task_id = old.id),
         queued as (delete from task_queue r using old where r.tenant_id = $1 and r.task_id = old.id),
         parked as (delete from task_parked r using old where r.tenant_id = $1 and r.task_id = old.id),
         leased as (delete from task_leases r using old where r.tenant_id = $1 and r.task_id = old.id),
         needs as (delete from task_dependencies d using old where d.tenant_id = $1 and d.task_id = old.id),
         needed as (delete from task_dependencies d using old where d.tenant_id = $1 and d.needs_id = old.id)
         delete from tasks t using old where t.tenant_id = $1 and t.id = old.id",
        tenant.uuid(),
        runs,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets tasks that ended before the retention began, a bounded number a turn, with what belongs to them.
///
/// Ids are ordered by their creation, so that the range of the primary key before the retention holds all
/// that can be old enough.
pub(super) async fn forget(
    db: &mut PgConnection,
    tenant: TenantId,
    created_before: Uuid,
    days: i32,
) -> Result<u64, Error> {
    let forgotten = sqlx::query!(
        "with old as materialized (
             select task_id from task_results
             where tenant_id = $1 and task_id < $2 and state_changed_at < clock_timestamp() - make_interval(days => $3)
               -- What belongs to a run is forgotten with it.
               and workflow_id is null
             order by task_id
             limit 1000
             for update skip locked
         ),
         results as (delete from task_results r using old where r.tenant_id = $1 and r.task_id = old.task_id),
         needs as (delete from task_dependencies d using old where d.tenant_id = $1 and d.task_id = old.task_id),
         needed as (delete from task_dependencies d using old where d.tenant_id = $1 and d.needs_id = old.task_id)
         delete from tasks t using old where t.tenant_id = $1 and t.id = old.task_id",
        tenant.uuid(),
        created_before,
        days,
    )
    .execute(db)
    .await?;
    Ok(forgotten.rows_affected())
}

/// Every tenant, and the moment before which its ended tasks may be forgotten.
pub(super) async fn retention(
    db: &mut PgConnection,
    days: i32,
) -> Result<Vec<(TenantId, chrono::DateTime<chrono::Utc>)>, Error> {
    let rows = sqlx::query!(
        r#"select id, clock_timestamp() - make_interval(days => $1) as "before!" from tenants order by id"#,
        days,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.id.into(), row.before))
        .collect())
}
