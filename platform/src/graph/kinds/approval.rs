//! `approval`: a person's decision, with fields the person may fill in or change.
//!
//! ```json
//! { "kind": "approval", "message": "Publish {{ steps.check.output | length }} files?",
//!   "fields": { "type": "object", "properties": { "title": { "type": "string" } } },
//!   "values": { "title": "{{ input.title }}" },
//!   "expires_after_seconds": 86400, "on_expiry": "reject" }
//! ```
//!
//! Its output is `{ "approved", "fields", "comment", "decided_by" }`. A rejected approval is a failed step with that
//! output, so that `on_failure: continue` makes a branch of it.

use std::collections::BTreeMap;

use protocol::{MistakeCode, OnExpiry};
use serde_json::Value;

use crate::graph::fields::Fields;
use crate::graph::language::{Template, Tree};
use crate::graph::read::{self, Use};
use crate::graph::types::Type;

/// Longest an approval may be waited for: a year.
const EXPIRY_SECONDS_MAX: i64 = 366 * 86_400;

/// A decision that a person takes.
#[derive(Clone, Debug)]
pub struct ApprovalStep {
    /// What the person is asked.
    pub message: Template,
    /// A JSON Schema of the object that the person may fill in or change; none: nothing.
    pub fields: Option<Value>,
    /// What that object is to begin with.
    pub values: Option<Tree>,
    /// How long it waits; for ever unless given.
    pub expires_after_seconds: Option<i64>,
    /// What becomes of it then.
    pub on_expiry: OnExpiry,
}

impl ApprovalStep {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let message = fields
            .required("message")
            .and_then(|_| read::template(fields, "message"));
        let schema = read::schema(fields, "fields").cloned();
        let values = read::object_tree(fields, "values");
        if values.is_some() && schema.is_none() {
            let text = "values are given, but no fields that could have them";
            let hint = "describe them by a JSON Schema in fields";
            fields.mistake("values", MistakeCode::Contradiction, text, hint);
        }
        let expires_after_seconds = fields.number("expires_after_seconds", 1..=EXPIRY_SECONDS_MAX);
        let on_expiry = fields.word("on_expiry");
        if on_expiry.is_some() && expires_after_seconds.is_none() {
            let text = "on_expiry is given, but it never expires";
            let hint = "give expires_after_seconds, or leave on_expiry out";
            fields.mistake("on_expiry", MistakeCode::Contradiction, text, hint);
        }
        Some(Self {
            message: message?,
            fields: schema,
            values,
            expires_after_seconds,
            on_expiry: on_expiry.unwrap_or(OnExpiry::Reject),
        })
    }

    pub(super) fn each_use(&self, path: &str, visit: &mut dyn FnMut(Use<'_>)) {
        visit(Use::text(format!("{path}.message"), &self.message));
        if let Some(values) = &self.values {
            values.each(&format!("{path}.values"), &mut |path, template| {
                visit(Use::any(path.to_owned(), template));
            });
        }
    }

    pub(super) fn output(&self) -> Type {
        let fields = self.fields.as_ref().map_or(Type::Any, Type::of_schema);
        Type::closed(BTreeMap::from([
            ("approved".to_owned(), Type::Flag),
            ("fields".to_owned(), fields),
            ("comment".to_owned(), Type::Any),
            ("decided_by".to_owned(), Type::Any),
        ]))
    }
}
