//! Every statement that writes messages, and those that read them.

use std::collections::HashMap;

use protocol::{
    ActivationId, DeliveryState, LeaseRef, MessageId, PendingMessage, TaskId, TaskMessage,
    TenantId, Urgency, WorkflowId,
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;

/// Messages of one task that one heartbeat answer tells at most; the others follow when these are acknowledged.
const TOLD_MAX: i64 = 20;

/// How many messages a task was sent.
pub(super) async fn count(
    db: &mut PgConnection,
    tenant: TenantId,
    task: TaskId,
) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "count!" from task_messages where tenant_id = $1 and task_id = $2"#,
        tenant.uuid(),
        task.uuid(),
    )
    .fetch_one(db)
    .await?)
}

/// A message that is about to be sent.
pub(super) struct NewMessage<'m> {
    pub(super) id: MessageId,
    pub(super) task: TaskId,
    pub(super) run: Option<WorkflowId>,
    pub(super) urgency: Urgency,
    pub(super) body: &'m str,
    pub(super) orchestrator_task: Option<TaskId>,
    pub(super) activation: Option<ActivationId>,
    pub(super) sender: (&'m str, Uuid),
}

/// Keeps a message.
pub(super) async fn insert(
    db: &mut PgConnection,
    tenant: TenantId,
    message: &NewMessage<'_>,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into task_messages (tenant_id, id, task_id, workflow_id, urgency, body, orchestrator_task_id, activation_id,
                                    sent_by_type, sent_by)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        tenant.uuid(),
        message.id.uuid(),
        message.task.uuid(),
        message.run.map(WorkflowId::uuid),
        message.urgency.as_str(),
        message.body,
        message.orchestrator_task.map(TaskId::uuid),
        message.activation.map(ActivationId::uuid),
        message.sender.0,
        message.sender.1,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that an attempt has received a message. False when it, or a later one, had said so before.
pub(super) async fn acknowledge(
    db: &mut PgConnection,
    tenant: TenantId,
    id: MessageId,
    attempt: i32,
) -> Result<bool, Error> {
    let noted = sqlx::query!(
        "update task_messages set acknowledged_attempt = $3, acknowledged_at = clock_timestamp()
         where tenant_id = $1 and id = $2 and (acknowledged_attempt is null or acknowledged_attempt < $3)",
        tenant.uuid(),
        id.uuid(),
        attempt,
    )
    .execute(db)
    .await?;
    Ok(noted.rows_affected() == 1)
}

/// One message of a task.
pub(super) async fn find(
    db: &mut PgConnection,
    tenant: TenantId,
    task: TaskId,
    id: MessageId,
) -> Result<TaskMessage, Error> {
    let found = list(db, tenant, task, Some(id)).await?;
    let found = found.into_iter().next();
    found.ok_or_else(|| Error::not_found("message", id))
}

/// The messages of a task, or one of them, in order.
pub(super) async fn list(
    db: &mut PgConnection,
    tenant: TenantId,
    task: TaskId,
    only: Option<MessageId>,
) -> Result<Vec<TaskMessage>, Error> {
    let rows = sqlx::query!(
        r#"select m.id, m.seq, m.workflow_id, m.body, m.urgency, m.acknowledged_attempt, m.acknowledged_at,
                  m.orchestrator_task_id, m.activation_id, m.sent_by_type, m.sent_by, m.sent_at, l.attempt as "attempt?"
           from task_messages m
           left join task_leases l on l.tenant_id = $1 and l.task_id = m.task_id
           where m.tenant_id = $1 and m.task_id = $2 and ($3::uuid is null or m.id = $3)
           order by m.seq"#,
        tenant.uuid(),
        task.uuid(),
        only.map(MessageId::uuid) as Option<Uuid>,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(TaskMessage {
                id: row.id.into(),
                seq: row.seq,
                task_id: task,
                workflow_id: row.workflow_id.map(Into::into),
                message: row.body,
                urgency: urgency(&row.urgency)?,
                delivery_state: state_of(row.acknowledged_attempt, row.attempt),
                delivered_attempt: row.acknowledged_attempt,
                delivered_at: row.acknowledged_at.map(Into::into),
                orchestrator_task_id: row.orchestrator_task_id.map(Into::into),
                activation_id: row.activation_id.map(Into::into),
                sent_by_type: row.sent_by_type,
                sent_by_id: row.sent_by,
                sent_at: row.sent_at.into(),
            })
        })
        .collect()
}

/// How far a message has come that this attempt has acknowledged, if one did, and of whose task this attempt
/// is the holder, if there is one.
fn state_of(acknowledged: Option<i32>, held: Option<i32>) -> DeliveryState {
    match (acknowledged, held) {
        (Some(acknowledged), Some(held)) if acknowledged < held => DeliveryState::PendingDelivery,
        (Some(_), _) => DeliveryState::Delivered,
        (None, Some(_)) => DeliveryState::PendingDelivery,
        (None, None) => DeliveryState::TaskNotInProgress,
    }
}

fn urgency(word: &str) -> Result<Urgency, Error> {
    Ok(word.parse().map_err(anyhow::Error::from)?)
}

/// The messages that these attempts, which hold their tasks, have not acknowledged; those of a task in order.
///
/// # Errors
/// Those of the database.
pub(crate) async fn waiting(
    db: &mut PgConnection,
    tenant: TenantId,
    held: impl Iterator<Item = LeaseRef>,
) -> Result<HashMap<TaskId, Vec<PendingMessage>>, Error> {
    let (tasks, attempts): (Vec<Uuid>, Vec<i32>) = held
        .map(|lease| (lease.task_id.uuid(), lease.attempt))
        .unzip();
    let mut waiting = HashMap::<TaskId, Vec<PendingMessage>>::new();
    if tasks.is_empty() {
        return Ok(waiting);
    }
    let rows = sqlx::query!(
        r#"select h.task_id as "task_id!", h.attempt as "attempt!", m.id, m.seq, m.body, m.urgency, m.sent_at
           from unnest($2::uuid[], $3::int[]) as h (task_id, attempt)
           cross join lateral (
               select * from task_messages m
               where m.tenant_id = $1 and m.task_id = h.task_id
                 and (m.acknowledged_attempt is null or m.acknowledged_attempt < h.attempt)
               order by m.seq
               limit $4
           ) m
           order by m.seq"#,
        tenant.uuid(),
        &tasks,
        &attempts,
        TOLD_MAX,
    )
    .fetch_all(db)
    .await?;
    for row in rows {
        let messages = waiting.entry(row.task_id.into()).or_default();
        messages.push(PendingMessage {
            id: row.id.into(),
            task_id: row.task_id.into(),
            attempt: row.attempt,
            seq: row.seq,
            message: row.body,
            urgency: urgency(&row.urgency)?,
            sent_at: row.sent_at.into(),
        });
    }
    Ok(waiting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_attempt_acknowledged_is_still_to_be_told_to_the_present_one() {
        assert_eq!(state_of(Some(1), Some(2)), DeliveryState::PendingDelivery);
        assert_eq!(state_of(Some(2), Some(2)), DeliveryState::Delivered);
        assert_eq!(state_of(Some(2), None), DeliveryState::Delivered);
        assert_eq!(state_of(None, Some(1)), DeliveryState::PendingDelivery);
        assert_eq!(state_of(None, None), DeliveryState::TaskNotInProgress);
    }
}
