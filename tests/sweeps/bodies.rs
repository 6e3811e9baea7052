//! Bodies made from their schemas.

use serde_json::{Map, Value, json};
use stint_tests::{Document, Operation};

/// The smallest body that an operation takes.
pub(crate) fn smallest_for(document: &Document, operation: &Operation) -> Value {
    let schema = operation.body_schema().expect("a mutation has a body");
    let mut body = smallest(document, schema);
    if operation.id == "signal_worker" {
        // The first word asks to cancel a task, which must then be named.
        body["type"] = json!("config_update");
    }
    body
}

/// The smallest body that fits a schema: only what is required.
pub(crate) fn smallest(document: &Document, schema: &Value) -> Value {
    let schema = document.follow(schema);
    if let Some(first) = one_of(schema) {
        return smallest(document, first);
    }
    if let Some(words) = schema["enum"].as_array() {
        return words[0].clone();
    }
    match kind(schema) {
        "object" => {
            let mut members = Map::new();
            for name in schema["required"].as_array().into_iter().flatten() {
                let name = name.as_str().expect("names are texts");
                members.insert(
                    name.to_owned(),
                    smallest(document, &schema["properties"][name]),
                );
            }
            members.into()
        }
        "array" => {
            let count = schema["minItems"].as_u64().unwrap_or(0);
            (0..count)
                .map(|_| smallest(document, &schema["items"]))
                .collect()
        }
        "string" => text(schema, 0),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
        "boolean" => json!(false),
        "null" => Value::Null,
        _ => json!({}),
    }
}

/// What a schema is, when it is one kind or nothing.
pub(crate) fn kind(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(kind) => kind,
        Value::Array(kinds) => kinds
            .iter()
            .filter_map(Value::as_str)
            .find(|kind| *kind != "null")
            .unwrap_or("null"),
        _ => "anything",
    }
}

/// The first alternative that is more than null.
pub(crate) fn one_of(schema: &Value) -> Option<&Value> {
    let alternatives = schema["oneOf"].as_array().or(schema["anyOf"].as_array())?;
    alternatives.iter().find(|schema| schema["type"] != "null")
}

/// A text that fits, one of several.
pub(crate) fn text(schema: &Value, which: usize) -> Value {
    match schema["format"].as_str() {
        Some("uuid") => uuid::Uuid::from_u128(which as u128 + 1).to_string().into(),
        Some("date-time") => format!("2031-01-{:02}T00:00:00Z", which % 28 + 1).into(),
        _ => {
            let shortest = schema["minLength"].as_u64().unwrap_or(1).max(1) as usize;
            let longest = schema["maxLength"].as_u64().unwrap_or(50) as usize;
            let letters = (shortest + which % 20).min(longest);
            "abcdefghijklmnopqrstuvwxyz"
                .chars()
                .cycle()
                .skip(which % 26)
                .take(letters)
                .collect::<String>()
                .into()
        }
    }
}
