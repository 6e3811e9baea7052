//! Every statement that writes interventions, and those that read them.

use protocol::{
    ActivationId, Intervention, InterventionId, JsonObject, TaskId, TenantId, WorkItemId,
    WorkflowId,
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;

/// An intervention that is about to be recorded.
pub(super) struct NewIntervention<'i> {
    pub(super) id: InterventionId,
    pub(super) run: WorkflowId,
    pub(super) item: Option<WorkItemId>,
    pub(super) task: Option<TaskId>,
    pub(super) request_id: Option<&'i str>,
    pub(super) kind: &'i str,
    pub(super) origin: &'i str,
    pub(super) status: &'i str,
    pub(super) summary: &'i str,
    pub(super) note: Option<&'i str>,
    pub(super) action: &'i JsonObject,
    pub(super) metadata: &'i JsonObject,
    pub(super) snapshot_version: Option<&'i str>,
    pub(super) settings_revision: Option<i32>,
    pub(super) activation: Option<ActivationId>,
}

/// Records an intervention.
pub(super) async fn insert(
    db: &mut PgConnection,
    tenant: TenantId,
    row: &NewIntervention<'_>,
    (by_type, by): (&str, Uuid),
) -> Result<(), Error> {
    sqlx::query!(
        "insert into workflow_interventions (tenant_id, id, workflow_id, work_item_id, task_id, request_id, kind, origin, status,
                                             summary, note, structured_action, metadata, snapshot_version, settings_revision,
                                             activation_id, created_by_type, created_by)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::text::json, $13::text::json, $14, $15, $16, $17, $18)",
        tenant.uuid(),
        row.id.uuid(),
        row.run.uuid(),
        row.item.map(WorkItemId::uuid),
        row.task.map(TaskId::uuid),
        row.request_id,
        row.kind,
        row.origin,
        row.status,
        row.summary,
        row.note,
        row.action.text(),
        row.metadata.text(),
        row.snapshot_version,
        row.settings_revision,
        row.activation.map(ActivationId::uuid),
        by_type,
        by,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets all but the last interventions of a run, whose row is locked.
pub(super) async fn forget(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    kept: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "delete from workflow_interventions
         where tenant_id = $1 and workflow_id = $2
           and id <= (select id from workflow_interventions where tenant_id = $1 and workflow_id = $2 order by id desc offset $3 limit 1)",
        tenant.uuid(),
        run.uuid(),
        kept,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// One intervention of a run.
pub(super) async fn find(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    id: InterventionId,
) -> Result<Intervention, Error> {
    let found = list(db, tenant, run, Some(id), (1, 0)).await?;
    let found = found.into_iter().next();
    found.ok_or_else(|| Error::not_found("intervention", id))
}

/// The interventions of a run, or one of them, the newest first.
pub(super) async fn list(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    only: Option<InterventionId>,
    (limit, offset): (i64, i64),
) -> Result<Vec<Intervention>, Error> {
    let rows = sqlx::query!(
        r#"select id, work_item_id, task_id, request_id, kind, origin, status, summary, note,
                  structured_action::text as "structured_action!", metadata::text as "metadata!", snapshot_version,
                  settings_revision, activation_id, created_by_type, created_by, created_at
           from workflow_interventions
           where tenant_id = $1 and workflow_id = $2 and ($3::uuid is null or id = $3)
           order by id desc
           limit $4 offset $5"#,
        tenant.uuid(),
        run.uuid(),
        only.map(InterventionId::uuid) as Option<Uuid>,
        limit,
        offset,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Intervention {
                id: row.id.into(),
                workflow_id: run,
                work_item_id: row.work_item_id.map(Into::into),
                task_id: row.task_id.map(Into::into),
                request_id: row.request_id,
                kind: row.kind,
                origin: row.origin,
                status: row.status,
                summary: row.summary,
                note: row.note,
                structured_action: JsonObject::from_text(row.structured_action)?,
                metadata: JsonObject::from_text(row.metadata)?,
                snapshot_version: row.snapshot_version,
                settings_revision: row.settings_revision,
                activation_id: row.activation_id.map(Into::into),
                created_by_type: row.created_by_type,
                created_by_id: row.created_by,
                created_at: row.created_at.into(),
            })
        })
        .collect()
}

/// How many interventions a run has seen.
pub(super) async fn count(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "count!" from workflow_interventions where tenant_id = $1 and workflow_id = $2"#,
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_one(db)
    .await?)
}
