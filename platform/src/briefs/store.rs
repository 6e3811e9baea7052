//! Every statement that writes briefs and updates, and those that read them.

use protocol::{
    BriefPayload, BriefScope, LiveVisibilityMode, OperatorBrief, OperatorUpdate, TenantId,
    UnknownWord, WorkItemId, WorkflowId,
};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use super::author::Author;
use crate::error::Error;

/// A brief that is about to be recorded.
pub(super) struct NewBrief<'b> {
    pub(super) id: Uuid,
    pub(super) request_id: Option<&'b str>,
    pub(super) kind: &'b str,
    pub(super) scope: BriefScope,
    pub(super) status: &'b str,
    /// What it tells, as JSON text.
    pub(super) payload: &'b str,
    pub(super) artifacts: &'b [Uuid],
    pub(super) interventions: &'b [Uuid],
    pub(super) canonical: Option<Uuid>,
}

/// Records a brief of a run, whose row is locked. Answers with its place.
pub(super) async fn insert_brief(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    author: &Author,
    by: (&str, Uuid),
    brief: &NewBrief<'_>,
) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        "insert into operator_briefs (tenant_id, id, workflow_id, sequence_number, request_id, execution_context_id, task_id,
                                      work_item_id, brief_kind, brief_scope, source_kind, source_role_name, status_kind, payload,
                                      related_artifact_ids, related_intervention_ids, canonical_workflow_brief_id,
                                      llm_turn_count, created_by_type, created_by)
         select $1, $2, $3,
                coalesce((select max(sequence_number) from operator_briefs where tenant_id = $1 and workflow_id = $3), 0) + 1,
                $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::text::json, $14, $15, $16, $17, $18, $19
         returning sequence_number",
        tenant.uuid(),
        brief.id,
        run.uuid(),
        brief.request_id,
        author.context,
        author.task.uuid(),
        author.item.map(WorkItemId::uuid) as Option<Uuid>,
        brief.kind,
        brief.scope.as_str(),
        author.source.as_str(),
        author.role.as_deref(),
        brief.status,
        brief.payload,
        brief.artifacts,
        brief.interventions,
        brief.canonical,
        author.turns,
        by.0,
        by.1,
    )
    .fetch_one(db)
    .await?)
}

/// Forgets the briefs of a run up to a place.
pub(super) async fn forget_briefs(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    up_to: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "delete from operator_briefs where tenant_id = $1 and workflow_id = $2 and sequence_number <= $3",
        tenant.uuid(),
        run.uuid(),
        up_to,
    )
    .execute(db)
    .await?;
    Ok(())
}

struct BriefRow {
    id: Uuid,
    workflow_id: Uuid,
    sequence_number: i64,
    request_id: Option<String>,
    execution_context_id: Uuid,
    task_id: Uuid,
    work_item_id: Option<Uuid>,
    brief_kind: String,
    brief_scope: String,
    source_kind: String,
    source_role_name: Option<String>,
    status_kind: String,
    payload: String,
    related_artifact_ids: Vec<Uuid>,
    related_intervention_ids: Vec<Uuid>,
    canonical_workflow_brief_id: Option<Uuid>,
    llm_turn_count: Option<i32>,
    created_by_type: String,
    created_by: Uuid,
    created_at: DateTime<Utc>,
}

fn word<W: std::str::FromStr<Err = UnknownWord>>(text: &str) -> Result<W, Error> {
    text.parse()
        .map_err(|error: UnknownWord| anyhow::Error::from(error).into())
}

impl TryFrom<BriefRow> for OperatorBrief {
    type Error = Error;

    fn try_from(row: BriefRow) -> Result<Self, Error> {
        let payload: BriefPayload = serde_json::from_str(&row.payload)?;
        Ok(Self {
            id: row.id,
            workflow_id: row.workflow_id.into(),
            sequence_number: row.sequence_number,
            request_id: row.request_id,
            execution_context_id: row.execution_context_id,
            task_id: row.task_id.into(),
            work_item_id: row.work_item_id.map(Into::into),
            brief_kind: row.brief_kind,
            brief_scope: word(&row.brief_scope)?,
            source_kind: word(&row.source_kind)?,
            source_role_name: row.source_role_name,
            status_kind: row.status_kind,
            short_brief: payload.short_brief,
            detailed_brief_json: payload.detailed_brief_json,
            linked_target_ids: payload.linked_target_ids,
            linked_deliverables: payload.linked_deliverables,
            related_artifact_ids: row.related_artifact_ids,
            related_intervention_ids: row.related_intervention_ids,
            canonical_workflow_brief_id: row.canonical_workflow_brief_id,
            llm_turn_count: row.llm_turn_count,
            created_by_type: row.created_by_type,
            created_by_id: row.created_by,
            created_at: row.created_at.into(),
        })
    }
}

/// Which briefs, or updates, of a run are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filter<'f> {
    pub(super) id: Option<Uuid>,
    /// The one that this caller recorded under this request id.
    pub(super) request: Option<(Uuid, &'f str)>,
    pub(super) item: Option<Uuid>,
    pub(super) task: Option<Uuid>,
    pub(super) limit: i64,
}

impl<'f> Filter<'f> {
    /// The one with this id.
    pub(super) fn of_id(id: Uuid) -> Self {
        Self {
            id: Some(id),
            limit: 1,
            ..Self::default()
        }
    }

    /// The one that this caller recorded under this request id.
    pub(super) fn of_request(caller: Uuid, request: &'f str) -> Self {
        Self {
            request: Some((caller, request)),
            limit: 1,
            ..Self::default()
        }
    }
}

/// Briefs of a run, the newest first.
pub(super) async fn briefs(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    filter: Filter<'_>,
) -> Result<Vec<OperatorBrief>, Error> {
    let (author, request) = filter.request.unzip();
    let rows = sqlx::query_as!(
        BriefRow,
        r#"select id, workflow_id, sequence_number, request_id, execution_context_id, task_id, work_item_id, brief_kind, brief_scope,
                  source_kind, source_role_name, status_kind, payload::text as "payload!", related_artifact_ids,
                  related_intervention_ids, canonical_workflow_brief_id, llm_turn_count, created_by_type, created_by, created_at
           from operator_briefs
           where tenant_id = $1 and workflow_id = $2
             and ($3::uuid is null or id = $3)
             and ($4::uuid is null or (created_by = $4 and request_id = $5))
             and ($6::uuid is null or work_item_id = $6)
             and ($7::uuid is null or task_id = $7)
           order by sequence_number desc
           limit $8"#,
        tenant.uuid(),
        run.uuid(),
        filter.id as Option<Uuid>,
        author as Option<Uuid>,
        request as Option<&str>,
        filter.item as Option<Uuid>,
        filter.task as Option<Uuid>,
        filter.limit,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(OperatorBrief::try_from).collect()
}

/// The one brief that is wanted.
pub(super) async fn brief(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    one: Filter<'_>,
) -> Result<Option<OperatorBrief>, Error> {
    Ok(briefs(db, tenant, run, one).await?.into_iter().next())
}

/// An update that is about to be recorded.
pub(super) struct NewUpdate<'u> {
    pub(super) id: Uuid,
    pub(super) request_id: Option<&'u str>,
    pub(super) kind: &'u str,
    pub(super) visibility: LiveVisibilityMode,
    pub(super) headline: &'u str,
    pub(super) summary: Option<&'u str>,
    pub(super) targets: &'u [String],
    pub(super) promoted: Option<Uuid>,
}

/// Records an update of a run, whose row is locked. Answers with its place.
pub(super) async fn insert_update(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    author: &Author,
    by: (&str, Uuid),
    update: &NewUpdate<'_>,
) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        "insert into operator_updates (tenant_id, id, workflow_id, sequence_number, request_id, execution_context_id, task_id,
                                       work_item_id, update_kind, source_kind, source_role_name, visibility_mode, headline,
                                       summary, linked_target_ids, promoted_brief_id, llm_turn_count, created_by_type, created_by)
         select $1, $2, $3,
                coalesce((select max(sequence_number) from operator_updates where tenant_id = $1 and workflow_id = $3), 0) + 1,
                $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18
         returning sequence_number",
        tenant.uuid(),
        update.id,
        run.uuid(),
        update.request_id,
        author.context,
        author.task.uuid(),
        author.item.map(WorkItemId::uuid) as Option<Uuid>,
        update.kind,
        author.source.as_str(),
        author.role.as_deref(),
        update.visibility.as_str(),
        update.headline,
        update.summary,
        update.targets,
        update.promoted,
        author.turns,
        by.0,
        by.1,
    )
    .fetch_one(db)
    .await?)
}

/// Forgets the updates of a run up to a place.
pub(super) async fn forget_updates(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    up_to: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "delete from operator_updates where tenant_id = $1 and workflow_id = $2 and sequence_number <= $3",
        tenant.uuid(),
        run.uuid(),
        up_to,
    )
    .execute(db)
    .await?;
    Ok(())
}

struct UpdateRow {
    id: Uuid,
    workflow_id: Uuid,
    sequence_number: i64,
    request_id: Option<String>,
    execution_context_id: Uuid,
    task_id: Uuid,
    work_item_id: Option<Uuid>,
    update_kind: String,
    source_kind: String,
    source_role_name: Option<String>,
    visibility_mode: String,
    headline: String,
    summary: Option<String>,
    linked_target_ids: Vec<String>,
    promoted_brief_id: Option<Uuid>,
    llm_turn_count: Option<i32>,
    created_by_type: String,
    created_by: Uuid,
    created_at: DateTime<Utc>,
}

impl TryFrom<UpdateRow> for OperatorUpdate {
    type Error = Error;

    fn try_from(row: UpdateRow) -> Result<Self, Error> {
        Ok(Self {
            id: row.id,
            workflow_id: row.workflow_id.into(),
            sequence_number: row.sequence_number,
            request_id: row.request_id,
            execution_context_id: row.execution_context_id,
            task_id: row.task_id.into(),
            work_item_id: row.work_item_id.map(Into::into),
            update_kind: row.update_kind,
            source_kind: word(&row.source_kind)?,
            source_role_name: row.source_role_name,
            visibility_mode: word(&row.visibility_mode)?,
            headline: row.headline,
            summary: row.summary,
            linked_target_ids: row.linked_target_ids,
            promoted_brief_id: row.promoted_brief_id,
            llm_turn_count: row.llm_turn_count,
            created_by_type: row.created_by_type,
            created_by_id: row.created_by,
            created_at: row.created_at.into(),
        })
    }
}

/// Updates of a run, the newest first; only those that it shows as it is set, if `is_shown`.
pub(super) async fn updates(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    filter: Filter<'_>,
    is_shown: bool,
) -> Result<Vec<OperatorUpdate>, Error> {
    let (author, request) = filter.request.unzip();
    let rows = sqlx::query_as!(
        UpdateRow,
        r#"select u.id, u.workflow_id, u.sequence_number, u.request_id, u.execution_context_id, u.task_id, u.work_item_id,
                  u.update_kind, u.source_kind, u.source_role_name, u.visibility_mode, u.headline, u.summary,
                  u.linked_target_ids, u.promoted_brief_id, u.llm_turn_count, u.created_by_type, u.created_by, u.created_at
           from operator_updates u
           join workflows w on w.tenant_id = $1 and w.id = u.workflow_id
           where u.tenant_id = $1 and u.workflow_id = $2
             and ($3::uuid is null or u.id = $3)
             and ($4::uuid is null or (u.created_by = $4 and u.request_id = $5))
             and ($6::uuid is null or u.work_item_id = $6)
             and ($7::uuid is null or u.task_id = $7)
             and (not $8 or u.visibility_mode = 'standard' or w.live_visibility_mode is distinct from 'standard')
           order by u.sequence_number desc
           limit $9"#,
        tenant.uuid(),
        run.uuid(),
        filter.id as Option<Uuid>,
        author as Option<Uuid>,
        request as Option<&str>,
        filter.item as Option<Uuid>,
        filter.task as Option<Uuid>,
        is_shown,
        filter.limit,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(OperatorUpdate::try_from).collect()
}

/// The one update that is wanted.
pub(super) async fn update(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    one: Filter<'_>,
) -> Result<Option<OperatorUpdate>, Error> {
    let found = updates(db, tenant, run, one, false).await?;
    Ok(found.into_iter().next())
}
