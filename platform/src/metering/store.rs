//! Every statement that writes what work has used, and those that read it.

use protocol::{MeterUsage, MeteredUsage, TaskId, TenantId, WorkflowId};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::Error;

/// Who has used something.
pub(super) struct By {
    pub(super) agent: Option<Uuid>,
    pub(super) worker: Option<Uuid>,
}

/// Keeps what work on a task has used.
pub(super) async fn insert(
    db: &mut PgConnection,
    tenant: TenantId,
    id: Uuid,
    run: Option<WorkflowId>,
    by: By,
    usage: &MeterUsage,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into metering_events (tenant_id, id, task_id, workflow_id, worker_id, agent_id, tokens_input, tokens_output,
                                      cost_usd, wall_time_ms, cpu_ms, memory_peak_bytes, network_bytes)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        tenant.uuid(),
        id,
        usage.task_id.uuid(),
        run.map(WorkflowId::uuid) as Option<Uuid>,
        by.worker,
        by.agent,
        usage.tokens_input,
        usage.tokens_output,
        usage.cost_usd,
        usage.wall_time_ms,
        usage.cpu_ms,
        usage.memory_peak_bytes,
        usage.network_bytes,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets all but the last reports of a task.
pub(super) async fn forget(
    db: &mut PgConnection,
    tenant: TenantId,
    task: TaskId,
    kept: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "delete from metering_events
         where tenant_id = $1 and task_id = $2
           and id <= (select id from metering_events where tenant_id = $1 and task_id = $2 order by id desc offset $3 limit 1)",
        tenant.uuid(),
        task.uuid(),
        kept,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What a run has used in all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Total {
    pub(super) tokens: i64,
    pub(super) cost_usd: f64,
}

/// What a run has used so far.
pub(super) async fn total(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<Total, Error> {
    let found = sqlx::query_as!(
        Total,
        "select tokens, cost_usd from metering_totals where tenant_id = $1 and workflow_id = $2",
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_optional(db)
    .await?;
    Ok(found.unwrap_or_default())
}

/// Writes down what a run, whose row is locked, has used.
pub(super) async fn put_total(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    total: Total,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into metering_totals (tenant_id, workflow_id, tokens, cost_usd) values ($1, $2, $3, $4)
         on conflict (tenant_id, workflow_id) do update set tokens = excluded.tokens, cost_usd = excluded.cost_usd",
        tenant.uuid(),
        run.uuid(),
        total.tokens,
        total.cost_usd,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What a run may use.
pub(super) struct Limits {
    pub(super) token_budget: Option<i64>,
    pub(super) cost_cap_usd: Option<f64>,
}

/// Reads what a run may use.
pub(super) async fn limits(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<Limits, Error> {
    Ok(sqlx::query_as!(
        Limits,
        "select token_budget, cost_cap_usd from workflows where tenant_id = $1 and id = $2",
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_one(db)
    .await?)
}

struct Row {
    id: Uuid,
    tenant_id: Uuid,
    task_id: Uuid,
    workflow_id: Option<Uuid>,
    worker_id: Option<Uuid>,
    agent_id: Option<Uuid>,
    tokens_input: i64,
    tokens_output: i64,
    cost_usd: f64,
    wall_time_ms: i64,
    cpu_ms: Option<i64>,
    memory_peak_bytes: Option<i64>,
    network_bytes: Option<i64>,
    created_at: DateTime<Utc>,
}

impl From<Row> for MeteredUsage {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            tenant_id: row.tenant_id.into(),
            task_id: row.task_id.into(),
            workflow_id: row.workflow_id.map(Into::into),
            worker_id: row.worker_id.map(Into::into),
            agent_id: row.agent_id.map(Into::into),
            tokens_input: row.tokens_input,
            tokens_output: row.tokens_output,
            cost_usd: row.cost_usd,
            wall_time_ms: row.wall_time_ms,
            cpu_ms: row.cpu_ms,
            memory_peak_bytes: row.memory_peak_bytes,
            network_bytes: row.network_bytes,
            created_at: row.created_at.into(),
        }
    }
}

/// Which reports are wanted; what is none is not asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) id: Option<Uuid>,
    pub(super) run: Option<Uuid>,
    pub(super) task: Option<TaskId>,
    pub(super) worker: Option<Uuid>,
    /// Only of tasks in these workspaces.
    pub(super) workspaces: Option<Vec<Uuid>>,
    pub(super) limit: i64,
}

/// What was reported, the newest first.
pub(super) async fn list(
    db: &mut PgConnection,
    tenant: TenantId,
    filter: &Filter,
) -> Result<Vec<MeteredUsage>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "select m.id, m.tenant_id, m.task_id, m.workflow_id, m.worker_id, m.agent_id, m.tokens_input, m.tokens_output, m.cost_usd,
                m.wall_time_ms, m.cpu_ms, m.memory_peak_bytes, m.network_bytes, m.created_at
         from metering_events m
         where m.tenant_id = $1
           and ($2::uuid is null or m.id = $2)
           and ($3::uuid is null or m.workflow_id = $3)
           and ($4::uuid is null or m.task_id = $4)
           and ($5::uuid is null or m.worker_id = $5)
           and ($6::uuid[] is null or exists (select from tasks t
                                              where t.tenant_id = $1 and t.id = m.task_id and t.workspace_id = any($6)))
         order by m.id desc
         limit $7",
        tenant.uuid(),
        filter.id as Option<Uuid>,
        filter.run as Option<Uuid>,
        filter.task.map(TaskId::uuid) as Option<Uuid>,
        filter.worker as Option<Uuid>,
        filter.workspaces.as_deref() as Option<&[Uuid]>,
        filter.limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(MeteredUsage::from).collect())
}

/// One report.
pub(super) async fn read(
    db: &mut PgConnection,
    tenant: TenantId,
    id: Uuid,
) -> Result<MeteredUsage, Error> {
    let one = Filter {
        id: Some(id),
        limit: 1,
        ..Filter::default()
    };
    let found = list(db, tenant, &one).await?;
    found
        .into_iter()
        .next()
        .ok_or_else(|| Error::not_found("metering event", id))
}
