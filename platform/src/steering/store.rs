//! Every statement that writes what operators say, and those that read it.

use protocol::{
    ActivationId, SteeringMessage, SteeringSession, SteeringSessionId, TenantId, WorkflowId,
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;

/// Begins a conversation.
pub(super) async fn begin(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    id: SteeringSessionId,
    title: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into steering_sessions (tenant_id, id, workflow_id, title) values ($1, $2, $3, $4)",
        tenant.uuid(),
        id.uuid(),
        run.uuid(),
        title,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that something more is said in a conversation of a run.
pub(super) async fn touch(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    id: SteeringSessionId,
) -> Result<(), Error> {
    let found = sqlx::query!(
        "update steering_sessions set updated_at = clock_timestamp() where tenant_id = $1 and id = $2 and workflow_id = $3",
        tenant.uuid(),
        id.uuid(),
        run.uuid(),
    )
    .execute(db)
    .await?;
    if found.rows_affected() == 0 {
        return Err(Error::not_found("steering session", id));
    }
    Ok(())
}

/// Something that is said.
pub(super) struct Said<'s> {
    pub(super) id: Uuid,
    pub(super) session: SteeringSessionId,
    pub(super) body: &'s str,
    pub(super) item: Option<Uuid>,
    pub(super) task: Option<Uuid>,
    pub(super) base: Option<&'s str>,
    pub(super) packets: &'s [Uuid],
    pub(super) activation: ActivationId,
    pub(super) actor_type: &'s str,
    pub(super) actor: Uuid,
}

/// Keeps what is said.
pub(super) async fn say(
    db: &mut PgConnection,
    tenant: TenantId,
    said: &Said<'_>,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into steering_messages (tenant_id, id, session_id, body, work_item_id, task_id, base_snapshot_version,
                                        linked_input_packet_ids, activation_id, created_by_type, created_by)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        tenant.uuid(),
        said.id,
        said.session.uuid(),
        said.body,
        said.item,
        said.task,
        said.base,
        said.packets,
        said.activation.uuid(),
        said.actor_type,
        said.actor,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The conversations of a run, or one of them, the newest first.
pub(super) async fn sessions(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    only: Option<SteeringSessionId>,
    limit: i64,
) -> Result<Vec<SteeringSession>, Error> {
    let rows = sqlx::query!(
        r#"select s.id, s.title, s.created_at, s.updated_at,
                  (select count(*) from steering_messages m where m.tenant_id = $1 and m.session_id = s.id) as "count!"
           from steering_sessions s
           where s.tenant_id = $1 and s.workflow_id = $2 and ($3::uuid is null or s.id = $3)
           order by s.id desc
           limit $4"#,
        tenant.uuid(),
        run.uuid(),
        only.map(SteeringSessionId::uuid) as Option<Uuid>,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| SteeringSession {
            id: row.id.into(),
            workflow_id: run,
            title: row.title,
            message_count: row.count,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
        .collect())
}

/// What was said last in a conversation, oldest first.
pub(super) async fn messages(
    db: &mut PgConnection,
    tenant: TenantId,
    session: SteeringSessionId,
    limit: i64,
) -> Result<Vec<SteeringMessage>, Error> {
    let rows = sqlx::query!(
        "select id, body, work_item_id, task_id, base_snapshot_version, linked_input_packet_ids, activation_id, created_by_type,
                created_by, created_at
         from (select * from steering_messages where tenant_id = $1 and session_id = $2 order by id desc limit $3) m
         order by id",
        tenant.uuid(),
        session.uuid(),
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| SteeringMessage {
            id: row.id,
            steering_session_id: session,
            body: row.body,
            work_item_id: row.work_item_id.map(Into::into),
            task_id: row.task_id.map(Into::into),
            base_snapshot_version: row.base_snapshot_version,
            linked_input_packet_ids: row
                .linked_input_packet_ids
                .into_iter()
                .map(Into::into)
                .collect(),
            activation_id: row.activation_id.into(),
            created_by_type: row.created_by_type,
            created_by_id: row.created_by,
            created_at: row.created_at.into(),
        })
        .collect())
}
