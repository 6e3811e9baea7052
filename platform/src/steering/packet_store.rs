//! Every statement that writes input packets, and those that read them.

use protocol::{
    ActivationId, InputPacket, InputPacketId, JsonObject, TenantId, WorkItemId, WorkflowId,
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::supply::Packet;
use crate::error::Error;

/// Keeps an input packet.
pub(super) async fn insert(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    packet: &Packet,
    activation: Option<ActivationId>,
    (by_type, by): (&str, Uuid),
) -> Result<(), Error> {
    sqlx::query!(
        "insert into workflow_input_packets (tenant_id, id, workflow_id, work_item_id, request_id, packet_kind, source, summary,
                                             structured_inputs, metadata, activation_id, created_by_type, created_by)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::json, $10::text::json, $11, $12, $13)",
        tenant.uuid(),
        packet.id.uuid(),
        run.uuid(),
        packet.item.map(WorkItemId::uuid),
        packet.request_id.as_deref(),
        packet.kind,
        packet.source,
        packet.summary.as_deref(),
        packet.structured_inputs.text(),
        packet.metadata.text(),
        activation.map(ActivationId::uuid),
        by_type,
        by,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets all but the last input packets of a run, whose row is locked.
pub(super) async fn forget(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    kept: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "delete from workflow_input_packets
         where tenant_id = $1 and workflow_id = $2
           and id <= (select id from workflow_input_packets where tenant_id = $1 and workflow_id = $2 order by id desc offset $3 limit 1)",
        tenant.uuid(),
        run.uuid(),
        kept,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// One input packet of a run.
pub(super) async fn find(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    id: InputPacketId,
) -> Result<InputPacket, Error> {
    let found = list(db, tenant, run, Some(id), (1, 0)).await?;
    let found = found.into_iter().next();
    found.ok_or_else(|| Error::not_found("input packet", id))
}

/// The input packets of a run, or one of them, the newest first.
pub(super) async fn list(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    only: Option<InputPacketId>,
    (limit, offset): (i64, i64),
) -> Result<Vec<InputPacket>, Error> {
    let rows = sqlx::query!(
        r#"select id, work_item_id, request_id, packet_kind, source, summary, structured_inputs::text as "structured_inputs!",
                  metadata::text as "metadata!", activation_id, created_by_type, created_by, created_at
           from workflow_input_packets
           where tenant_id = $1 and workflow_id = $2 and ($3::uuid is null or id = $3)
           order by id desc
           limit $4 offset $5"#,
        tenant.uuid(),
        run.uuid(),
        only.map(InputPacketId::uuid) as Option<Uuid>,
        limit,
        offset,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(InputPacket {
                id: row.id.into(),
                workflow_id: run,
                work_item_id: row.work_item_id.map(Into::into),
                request_id: row.request_id,
                packet_kind: row.packet_kind,
                source: row.source,
                summary: row.summary,
                structured_inputs: JsonObject::from_text(row.structured_inputs)?,
                metadata: JsonObject::from_text(row.metadata)?,
                activation_id: row.activation_id.map(Into::into),
                created_by_type: row.created_by_type,
                created_by_id: row.created_by,
                created_at: row.created_at.into(),
            })
        })
        .collect()
}

/// How many of these input packets a run has; of all of its packets where none are named.
pub(super) async fn count(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    only: Option<&[Uuid]>,
) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "count!" from workflow_input_packets
           where tenant_id = $1 and workflow_id = $2 and ($3::uuid[] is null or id = any($3))"#,
        tenant.uuid(),
        run.uuid(),
        only as Option<&[Uuid]>,
    )
    .fetch_one(db)
    .await?)
}
