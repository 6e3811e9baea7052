//! The statements that read activations, as they are shown.

use protocol::{
    Activation, ActivationEvent, ActivationId, ActivationState, JsonObject, RecoveryStatus, TaskId,
    TenantId, WorkflowId,
};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::Error;

struct Row {
    id: Uuid,
    workflow_id: Uuid,
    request_id: Option<String>,
    event_type: String,
    reason: String,
    payload: String,
    batch_id: Option<Uuid>,
    ignored: Option<String>,
    queued_at: DateTime<Utc>,
    consumed_at: Option<DateTime<Utc>>,
    batch_reason: Option<String>,
    batch_state: Option<String>,
    dispatch_attempt: Option<i32>,
    dispatch_token: Option<Uuid>,
    task_id: Option<Uuid>,
    failures: Option<i32>,
    look_at: Option<DateTime<Utc>>,
    stale_noticed_at: Option<DateTime<Utc>>,
    error: Option<String>,
    summary: Option<String>,
    started_at: Option<DateTime<Utc>>,
    completed_at: Option<DateTime<Utc>>,
    told: Option<i64>,
    told_types: Option<Vec<String>>,
    told_last: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for Activation {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let batch = row.batch_state.as_deref();
        let state = match (row.consumed_at, batch) {
            (Some(_), _) => ActivationState::Completed,
            (None, Some("processing")) => ActivationState::Processing,
            (None, Some("stuck")) => ActivationState::Failed,
            (None, _) => ActivationState::Queued,
        };
        let failures = row.failures.unwrap_or_default();
        let (recovery_status, recovery_reason) = match batch {
            Some("stuck") => (
                Some(RecoveryStatus::OperatorActionRequired),
                Some(format!(
                    "the orchestrator failed {failures} times; steer the run, or retry its task"
                )),
            ),
            Some("retrying") => (
                Some(RecoveryStatus::Requeued),
                Some(format!(
                    "the orchestrator failed {failures} times, and is tried again"
                )),
            ),
            Some("processing") if row.stale_noticed_at.is_some() => (
                Some(RecoveryStatus::StaleDetected),
                Some("the orchestrator takes long".to_owned()),
            ),
            _ => (None, None),
        };
        let is_heartbeat = row.batch_reason.as_deref().unwrap_or(&row.event_type) == "heartbeat";
        Ok(Self {
            id: row.id.into(),
            activation_id: row.batch_id.map(Into::into),
            workflow_id: row.workflow_id.into(),
            request_id: row.request_id,
            reason: row.reason,
            activation_reason: if is_heartbeat {
                protocol::ActivationReason::Heartbeat
            } else {
                protocol::ActivationReason::QueuedEvents
            },
            payload: JsonObject::from_text(row.payload)?,
            state,
            dispatch_attempt: row.dispatch_attempt.unwrap_or_default(),
            dispatch_token: row.dispatch_token,
            task_id: row.task_id.map(Into::into),
            failure_count: failures,
            next_try_at: row
                .look_at
                .filter(|_| batch == Some("retrying"))
                .map(Into::into),
            queued_at: row.queued_at.into(),
            started_at: row.started_at.map(Into::into),
            consumed_at: row.consumed_at.map(Into::into),
            completed_at: row.completed_at.or(row.consumed_at).map(Into::into),
            summary: row
                .ignored
                .map(|why| format!("ignored: {why}"))
                .or(row.summary),
            error: row
                .error
                .map(|error| serde_json::from_str(&error))
                .transpose()?,
            recovery_status,
            recovery_reason,
            recovery_detected_at: row.stale_noticed_at.map(Into::into),
            event_types: row
                .told_types
                .unwrap_or_else(|| vec![row.event_type.clone()]),
            event_type: row.event_type,
            latest_event_at: row.told_last.unwrap_or(row.queued_at).into(),
            event_count: row.told.unwrap_or(1),
            events: Vec::new(),
        })
    }
}

/// Which activations of a run are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ActivationFilter {
    /// Only this one.
    pub(crate) id: Option<Uuid>,
    /// How many at most.
    pub(crate) limit: i64,
    /// How many are passed over.
    pub(crate) offset: i64,
}

/// Activations of a run, newest first. The first one of a batch stands for what the batch tells.
///
/// # Errors
/// Those of the database.
pub(crate) async fn list(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    filter: ActivationFilter,
) -> Result<Vec<Activation>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select a.id, a.workflow_id, a.request_id, a.event_type, a.reason, a.payload::text as "payload!", a.batch_id, a.ignored,
                  a.queued_at, a.consumed_at, b.reason as "batch_reason?", b.state as "batch_state?",
                  b.dispatch_attempt as "dispatch_attempt?", b.dispatch_token as "dispatch_token?", b.task_id as "task_id?",
                  b.failures as "failures?", b.look_at as "look_at?", b.stale_noticed_at as "stale_noticed_at?",
                  b.error::text as error, b.summary as "summary?", b.started_at as "started_at?", b.completed_at as "completed_at?",
                  told.count as "told?", told.types as "told_types?", told.last as "told_last?"
           from (
               select * from activations
               where tenant_id = $1 and workflow_id = $2 and ($3::uuid is null or id = $3)
               order by seq desc
               limit $4 offset $5
           ) a
           left join activation_batches b on b.tenant_id = $1 and b.id = a.batch_id
           left join lateral (
               select count(*) as count, array_agg(distinct t.event_type) as types, max(t.queued_at) as last
               from activations t
               where t.tenant_id = $1 and t.batch_id = a.id
               having count(*) > 0
           ) told on a.id = a.batch_id
           order by a.seq desc"#,
        tenant.uuid(),
        run.uuid(),
        filter.id as Option<Uuid>,
        filter.limit,
        filter.offset,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(Activation::try_from).collect()
}

/// How many activations a run has had.
///
/// # Errors
/// Those of the database.
pub(crate) async fn event_count(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "count!" from activations where tenant_id = $1 and workflow_id = $2"#,
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_one(db)
    .await?)
}

/// One activation of a run; the first one of a batch with all that the batch tells.
pub(in crate::activations) async fn find(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    id: ActivationId,
) -> Result<Activation, Error> {
    let filter = ActivationFilter {
        id: Some(id.uuid()),
        limit: 1,
        offset: 0,
    };
    let found = list(db, tenant, run, filter).await?;
    let mut found = found
        .into_iter()
        .next()
        .ok_or_else(|| Error::not_found("activation", id))?;
    let told = events_of(db, tenant, &[id.uuid()]).await?;
    found.events = told.into_iter().map(|(_, event)| event).collect();
    Ok(found)
}

/// What batches tell, in order, with the batch of each.
pub(in crate::activations) async fn events_of(
    db: &mut PgConnection,
    tenant: TenantId,
    batches: &[Uuid],
) -> Result<Vec<(Uuid, ActivationEvent)>, Error> {
    let rows = sqlx::query!(
        r#"select batch_id as "batch_id!", id, event_type, reason, payload::text as "payload!", work_item_id, stage_name, queued_at
           from activations
           where tenant_id = $1 and batch_id = any($2)
           order by seq"#,
        tenant.uuid(),
        batches,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let event = ActivationEvent {
                queue_id: row.id.into(),
                event_type: row.event_type,
                reason: row.reason,
                payload: JsonObject::from_text(row.payload)?,
                work_item_id: row.work_item_id.map(Into::into),
                stage_name: row.stage_name,
                timestamp: row.queued_at.into(),
            };
            Ok((row.batch_id, event))
        })
        .collect()
}

/// A batch, as those look at it who steer by it.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// Its id: that of its first activation.
    pub(crate) id: Uuid,
    /// How it is doing.
    pub(crate) state: String,
    /// Its latest task.
    pub(crate) task_id: Uuid,
    /// How many tasks it has had.
    pub(crate) dispatch_attempt: i32,
    /// How many of them failed since a person last stepped in.
    pub(crate) failures: i32,
    /// When the next one comes.
    pub(crate) look_at: Option<DateTime<Utc>>,
    /// Why the latest one failed.
    pub(crate) error: Option<String>,
}

/// The batch of a run that is not completed.
///
/// # Errors
/// Those of the database.
pub(crate) async fn open_batch(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<Option<Batch>, Error> {
    Ok(sqlx::query_as!(
        Batch,
        r#"select id, state, task_id, dispatch_attempt, failures, look_at, error::text as error
           from activation_batches
           where tenant_id = $1 and workflow_id = $2 and state <> 'completed'"#,
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_optional(db)
    .await?)
}

/// Whether something has happened in a run that its orchestrator was not told yet.
///
/// # Errors
/// Those of the database.
pub(crate) async fn has_queued(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<bool, Error> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select from activations
                          where tenant_id = $1 and workflow_id = $2 and batch_id is null and consumed_at is null) as "exists!""#,
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_one(db)
    .await?)
}

/// The open batch of a run, if this task is the one that it has now.
///
/// # Errors
/// Those of the database.
pub(crate) async fn batch_of_task(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    task: TaskId,
) -> Result<Option<Batch>, Error> {
    let open = open_batch(db, tenant, run).await?;
    Ok(open.filter(|batch| batch.task_id == task.uuid() && batch.state == "processing"))
}

/// The task that the orchestrator of a run was given last for a batch, if this is one.
///
/// # Errors
/// Those of the database.
pub(crate) async fn task_of_batch(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    batch: Uuid,
) -> Result<Option<TaskId>, Error> {
    let found = sqlx::query_scalar!(
        "select task_id from activation_batches where tenant_id = $1 and workflow_id = $2 and id = $3",
        tenant.uuid(),
        run.uuid(),
        batch,
    )
    .fetch_optional(db)
    .await?;
    Ok(found.map(Into::into))
}
