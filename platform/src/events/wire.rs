//! From the stored columns to the event that clients read.

use protocol::{EntityType, Event, JsonObject, TenantId};
use serde_json::{Map, Value};

use super::store::Row;
use crate::error::Error;
use crate::http::Cursor;

/// An event as clients read it. Its id is the cursor after which to go on.
pub(super) fn event(tenant: TenantId, row: Row) -> Result<Event, Error> {
    let entity_type: EntityType = row.entity_type.parse().map_err(anyhow::Error::from)?;
    Ok(Event {
        id: Cursor::of_row(&row.xid, row.id)?.to_string(),
        tenant_id: tenant,
        data: data(entity_type, &row)?,
        event_type: row.event_type,
        entity_type,
        entity_id: row.entity_id,
        task_seq: row.task_seq,
        actor_type: row.actor_type,
        actor_id: row.actor_id,
        created_at: row.created_at.into(),
    })
}

/// What was stored as free data, with what has columns of its own. A column wins.
fn data(entity_type: EntityType, row: &Row) -> Result<JsonObject, Error> {
    let mut members: Map<String, Value> = match &row.data {
        Some(text) => serde_json::from_str(text)?,
        None => Map::new(),
    };
    members.insert(
        format!("{entity_type}_id"),
        Value::from(row.entity_id.to_string()),
    );
    let columns = [
        ("task_seq", row.task_seq.map(Value::from)),
        ("attempt", row.attempt.map(Value::from)),
        ("from_state", row.from_state.clone().map(Value::from)),
        ("to_state", row.to_state.clone().map(Value::from)),
        ("reason", row.reason.clone().map(Value::from)),
        ("fenced", row.fenced.map(Value::from)),
    ];
    for (name, value) in columns {
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    }
    Ok(members.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use sqlx::types::chrono::DateTime;
    use uuid::Uuid;

    fn row() -> Row {
        Row {
            xid: "12".to_owned(),
            id: 7,
            created_at: DateTime::UNIX_EPOCH,
            event_type: "task.state_changed".to_owned(),
            entity_type: "task".to_owned(),
            entity_id: Uuid::nil(),
            actor_type: "agent".to_owned(),
            actor_id: None,
            task_seq: Some(3),
            attempt: Some(2),
            from_state: Some("ready".to_owned()),
            via_state: None,
            to_state: Some("claimed".to_owned()),
            reason: None,
            fenced: Some(true),
            data: Some(r#"{"note":"x","attempt":99}"#.to_owned()),
        }
    }

    #[test]
    fn columns_join_the_free_data_and_win() {
        let event = event(TenantId::from(Uuid::nil()), row()).unwrap();
        assert_eq!(
            Value::Object(event.data.members()),
            json!({
                "task_id": Uuid::nil(), "note": "x", "task_seq": 3, "attempt": 2,
                "from_state": "ready", "to_state": "claimed", "fenced": true
            })
        );
        assert_eq!(
            Cursor::parse("id", &event.id).unwrap(),
            Cursor { xid: 12, id: 7 }
        );
    }

    #[test]
    fn an_event_without_free_data_names_its_entity() {
        let plain = Row {
            data: None,
            entity_type: "worker".to_owned(),
            task_seq: None,
            attempt: None,
            from_state: None,
            to_state: None,
            fenced: None,
            ..row()
        };
        let event = event(TenantId::from(Uuid::nil()), plain).unwrap();
        assert_eq!(
            Value::Object(event.data.members()),
            json!({ "worker_id": Uuid::nil() })
        );
    }
}
