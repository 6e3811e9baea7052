//! What no log entry may be: refused for the whole batch, before anything is written.

use protocol::{IngestLogs, LogInput};

use crate::error::Error;
use crate::http::check_length;

/// Entries of one request at most.
const ENTRIES_MAX: usize = 100;
/// Largest payload of an entry.
const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// Refuses a batch with an entry that is too long, too large, or numbered wrongly.
///
/// # Errors
/// 422 that names the entry and the field.
pub(super) fn check(batch: &IngestLogs) -> Result<(), Error> {
    if batch.entries.is_empty() || batch.entries.len() > ENTRIES_MAX {
        return Err(Error::field(
            "entries",
            format!("must have 1 to {ENTRIES_MAX} entries"),
        ));
    }
    for (place, entry) in batch.entries.iter().enumerate() {
        check_entry(place, entry)?;
    }
    Ok(())
}

fn check_entry(place: usize, entry: &LogInput) -> Result<(), Error> {
    let path = |field: &str| format!("entries[{place}].{field}");
    check_length(&path("operation"), &entry.operation, 1..=500)?;
    let texts = [
        ("workflow_name", &entry.workflow_name, 500),
        ("workspace_name", &entry.workspace_name, 500),
        ("stage_name", &entry.stage_name, 200),
        ("task_title", &entry.task_title, 200),
        ("role", &entry.role, 100),
        ("actor_type", &entry.actor_type, 50),
        ("actor_id", &entry.actor_id, 255),
        ("actor_name", &entry.actor_name, 255),
        ("resource_type", &entry.resource_type, 100),
        ("resource_id", &entry.resource_id, 255),
        ("resource_name", &entry.resource_name, 500),
    ];
    for (field, text, length_max) in texts {
        if let Some(text) = text {
            check_length(&path(field), text, 0..=length_max)?;
        }
    }
    if let Some(error) = &entry.error {
        check_length(&path("error.message"), &error.message, 1..=5000)?;
        check_length(
            &path("error.code"),
            error.code.as_deref().unwrap_or_default(),
            0..=100,
        )?;
        check_length(
            &path("error.stack"),
            error.stack.as_deref().unwrap_or_default(),
            0..=10_000,
        )?;
    }
    if let Some(payload) = &entry.payload
        && payload.text().len() > PAYLOAD_BYTES_MAX
    {
        return Err(Error::field(
            path("payload"),
            format!(
                "has {} bytes, more than {PAYLOAD_BYTES_MAX}; send less, or split it into several entries",
                payload.text().len()
            ),
        ));
    }
    let least = [
        ("duration_ms", entry.duration_ms, 0),
        ("seq", entry.seq, 1),
        ("attempt", entry.attempt.map(i64::from), 0),
    ];
    for (field, number, least) in least {
        if number.is_some_and(|number| number < least) {
            return Err(Error::field(
                path(field),
                format!("must be at least {least}"),
            ));
        }
    }
    if entry.task_id.is_none() && (entry.seq.is_some() || entry.attempt.is_some()) {
        return Err(Error::field(
            path("task_id"),
            "must be given with seq or attempt, which count within a task",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn batch(change: serde_json::Value) -> IngestLogs {
        let mut entry = json!({
            "trace_id": uuid::Uuid::nil(), "span_id": uuid::Uuid::nil(), "source": "runtime",
            "category": "tool", "operation": "command.output", "status": "completed",
            "task_id": uuid::Uuid::nil(),
        });
        entry
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        serde_json::from_value(json!({ "entries": [entry] })).unwrap()
    }

    #[test]
    fn an_ordinary_entry_passes() {
        check(&batch(
            json!({ "seq": 1, "attempt": 0, "duration_ms": 0, "payload": {} }),
        ))
        .unwrap();
    }

    #[test]
    fn each_limit_is_refused_with_the_path_of_its_field() {
        for (field, change) in [
            ("operation", json!({ "operation": "" })),
            ("operation", json!({ "operation": "x".repeat(501) })),
            ("error.message", json!({ "error": { "message": "" } })),
            (
                "error.stack",
                json!({ "error": { "message": "x", "stack": "y".repeat(10_001) } }),
            ),
            ("payload", json!({ "payload": { "a": "x".repeat(65_536) } })),
            ("duration_ms", json!({ "duration_ms": -1 })),
            ("seq", json!({ "seq": 0 })),
            ("task_id", json!({ "task_id": null, "seq": 1 })),
        ] {
            let refusal = check(&batch(change)).unwrap_err().to_string();
            assert!(
                refusal.contains(&format!("entries[0].{field}")),
                "{refusal}"
            );
        }
    }

    #[test]
    fn a_batch_has_1_to_100_entries() {
        let mut batch = batch(json!({}));
        batch.entries = vec![batch.entries[0].clone(); 100];
        check(&batch).unwrap();
        batch.entries.push(batch.entries[0].clone());
        assert!(check(&batch).is_err());
        batch.entries.clear();
        assert!(check(&batch).is_err());
    }
}
