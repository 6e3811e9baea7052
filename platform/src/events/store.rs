//! Every statement that writes `events`, hot statements aside.

use protocol::{EntityType, JsonObject, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;

/// An event that is about to be written.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// What happened, such as `worker.registered`.
    pub event_type: &'static str,
    /// What kind of thing it happened to.
    pub entity_type: EntityType,
    /// Which one.
    pub entity: Uuid,
    /// What kind of caller caused it: a scope, or `system`.
    pub actor_type: &'static str,
    /// The agent, worker or key that caused it.
    pub actor: Option<Uuid>,
    /// What there is to know about it.
    pub data: JsonObject,
}

/// Writes events in the transaction that causes them.
///
/// # Errors
/// Those of the database.
pub async fn append(
    db: &mut PgConnection,
    tenant: TenantId,
    events: &[NewEvent],
) -> Result<(), Error> {
    let event_types: Vec<&str> = events.iter().map(|event| event.event_type).collect();
    let entity_types: Vec<&str> = events
        .iter()
        .map(|event| event.entity_type.as_str())
        .collect();
    let entities: Vec<Uuid> = events.iter().map(|event| event.entity).collect();
    let actor_types: Vec<&str> = events.iter().map(|event| event.actor_type).collect();
    let actors: Vec<Option<Uuid>> = events.iter().map(|event| event.actor).collect();
    let data: Vec<&str> = events.iter().map(|event| event.data.text()).collect();
    sqlx::query!(
        "insert into events (tenant_id, event_type, entity_type, entity_id, actor_type, actor_id, data)
         select $1, e.event_type, e.entity_type, e.entity_id, e.actor_type, e.actor_id, e.data::json
         from unnest($2::text[], $3::text[], $4::uuid[], $5::text[], $6::uuid[], $7::text[])
              as e (event_type, entity_type, entity_id, actor_type, actor_id, data)",
        tenant.uuid(),
        &event_types as &[&str],
        &entity_types as &[&str],
        &entities,
        &actor_types as &[&str],
        &actors as &[Option<Uuid>],
        &data as &[&str],
    )
    .execute(db)
    .await?;
    Ok(())
}
