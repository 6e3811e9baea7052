//! What is known about a value before there is one: enough to find mistakes, never to forbid what may work.

use std::collections::BTreeMap;

use serde_json::Value;

/// How deep a schema is looked into; what lies deeper may be anything.
const DEPTH_MAX: usize = 8;

/// What is known about a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Nothing.
    Any,
    /// True or false.
    Flag,
    /// A number.
    Number,
    /// A text.
    Text,
    /// A list, and what is known of its items.
    List(Box<Type>),
    /// An object.
    Object {
        /// What is known of its members.
        members: BTreeMap<String, Type>,
        /// Whether there can be no others.
        is_closed: bool,
    },
}

impl Type {
    /// A list of anything.
    pub fn list() -> Self {
        Self::List(Box::new(Self::Any))
    }

    /// An object with these members and no others.
    pub fn closed(members: BTreeMap<String, Self>) -> Self {
        Self::Object {
            members,
            is_closed: true,
        }
    }

    /// What a JSON Schema promises about a value.
    pub fn of_schema(schema: &Value) -> Self {
        Self::promised(schema, DEPTH_MAX)
    }

    fn promised(schema: &Value, depth: usize) -> Self {
        let combined = [
            "$ref",
            "$dynamicRef",
            "anyOf",
            "oneOf",
            "allOf",
            "if",
            "not",
        ];
        let is_plain = !combined.iter().any(|word| schema.get(word).is_some());
        let Some(name) = schema.get("type").and_then(Value::as_str) else {
            return Self::Any;
        };
        if depth == 0 {
            return Self::Any;
        }
        match name {
            "boolean" => Self::Flag,
            "integer" | "number" => Self::Number,
            "string" => Self::Text,
            "array" => Self::List(Box::new(match schema.get("items") {
                Some(items) if is_plain && schema.get("prefixItems").is_none() => {
                    Self::promised(items, depth - 1)
                }
                _ => Self::Any,
            })),
            "object" => {
                let known = schema.get("properties").and_then(Value::as_object);
                let members = known.into_iter().flatten();
                let members = members
                    .map(|(name, member)| (name.clone(), Self::promised(member, depth - 1)))
                    .collect();
                let is_closed = is_plain
                    && schema.get("additionalProperties") == Some(&Value::Bool(false))
                    && schema.get("patternProperties").is_none();
                Self::Object { members, is_closed }
            }
            _ => Self::Any,
        }
    }

    /// What it is, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Any => "anything",
            Self::Flag => "true or false",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::List(_) => "a list",
            Self::Object { .. } => "an object",
        }
    }

    /// Whether a value of this type may stand where the other one is wanted.
    pub fn may_be(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::List(_), Self::List(_)) | (Self::Object { .. }, Self::Object { .. }) => true,
            (is, wanted) => is == wanted,
        }
    }
}
