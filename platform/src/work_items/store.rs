//! Every statement that writes work items, and those that read them.

use protocol::{
    BlockedState, BranchStatus, EscalationStatus, JsonObject, Priority, TaskId, TaskState,
    TenantId, WorkItem, WorkItemId, WorkflowId,
};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::Error;

struct Row {
    id: Uuid,
    workflow_id: Uuid,
    parent_work_item_id: Option<Uuid>,
    request_id: Option<String>,
    step_id: Option<String>,
    branch_key: Option<String>,
    stage_name: Option<String>,
    title: String,
    goal: Option<String>,
    acceptance_criteria: Option<String>,
    column_id: String,
    owner_role: Option<String>,
    next_expected_actor: Option<String>,
    next_expected_action: Option<String>,
    blocked_state: Option<String>,
    blocked_reason: Option<String>,
    rework_count: i32,
    priority: i16,
    notes: Option<String>,
    created_by: String,
    metadata: String,
    pause_requested_at: Option<DateTime<Utc>>,
    cancel_requested_at: Option<DateTime<Utc>>,
    completed_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    task_count: i64,
    open_task_count: i64,
    children_count: i64,
    children_completed: i64,
    asks_for_help: bool,
}

impl TryFrom<Row> for WorkItem {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let branch_status = if row.completed_at.is_some() {
            BranchStatus::Completed
        } else if row.cancel_requested_at.is_some() {
            BranchStatus::Terminated
        } else if row.blocked_state.is_some() {
            BranchStatus::Blocked
        } else {
            BranchStatus::Active
        };
        Ok(Self {
            id: row.id.into(),
            workflow_id: row.workflow_id.into(),
            parent_work_item_id: row.parent_work_item_id.map(Into::into),
            request_id: row.request_id,
            step_id: row.step_id,
            branch_key: row.branch_key,
            stage_name: row.stage_name,
            title: row.title,
            goal: row.goal,
            acceptance_criteria: row.acceptance_criteria,
            column_id: row.column_id,
            owner_role: row.owner_role,
            next_expected_actor: row.next_expected_actor,
            next_expected_action: row.next_expected_action,
            blocked_state: row.blocked_state.map(|_| BlockedState::Blocked),
            blocked_reason: row.blocked_reason,
            escalation_status: row.asks_for_help.then_some(EscalationStatus::Open),
            rework_count: row.rework_count,
            priority: Priority::from_rank(row.priority),
            notes: row.notes,
            created_by: row
                .created_by
                .parse()
                .map_err(|error: protocol::UnknownWord| anyhow::Error::from(error))?,
            metadata: JsonObject::from_text(row.metadata)?,
            branch_status,
            task_count: row.task_count,
            open_task_count: row.open_task_count,
            children_count: row.children_count,
            children_completed: row.children_completed,
            is_milestone: row.children_count > 0,
            pause_requested_at: row.pause_requested_at.map(Into::into),
            cancel_requested_at: row.cancel_requested_at.map(Into::into),
            completed_at: row.completed_at.map(Into::into),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
            children: Vec::new(),
        })
    }
}

/// Which work items of a run are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) ids: Option<Vec<Uuid>>,
    pub(super) parents: Option<Vec<Uuid>>,
    pub(super) stage_name: Option<String>,
    pub(super) column_id: Option<String>,
}

/// Work items of a run, newest first.
pub(super) async fn list(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    filter: &Filter,
    limit: i64,
) -> Result<Vec<WorkItem>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select i.id, i.workflow_id, i.parent_work_item_id, i.request_id, i.step_id, i.branch_key, i.stage_name, i.title,
                  i.goal, i.acceptance_criteria, i.column_id, i.owner_role, i.next_expected_actor, i.next_expected_action,
                  i.blocked_state, i.blocked_reason, i.rework_count, i.priority, i.notes, i.created_by,
                  i.metadata::text as "metadata!", i.pause_requested_at, i.cancel_requested_at, i.completed_at,
                  i.created_at, i.updated_at, t.total as "task_count!", t.total - t.ended as "open_task_count!",
                  c.total as "children_count!", c.completed as "children_completed!",
                  exists (select from task_parked p
                          where p.tenant_id = $1 and p.work_item_id = i.id and p.state = 'escalated') as "asks_for_help!"
           from (
               select * from work_items i
               where i.tenant_id = $1 and i.workflow_id = $2
                 and ($3::uuid[] is null or i.id = any($3))
                 and ($4::uuid[] is null or i.parent_work_item_id = any($4))
                 and ($5::text is null or i.stage_name = $5)
                 and ($6::text is null or i.column_id = $6)
               order by i.id desc
               limit $7
           ) i
           cross join lateral (
               select count(*) as total, count(r.task_id) as ended
               from tasks t
               left join task_results r on r.tenant_id = t.tenant_id and r.task_id = t.id
               where t.tenant_id = $1 and t.work_item_id = i.id
           ) t
           cross join lateral (
               select count(*) as total, count(*) filter (where c.completed_at is not null) as completed
               from work_items c
               where c.tenant_id = $1 and c.parent_work_item_id = i.id
           ) c
           order by i.id desc"#,
        tenant.uuid(),
        run.uuid(),
        filter.ids.as_deref() as Option<&[Uuid]>,
        filter.parents.as_deref() as Option<&[Uuid]>,
        filter.stage_name.as_deref() as Option<&str>,
        filter.column_id.as_deref() as Option<&str>,
        limit,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(WorkItem::try_from).collect()
}

/// The newest work items of a run.
///
/// # Errors
/// Those of the database.
pub async fn newest(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    limit: i64,
) -> Result<Vec<WorkItem>, Error> {
    list(db, tenant, run, &Filter::default(), limit).await
}

/// One work item of a run.
///
/// # Errors
/// 404.
pub(crate) async fn read(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    id: WorkItemId,
) -> Result<WorkItem, Error> {
    let filter = Filter {
        ids: Some(vec![id.uuid()]),
        ..Filter::default()
    };
    let found = list(db, tenant, run, &filter, 1).await?;
    found
        .into_iter()
        .next()
        .ok_or_else(|| Error::not_found("work item", id))
}

/// The work item of a step that begins.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "named like the columns they are written to")]
pub struct StepItem {
    pub id: Uuid,
    pub workflow: Uuid,
    pub step_id: String,
    pub stage_name: Option<String>,
    pub title: String,
    pub column: String,
    pub priority: i16,
}

/// Makes the work items of steps that begin.
///
/// # Errors
/// Those of the database.
pub async fn make_for_steps(
    db: &mut PgConnection,
    tenant: TenantId,
    items: &[StepItem],
) -> Result<(), Error> {
    macro_rules! column {
        ($item:ident => $value:expr) => {
            items.iter().map(|$item| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query!(
        "insert into work_items (tenant_id, id, workflow_id, step_id, stage_name, title, column_id, priority, created_by, metadata)
         select $1, i.id, i.workflow_id, i.step_id, i.stage_name, i.title, i.column_id, i.priority, 'graph', '{}'
         from unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::smallint[])
              as i (id, workflow_id, step_id, stage_name, title, column_id, priority)",
        tenant.uuid(),
        &column!(item => item.id),
        &column!(item => item.workflow),
        &column!(item => item.step_id.as_str()) as &[&str],
        &column!(item => item.stage_name.clone()) as &[Option<String>],
        &column!(item => item.title.as_str()) as &[&str],
        &column!(item => item.column.as_str()) as &[&str],
        &column!(item => item.priority),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The work item of a step that ends.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "named like the columns they are written to")]
pub struct ItemEnd {
    pub id: Uuid,
    pub column: String,
    pub is_done: bool,
    pub reason: Option<String>,
}

/// Ends the work items of steps: they are completed, or blocked.
///
/// # Errors
/// Those of the database.
pub async fn end_for_steps(
    db: &mut PgConnection,
    tenant: TenantId,
    ends: &[ItemEnd],
) -> Result<(), Error> {
    macro_rules! column {
        ($end:ident => $value:expr) => {
            ends.iter().map(|$end| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query!(
        "update work_items i
         set column_id = e.column_id,
             completed_at = case when e.is_done then coalesce(i.completed_at, clock_timestamp()) end,
             blocked_state = case when not e.is_done then 'blocked' end,
             blocked_reason = e.reason,
             updated_at = clock_timestamp()
         from unnest($2::uuid[], $3::text[], $4::bool[], $5::text[]) as e (id, column_id, is_done, reason)
         where i.tenant_id = $1 and i.id = e.id",
        tenant.uuid(),
        &column!(end => end.id),
        &column!(end => end.column.as_str()) as &[&str],
        &column!(end => end.is_done),
        &column!(end => end.reason.clone()) as &[Option<String>],
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Opens a work item again, if it was completed or blocked.
///
/// # Errors
/// Those of the database.
pub async fn reopen(
    db: &mut PgConnection,
    tenant: TenantId,
    id: Uuid,
    column: &str,
) -> Result<bool, Error> {
    let reopened = sqlx::query!(
        "update work_items
         set completed_at = null, blocked_state = null, blocked_reason = null, column_id = $3, rework_count = rework_count + 1,
             updated_at = clock_timestamp()
         where tenant_id = $1 and id = $2 and (completed_at is not null or blocked_state is not null)",
        tenant.uuid(),
        id,
        column,
    )
    .execute(db)
    .await?;
    Ok(reopened.rows_affected() > 0)
}

/// Notes that all open work items of a run are called off.
///
/// # Errors
/// Those of the database.
pub async fn cancel_all(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<(), Error> {
    sqlx::query!(
        "update work_items set cancel_requested_at = clock_timestamp(), updated_at = clock_timestamp()
         where tenant_id = $1 and workflow_id = $2 and completed_at is null and cancel_requested_at is null",
        tenant.uuid(),
        run.uuid(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A work item that is about to be made, or to be changed.
pub(super) struct Facts<'i> {
    pub(super) parent: Option<Uuid>,
    pub(super) request_id: Option<&'i str>,
    pub(super) branch_key: Option<&'i str>,
    pub(super) stage_name: Option<&'i str>,
    pub(super) title: &'i str,
    pub(super) goal: Option<&'i str>,
    pub(super) acceptance_criteria: Option<&'i str>,
    pub(super) column_id: &'i str,
    pub(super) owner_role: Option<&'i str>,
    pub(super) priority: i16,
    pub(super) notes: Option<&'i str>,
    pub(super) created_by: &'i str,
    pub(super) metadata: &'i str,
    pub(super) is_blocked: bool,
    pub(super) is_completed: bool,
}

/// Makes a work item.
pub(super) async fn insert(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    id: WorkItemId,
    facts: &Facts<'_>,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into work_items (tenant_id, id, workflow_id, parent_work_item_id, request_id, branch_key, stage_name, title,
                                 goal, acceptance_criteria, column_id, owner_role, priority, notes, created_by, metadata,
                                 blocked_state, completed_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16::text::json,
                 case when $17 then 'blocked' end, case when $18 then clock_timestamp() end)",
        tenant.uuid(),
        id.uuid(),
        run.uuid(),
        facts.parent,
        facts.request_id,
        facts.branch_key,
        facts.stage_name,
        facts.title,
        facts.goal,
        facts.acceptance_criteria,
        facts.column_id,
        facts.owner_role,
        facts.priority,
        facts.notes,
        facts.created_by,
        facts.metadata,
        facts.is_blocked,
        facts.is_completed,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Changes a work item.
pub(super) async fn update(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkItemId,
    facts: &Facts<'_>,
) -> Result<(), Error> {
    sqlx::query!(
        "update work_items
         set parent_work_item_id = $3, stage_name = $4, title = $5, goal = $6, acceptance_criteria = $7, column_id = $8,
             owner_role = $9, priority = $10, notes = $11, metadata = $12::text::json,
             blocked_state = case when $13 then 'blocked' end,
             blocked_reason = case when $13 then blocked_reason end,
             completed_at = case when $14 then coalesce(completed_at, clock_timestamp()) end,
             updated_at = clock_timestamp()
         where tenant_id = $1 and id = $2",
        tenant.uuid(),
        id.uuid(),
        facts.parent,
        facts.stage_name,
        facts.title,
        facts.goal,
        facts.acceptance_criteria,
        facts.column_id,
        facts.owner_role,
        facts.priority,
        facts.notes,
        facts.metadata,
        facts.is_blocked,
        facts.is_completed,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What is wanted of a work item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Pause,
    Resume,
    Cancel,
}

/// Notes a wish, and for a step what it means for it.
pub(super) async fn wish(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkItemId,
    wish: Wish,
) -> Result<(), Error> {
    sqlx::query!(
        "update work_items
         set pause_requested_at = case when $3 then clock_timestamp() end,
             cancel_requested_at = case when $4 then clock_timestamp() else cancel_requested_at end,
             updated_at = clock_timestamp()
         where tenant_id = $1 and id = $2",
        tenant.uuid(),
        id.uuid(),
        wish == Wish::Pause,
        wish == Wish::Cancel,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The tasks of a work item, in their order: which of them ended badly, or wait for a person.
pub(super) async fn tasks_of(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkItemId,
    limit: i64,
) -> Result<Vec<(TaskId, TaskState)>, Error> {
    let rows = sqlx::query!(
        r#"select t.id, p.state as "state!"
           from (select id from tasks where tenant_id = $1 and work_item_id = $2 order by id limit $3) t
           cross join lateral (select state from task_positions where tenant_id = $1 and task_id = t.id limit 1) p
           order by t.id"#,
        tenant.uuid(),
        id.uuid(),
        limit,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let state = row
                .state
                .parse::<TaskState>()
                .map_err(anyhow::Error::from)?;
            Ok((row.id.into(), state))
        })
        .collect()
}

/// The first task of a work item that failed, else the first one that asked for help.
pub(super) async fn first_in_need(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkItemId,
) -> Result<Option<TaskId>, Error> {
    let found = sqlx::query_scalar!(
        r#"select f.id as "id!"
           from (
               (select t.id, 0 as part from tasks t
                join task_results r on r.tenant_id = $1 and r.task_id = t.id and r.state = 'failed'
                where t.tenant_id = $1 and t.work_item_id = $2 order by t.id limit 1)
               union all
               (select t.id, 1 from tasks t
                join task_parked p on p.tenant_id = $1 and p.task_id = t.id and p.state = 'escalated'
                where t.tenant_id = $1 and t.work_item_id = $2 order by t.id limit 1)
           ) f
           order by f.part
           limit 1"#,
        tenant.uuid(),
        id.uuid(),
    )
    .fetch_optional(db)
    .await?;
    Ok(found.map(Into::into))
}

/// The tasks of a work item that ask for help, in their order.
pub(super) async fn asking_for_help(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkItemId,
) -> Result<Vec<TaskId>, Error> {
    let found = sqlx::query_scalar!(
        "select task_id from task_parked
         where tenant_id = $1 and work_item_id = $2 and state = 'escalated'
         order by task_id",
        tenant.uuid(),
        id.uuid(),
    )
    .fetch_all(db)
    .await?;
    Ok(found.into_iter().map(Into::into).collect())
}

/// Whether a task of a work item is open.
pub(super) async fn has_open_tasks(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkItemId,
) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!(
        r#"select exists (
               select from tasks t
               left join task_results r on r.tenant_id = $1 and r.task_id = t.id
               where t.tenant_id = $1 and t.work_item_id = $2 and r.task_id is null
           ) as "has_open!""#,
        tenant.uuid(),
        id.uuid(),
    )
    .fetch_one(db)
    .await?)
}

/// The stages of a run, in their order; and which of them has not ended.
pub(super) async fn stages(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<Vec<(String, bool)>, Error> {
    let rows = sqlx::query!(
        r#"select name, completed_at is not null as "is_completed!" from workflow_stages
           where tenant_id = $1 and workflow_id = $2 order by position"#,
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.name, row.is_completed))
        .collect())
}
