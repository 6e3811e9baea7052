//! The statements of what people do with tasks.

use protocol::{Task, TaskId, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::store;
use crate::error::Error;

/// Gives a task another context, for its next attempt.
pub(super) async fn replace_context(
    db: &mut PgConnection,
    tenant: TenantId,
    id: TaskId,
    context: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "update tasks set context = $3::text::json, updated_at = clock_timestamp() where tenant_id = $1 and id = $2",
        tenant.uuid(),
        id.uuid(),
        context,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Says who alone may claim a task.
pub(super) async fn prefer(
    db: &mut PgConnection,
    tenant: TenantId,
    id: TaskId,
    agent: Option<Uuid>,
    worker: Option<Uuid>,
) -> Result<(), Error> {
    sqlx::query!(
        "update tasks set preferred_agent_id = $3, preferred_worker_id = $4, updated_at = clock_timestamp()
         where tenant_id = $1 and id = $2",
        tenant.uuid(),
        id.uuid(),
        agent,
        worker,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Which waiting tasks are wanted.
pub(crate) struct Waiting<'a> {
    pub(crate) states: &'a [&'a str],
    pub(crate) workspaces: Option<Vec<Uuid>>,
    pub(crate) workflow: Option<Uuid>,
    pub(crate) limit: i64,
    pub(crate) offset: i64,
}

/// A page of the tasks that wait for a person, the oldest first, and how many there are in all.
pub(crate) async fn waiting_for_people(
    db: &mut PgConnection,
    tenant: TenantId,
    wanted: &Waiting<'_>,
) -> Result<(Vec<Task>, i64), Error> {
    let ids = sqlx::query_scalar!(
        "select task_id from task_parked
         where tenant_id = $1 and state = any($2)
           and ($3::uuid[] is null or workspace_id = any($3))
           and ($4::uuid is null or workflow_id = $4)
         order by state_changed_at, task_id
         limit $5 offset $6",
        tenant.uuid(),
        wanted.states as &[&str],
        wanted.workspaces.as_deref() as Option<&[Uuid]>,
        wanted.workflow,
        wanted.limit,
        wanted.offset,
    )
    .fetch_all(&mut *db)
    .await?;
    let total = sqlx::query_scalar!(
        r#"select count(*) as "count!" from task_parked
           where tenant_id = $1 and state = any($2)
             and ($3::uuid[] is null or workspace_id = any($3))
             and ($4::uuid is null or workflow_id = $4)"#,
        tenant.uuid(),
        wanted.states as &[&str],
        wanted.workspaces.as_deref() as Option<&[Uuid]>,
        wanted.workflow,
    )
    .fetch_one(&mut *db)
    .await?;
    let mut tasks = store::records(db, tenant, &ids).await?;
    let in_order = ids.into_iter().filter_map(|id| tasks.remove(&id.into()));
    Ok((in_order.collect(), total))
}
