//! Every statement that writes handoffs, and those that read them.

use protocol::{
    HandoffCompletion, HandoffResolution, SubmitHandoff, Task, TaskHandoff, TaskId, TenantId,
    WorkItemId, WorkflowId,
};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::Error;

/// Handoffs that one answer has at most.
const SHOWN_MAX: i64 = 200;

/// A handoff that is about to be written.
pub(super) struct NewHandoff<'h> {
    /// Its id, unless the task has one of this round already.
    pub(super) id: Uuid,
    pub(super) task: &'h Task,
    pub(super) completion: HandoffCompletion,
    pub(super) resolution: Option<HandoffResolution>,
    /// What it says, as JSON text.
    pub(super) content: &'h str,
    pub(super) by: (&'h str, Uuid),
}

/// Writes the handoff of a round, or writes it anew.
pub(super) async fn put(
    db: &mut PgConnection,
    tenant: TenantId,
    handoff: &NewHandoff<'_>,
) -> Result<(), Error> {
    let task = handoff.task;
    sqlx::query!(
        "insert into task_handoffs (tenant_id, id, workflow_id, work_item_id, task_id, attempt, rework_count, revision, role,
                                    stage_name, completion_state, resolution, content, created_by_type, created_by)
         values ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9, $10, $11, $12::text::json, $13, $14)
         on conflict (tenant_id, task_id, rework_count) do update
         set attempt = excluded.attempt, revision = task_handoffs.revision + 1, completion_state = excluded.completion_state,
             resolution = excluded.resolution, content = excluded.content, created_by_type = excluded.created_by_type,
             created_by = excluded.created_by, updated_at = clock_timestamp()",
        tenant.uuid(),
        handoff.id,
        task.workflow_id.map(WorkflowId::uuid) as Option<Uuid>,
        task.work_item_id.map(WorkItemId::uuid) as Option<Uuid>,
        task.id.uuid(),
        task.attempt,
        task.rework_count,
        task.role.as_deref(),
        task.stage_name.as_deref(),
        handoff.completion.as_str(),
        handoff.resolution.map(HandoffResolution::as_str),
        handoff.content,
        handoff.by.0,
        handoff.by.1,
    )
    .execute(db)
    .await?;
    Ok(())
}

struct Row {
    id: Uuid,
    workflow_id: Option<Uuid>,
    work_item_id: Option<Uuid>,
    task_id: Uuid,
    attempt: i32,
    rework_count: i32,
    revision: i32,
    role: Option<String>,
    stage_name: Option<String>,
    content: String,
    created_by_type: String,
    created_by: Uuid,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for TaskHandoff {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let said: SubmitHandoff = serde_json::from_str(&row.content)?;
        Ok(Self {
            id: row.id,
            task_id: row.task_id.into(),
            workflow_id: row.workflow_id.map(Into::into),
            work_item_id: row.work_item_id.map(Into::into),
            role: row.role,
            stage_name: row.stage_name,
            attempt: row.attempt,
            task_rework_count: row.rework_count,
            revision: row.revision,
            summary: said.summary,
            completion_state: said.completion_state,
            resolution: said.resolution,
            closure_effect: said.closure_effect,
            changes: said.changes,
            decisions: said.decisions,
            remaining_items: said.remaining_items,
            blockers: said.blockers,
            focus_areas: said.focus_areas,
            known_risks: said.known_risks,
            recommended_next_actions: said.recommended_next_actions,
            waived_steps: said.waived_steps,
            completion_callouts: said.completion_callouts,
            successor_context: said.successor_context,
            role_data: said.role_data,
            subject_ref: said.subject_ref,
            subject_revision: said.subject_revision,
            outcome_action_applied: said.outcome_action_applied,
            branch_id: said.branch_id,
            artifact_ids: said.artifact_ids,
            documents: said.documents,
            created_by_type: row.created_by_type,
            created_by_id: row.created_by,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
    }
}

/// Which handoffs are wanted; what is none is not asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Filter {
    id: Option<Uuid>,
    task: Option<Uuid>,
    round: Option<i32>,
    item: Option<Uuid>,
    limit: i64,
}

/// Handoffs, the last written first.
async fn list(db: &mut PgConnection, tenant: TenantId, filter: Filter) -> Result<Vec<Row>, Error> {
    Ok(sqlx::query_as!(
        Row,
        r#"select id, workflow_id, work_item_id, task_id, attempt, rework_count, revision, role, stage_name,
                  content::text as "content!", created_by_type, created_by, created_at, updated_at
           from task_handoffs
           where tenant_id = $1
             and ($2::uuid is null or id = $2)
             and ($3::uuid is null or task_id = $3)
             and ($4::integer is null or rework_count = $4)
             and ($5::uuid is null or work_item_id = $5)
           order by updated_at desc, id desc
           limit $6"#,
        tenant.uuid(),
        filter.id as Option<Uuid>,
        filter.task as Option<Uuid>,
        filter.round as Option<i32>,
        filter.item as Option<Uuid>,
        filter.limit,
    )
    .fetch_all(db)
    .await?)
}

async fn first(
    db: &mut PgConnection,
    tenant: TenantId,
    filter: Filter,
) -> Result<Option<TaskHandoff>, Error> {
    let found = list(db, tenant, Filter { limit: 1, ..filter }).await?;
    found
        .into_iter()
        .next()
        .map(TaskHandoff::try_from)
        .transpose()
}

/// One handoff.
pub(super) async fn read(
    db: &mut PgConnection,
    tenant: TenantId,
    id: Uuid,
) -> Result<Option<TaskHandoff>, Error> {
    let one = Filter {
        id: Some(id),
        ..Filter::default()
    };
    first(db, tenant, one).await
}

/// The handoff of a task since it was sent back so many times, and what it says as it is kept.
pub(super) async fn of_round(
    db: &mut PgConnection,
    tenant: TenantId,
    task: TaskId,
    round: i32,
) -> Result<Option<(TaskHandoff, String)>, Error> {
    let one = Filter {
        task: Some(task.uuid()),
        round: Some(round),
        limit: 1,
        ..Filter::default()
    };
    let found = list(db, tenant, one).await?.into_iter().next();
    found
        .map(|row| {
            let content = row.content.clone();
            Ok((TaskHandoff::try_from(row)?, content))
        })
        .transpose()
}

/// What a task left last.
///
/// # Errors
/// Those of the database.
pub(crate) async fn latest_of_task(
    db: &mut PgConnection,
    tenant: TenantId,
    task: TaskId,
) -> Result<Option<TaskHandoff>, Error> {
    let of_task = Filter {
        task: Some(task.uuid()),
        ..Filter::default()
    };
    first(db, tenant, of_task).await
}

/// What a task of a work item left last.
///
/// # Errors
/// Those of the database.
pub(crate) async fn latest_of_item(
    db: &mut PgConnection,
    tenant: TenantId,
    item: WorkItemId,
) -> Result<Option<TaskHandoff>, Error> {
    let of_item = Filter {
        item: Some(item.uuid()),
        ..Filter::default()
    };
    first(db, tenant, of_item).await
}

/// What the tasks of a work item left, the last written first.
///
/// # Errors
/// Those of the database.
pub(crate) async fn list_of_item(
    db: &mut PgConnection,
    tenant: TenantId,
    item: WorkItemId,
) -> Result<Vec<TaskHandoff>, Error> {
    let of_item = Filter {
        item: Some(item.uuid()),
        limit: SHOWN_MAX,
        ..Filter::default()
    };
    let found = list(db, tenant, of_item).await?;
    found.into_iter().map(TaskHandoff::try_from).collect()
}

/// The handoff that a task goes on from; see [`super::predecessor_of`].
pub(super) async fn predecessor(
    db: &mut PgConnection,
    tenant: TenantId,
    task: TaskId,
    (round, attempt): (i32, i32),
    needed: &[Uuid],
) -> Result<Option<Uuid>, Error> {
    Ok(sqlx::query_scalar!(
        r#"with own as (
               select t.work_item_id, i.parent_work_item_id, (t.settings ->> 'subject_task_id')::uuid as subject_task_id
               from tasks t
               left join work_items i on i.tenant_id = $1 and i.id = t.work_item_id
               where t.tenant_id = $1 and t.id = $2
           )
           select f.id as "id!"
           from (
               (select id, 0 as part from task_handoffs
                where tenant_id = $1 and task_id = $2 and (rework_count < $3 or attempt < $4)
                order by rework_count desc limit 1)
               union all
               (select h.id, 1 from own
                join task_handoffs h on h.tenant_id = $1 and h.task_id = own.subject_task_id
                order by h.rework_count desc limit 1)
               union all
               (select id, 2 from task_handoffs
                where tenant_id = $1 and task_id = any($5)
                order by updated_at desc, id desc limit 1)
               union all
               (select h.id, 3 from own
                join task_handoffs h on h.tenant_id = $1 and h.work_item_id = own.work_item_id and h.task_id <> $2
                order by h.updated_at desc, h.id desc limit 1)
               union all
               (select h.id, 4 from own
                join task_handoffs h on h.tenant_id = $1 and h.work_item_id = own.parent_work_item_id
                order by h.updated_at desc, h.id desc limit 1)
           ) f
           order by f.part
           limit 1"#,
        tenant.uuid(),
        task.uuid(),
        round,
        attempt,
        needed,
    )
    .fetch_optional(db)
    .await?)
}
