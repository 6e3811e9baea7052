//! Every statement that writes gates, and those that read them.

use protocol::{
    GateAction, GateHistoryEntry, GateId, GateStatus, StageGate, TaskId, TenantId, WorkflowId,
};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::Error;

struct Row {
    id: Uuid,
    workflow_id: Uuid,
    workflow_name: String,
    workspace_id: Uuid,
    stage_id: Uuid,
    stage_name: String,
    stage_goal: String,
    status: String,
    request_summary: String,
    recommendation: Option<String>,
    concerns: Vec<String>,
    key_artifacts: String,
    requested_by_type: String,
    requested_by: Option<Uuid>,
    requested_by_task_id: Option<Uuid>,
    requested_at: DateTime<Utc>,
    decision: Option<String>,
    decision_feedback: Option<String>,
    decided_by_type: Option<String>,
    decided_by: Option<Uuid>,
    decided_at: Option<DateTime<Utc>>,
    superseded_by: Option<Uuid>,
    superseded_at: Option<DateTime<Utc>>,
    history: String,
}

impl TryFrom<Row> for StageGate {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let status: GateStatus = row.status.parse().map_err(anyhow::Error::from)?;
        let decision = row.decision.as_deref().map(str::parse::<GateAction>);
        let history: Vec<GateHistoryEntry> = serde_json::from_str(&row.history)?;
        Ok(Self {
            id: row.id.into(),
            gate_id: row.id.into(),
            workflow_id: row.workflow_id.into(),
            workflow_name: row.workflow_name,
            workspace_id: row.workspace_id.into(),
            stage_id: row.stage_id,
            stage_name: row.stage_name,
            stage_goal: row.stage_goal,
            status,
            gate_status: status,
            request_summary: row.request_summary,
            recommendation: row.recommendation,
            concerns: row.concerns,
            key_artifacts: serde_json::from_str(&row.key_artifacts)?,
            requested_by_type: row.requested_by_type,
            requested_by_id: row.requested_by,
            requested_by_task_id: row.requested_by_task_id.map(Into::into),
            requested_at: row.requested_at.into(),
            human_decision: decision.transpose().map_err(anyhow::Error::from)?,
            decision_feedback: row.decision_feedback,
            decided_by_type: row.decided_by_type,
            decided_by_id: row.decided_by,
            decided_at: row.decided_at.map(Into::into),
            is_superseded: row.superseded_at.is_some(),
            superseded_by: row.superseded_by.map(Into::into),
            superseded_at: row.superseded_at.map(Into::into),
            decision_history: history,
        })
    }
}

/// Which gates are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) run: Option<WorkflowId>,
    pub(super) ids: Option<Vec<Uuid>>,
    /// Only the one of this stage that counts.
    pub(super) current_of: Option<String>,
}

/// Gates, newest first.
pub(super) async fn list(
    db: &mut PgConnection,
    tenant: TenantId,
    wanted: &Wanted,
    limit: i64,
) -> Result<Vec<StageGate>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select g.id, g.workflow_id, w.name as workflow_name, w.workspace_id, s.id as stage_id, g.stage_name, s.goal as stage_goal, g.status,
                  g.request_summary, g.recommendation, g.concerns, g.key_artifacts::text as "key_artifacts!", g.requested_by_type,
                  g.requested_by, g.requested_by_task_id, g.requested_at, g.decision, g.decision_feedback, g.decided_by_type,
                  g.decided_by, g.decided_at, g.superseded_by, g.superseded_at, g.history::text as "history!"
           from stage_gates g
           join workflows w on w.tenant_id = $1 and w.id = g.workflow_id
           join workflow_stages s on s.tenant_id = $1 and s.workflow_id = g.workflow_id and s.name = g.stage_name
           where g.tenant_id = $1
             and ($2::uuid is null or g.workflow_id = $2)
             and ($3::uuid[] is null or g.id = any($3))
             and ($4::text is null or (g.stage_name = $4 and g.superseded_at is null))
           order by g.id desc
           limit $5"#,
        tenant.uuid(),
        wanted.run.map(WorkflowId::uuid) as Option<Uuid>,
        wanted.ids.as_deref() as Option<&[Uuid]>,
        wanted.current_of.as_deref() as Option<&str>,
        limit,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(StageGate::try_from).collect()
}

/// Gates by their ids; unknown ones are left out.
///
/// # Errors
/// Those of the database.
pub(crate) async fn by_ids(
    db: &mut PgConnection,
    tenant: TenantId,
    ids: &[Uuid],
) -> Result<Vec<StageGate>, Error> {
    let wanted = Wanted {
        ids: Some(ids.to_vec()),
        ..Wanted::default()
    };
    let most = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    list(db, tenant, &wanted, most).await
}

/// One gate of a run.
pub(super) async fn read(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    id: GateId,
) -> Result<StageGate, Error> {
    let wanted = Wanted {
        run: Some(run),
        ids: Some(vec![id.uuid()]),
        current_of: None,
    };
    let found = list(db, tenant, &wanted, 1).await?.into_iter().next();
    found.ok_or_else(|| Error::not_found("gate", id))
}

/// The gate of a stage that counts, if it has one.
pub(super) async fn current(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    stage: &str,
) -> Result<Option<StageGate>, Error> {
    let wanted = Wanted {
        run: Some(run),
        ids: None,
        current_of: Some(stage.to_owned()),
    };
    Ok(list(db, tenant, &wanted, 1).await?.into_iter().next())
}

/// A request that is about to be stored.
pub(super) struct Request<'r> {
    pub(super) id: GateId,
    pub(super) stage: &'r str,
    pub(super) summary: &'r str,
    pub(super) recommendation: Option<&'r str>,
    pub(super) concerns: &'r [String],
    pub(super) artifacts: &'r str,
    pub(super) actor_type: &'r str,
    pub(super) actor: Uuid,
    pub(super) task: TaskId,
}

/// Stores a request.
pub(super) async fn insert(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    request: &Request<'_>,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into stage_gates (tenant_id, id, workflow_id, stage_name, status, request_summary, recommendation, concerns,
                                  key_artifacts, requested_by_type, requested_by, requested_by_task_id, history)
         values ($1, $2, $3, $4, 'awaiting_approval', $5, $6, $7, $8::text::json, $9, $10, $11,
                 json_build_array(json_build_object('action', 'requested', 'actor_type', $9::text, 'actor_id', $10::uuid,
                                                    'feedback', null, 'at', clock_timestamp())))",
        tenant.uuid(),
        request.id.uuid(),
        run.uuid(),
        request.stage,
        request.summary,
        request.recommendation,
        request.concerns,
        request.artifacts,
        request.actor_type,
        request.actor,
        request.task.uuid(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that a newer request takes the place of a gate.
pub(super) async fn supersede(
    db: &mut PgConnection,
    tenant: TenantId,
    id: GateId,
    by: GateId,
    actor_type: &str,
    actor: Uuid,
) -> Result<(), Error> {
    sqlx::query!(
        "update stage_gates
         set superseded_by = $3, superseded_at = clock_timestamp(),
             history = (history::jsonb || jsonb_build_array(jsonb_build_object(
                 'action', 'superseded', 'actor_type', $4::text, 'actor_id', $5::uuid, 'feedback', null, 'at', clock_timestamp()
             )))::json
         where tenant_id = $1 and id = $2",
        tenant.uuid(),
        id.uuid(),
        by.uuid(),
        actor_type,
        actor,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A decision that is about to be stored.
pub(super) struct Decision<'d> {
    pub(super) status: GateStatus,
    pub(super) action: GateAction,
    pub(super) feedback: Option<&'d str>,
    pub(super) actor_type: &'d str,
    pub(super) actor: Uuid,
}

/// Stores a decision.
pub(super) async fn decide(
    db: &mut PgConnection,
    tenant: TenantId,
    id: GateId,
    decision: &Decision<'_>,
) -> Result<(), Error> {
    sqlx::query!(
        "update stage_gates
         set status = $3, decision = $4, decision_feedback = $5, decided_by_type = $6, decided_by = $7,
             decided_at = clock_timestamp(),
             history = (history::jsonb || jsonb_build_array(jsonb_build_object(
                 'action', $4::text, 'actor_type', $6::text, 'actor_id', $7::uuid, 'feedback', $5::text, 'at', clock_timestamp()
             )))::json
         where tenant_id = $1 and id = $2",
        tenant.uuid(),
        id.uuid(),
        decision.status.as_str(),
        decision.action.as_str(),
        decision.feedback,
        decision.actor_type,
        decision.actor,
    )
    .execute(db)
    .await?;
    Ok(())
}
