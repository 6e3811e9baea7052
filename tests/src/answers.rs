//! Every answer of a platform under test is compared with what the API description declares for it.
//!
//! A layer around the routes sees whatever a client will see, raw requests and refusals included. A test
//! need not ask for this: an answer that does not fit fails it at its end, with the operation, the
//! status, and the place where the body differs.
//!
//! The description leaves objects open, for clients must bear what a later release adds. A test must not:
//! here an object has no properties but those that the description knows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::{Value, json};
use stint_protocol::ErrorCode;

use crate::document::{Document, Operation};
use crate::http::Answer;

/// How much of a body a complaint quotes.
const QUOTED_CHARS: usize = 2000;
const UNPOISONED: &str = "no panic under this lock";

/// What was wrong with the answers since the test began.
#[derive(Clone, Default)]
pub(crate) struct Misfits(Arc<Mutex<Vec<String>>>);

impl Misfits {
    /// Puts the layer around the routes of a replica.
    pub(crate) fn watch(&self, routes: Router) -> Router {
        let declared = Declared::by_platforms();
        routes.layer(from_fn_with_state((declared, self.clone()), look_at))
    }

    /// Takes out what was found.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect(UNPOISONED))
    }
}

async fn look_at(
    State((declared, misfits)): State<(&'static Declared, Misfits)>,
    request: Request,
    next: Next,
) -> Response {
    let asked = format!("{} {}", request.method(), request.uri().path());
    let response = next.run(request).await;
    let operation = response
        .extensions()
        .get::<stint_platform::http::Operation>()
        .map(|operation| operation.name());
    let (parts, body) = response.into_parts();
    let is_stream = parts
        .headers
        .get("content-type")
        .is_some_and(|kind| kind == "text/event-stream");
    let (text, body) = if is_stream {
        (String::new(), body)
    } else {
        let bytes = to_bytes(body, usize::MAX)
            .await
            .expect("what is no stream is in memory");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (text, Body::from(bytes))
    };
    let answer = Answer::new(parts.status.as_u16(), parts.headers.clone(), text);
    let found = match operation {
        Some(id) => declared.misfits(id, &answer),
        None => strays(&asked, &answer),
    };
    for misfit in &found {
        // A test that fails for another reason shows the log, and this may be the cause.
        tracing::warn!("{misfit}");
    }
    misfits.0.lock().expect(UNPOISONED).extend(found);
    Response::from_parts(parts, body)
}

/// What is wrong with the answer of an operation; nothing when it is as the description of the API says.
///
/// # Panics
/// When the description has no such operation.
pub fn misfits(operation: &str, answer: &Answer) -> Vec<String> {
    Declared::by_platforms().misfits(operation, answer)
}

/// What is wrong with an answer that no operation gave: it can only refuse, or be a page for people.
fn strays(asked: &str, answer: &Answer) -> Vec<String> {
    if asked.starts_with("GET /docs") {
        return Vec::new();
    }
    let mut found = lacks_of_refusal(answer);
    if ![404, 405].contains(&answer.status) {
        found.push("what is no operation answers 404 or 405".to_owned());
    }
    complaints(asked, answer, found)
}

/// The answers that the description declares.
struct Declared {
    operations: HashMap<String, Operation>,
    /// The schemas that others refer to, closed.
    components: Value,
    /// By the text of the schema. Most refusals share one, and compiling is slow.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Declared {
    /// What a platform declares. All platforms of a process declare the same, and it is read once.
    fn by_platforms() -> &'static Self {
        static DECLARED: OnceLock<Declared> = OnceLock::new();
        DECLARED.get_or_init(|| {
            let text = stint_platform::system::description();
            let whole = serde_json::from_slice(&text).expect("it is JSON");
            Self::of(Document::parse(whole))
        })
    }

    fn of(mut document: Document) -> Self {
        let mut components = document.whole["components"]["schemas"].take();
        for schema in components
            .as_object_mut()
            .expect("it has schemas")
            .values_mut()
        {
            close_parts(schema);
        }
        let by_id = |operation: Operation| (operation.id.clone(), operation);
        Self {
            operations: document.operations.into_iter().map(by_id).collect(),
            components,
            validators: Mutex::default(),
        }
    }

    fn misfits(&self, id: &str, answer: &Answer) -> Vec<String> {
        let operation = &self.operations[id];
        let found = match operation.described["responses"].get(answer.status.to_string()) {
            Some(declared) => self.differences(operation, declared, answer),
            None => vec!["the status is not declared".to_owned()],
        };
        complaints(&operation.to_string(), answer, found)
    }

    fn differences(&self, operation: &Operation, declared: &Value, answer: &Answer) -> Vec<String> {
        let kind = answer.header("content-type");
        let Some(kinds) = declared["content"].as_object() else {
            return if kind.is_empty() && answer.text.is_empty() {
                Vec::new()
            } else {
                vec![format!("no body is declared, and {kind} was sent")]
            };
        };
        let Some(content) = kinds.get(kind) else {
            return vec![format!("the content type {kind:?} is not declared")];
        };
        let mut found = Vec::new();
        if kind == "application/json" {
            match serde_json::from_str(&answer.text) {
                Ok(body) => {
                    for error in self.validator(&content["schema"]).iter_errors(&body) {
                        tell(&error, &mut found);
                    }
                }
                Err(error) => found.push(format!("the body is not JSON: {error}")),
            }
        }
        // A replica that is not ready answers with its readiness, not with a refusal.
        if answer.status >= 400 && operation.id != "get_readiness" {
            found.extend(lacks_of_refusal(answer));
        }
        found
    }

    fn validator(&self, schema: &Value) -> Arc<Validator> {
        let mut validators = self.validators.lock().expect(UNPOISONED);
        let compiled = validators.entry(schema.to_string()).or_insert_with(|| {
            let mut whole = schema.clone();
            close(&mut whole);
            whole["components"] = json!({ "schemas": self.components });
            let validator = jsonschema::options()
                .should_validate_formats(true)
                .build(&whole)
                .expect("the description has schemas that can be compiled");
            Arc::new(validator)
        });
        Arc::clone(compiled)
    }
}

/// Closes a place where a value stands: an object in it has the properties that the schema knows, however
/// many parts it is put together from, and no others.
fn close(schema: &mut Value) {
    close_parts(schema);
    if schema.get("oneOf").is_none() && schema.get("anyOf").is_none() {
        schema["unevaluatedProperties"] = json!(false);
    }
}

/// Closes the places within a schema, but not the schema itself: it may be a part of a larger object.
fn close_parts(schema: &mut Value) {
    let members = schema.as_object_mut().expect("a schema is an object");
    let says_something = ["$ref", "type", "oneOf", "anyOf", "allOf", "enum", "const"];
    if !says_something
        .iter()
        .any(|word| members.contains_key(*word))
    {
        // Anything at all, with any properties.
        members.insert("additionalProperties".to_owned(), json!(true));
    }
    for (word, within) in members {
        match (word.as_str(), within) {
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(close),
            ("items" | "additionalProperties", place @ Value::Object(_)) => close(place),
            ("oneOf" | "anyOf", Value::Array(choices)) => choices.iter_mut().for_each(close),
            ("allOf", Value::Array(parts)) => parts.iter_mut().for_each(close_parts),
            _ => {}
        }
    }
}

/// Tells where a body differs. When it fits none of several choices, those that are of another type
/// altogether, such as null, are left out.
fn tell(error: &ValidationError<'_>, found: &mut Vec<String>) {
    let place = error.instance_path().as_str();
    if let ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } =
        error.kind()
    {
        let is_of_another_type = |inner: &ValidationError<'_>| {
            matches!(inner.kind(), ValidationErrorKind::Type { .. })
                && inner.instance_path().as_str() == place
        };
        let told = found.len();
        for inner in context.iter().flatten() {
            if !is_of_another_type(inner) {
                tell(inner, found);
            }
        }
        if found.len() > told {
            return;
        }
    }
    found.push(format!("{error} at {place:?}"));
}

/// What a refusal should carry and does not.
fn lacks_of_refusal(answer: &Answer) -> Vec<String> {
    let mut lacks = Vec::new();
    let mut needs = |is_there: bool, what: &str| {
        if !is_there {
            lacks.push(format!("the refusal has no {what}"));
        }
    };
    let code = answer.error()["code"].as_str().unwrap_or_default();
    let status = code.parse::<ErrorCode>().map(ErrorCode::status);
    needs(status.ok() == Some(answer.status), "code of its status");
    for part in ["message", "recovery_hint"] {
        let is_there = answer.error()[part]
            .as_str()
            .is_some_and(|text| !text.is_empty());
        needs(is_there, part);
    }
    let id = answer.header("x-request-id");
    needs(!id.is_empty(), "x-request-id");
    needs(
        answer.body["meta"]["request_id"] == id,
        "request_id that is its x-request-id",
    );
    if matches!(answer.status, 429 | 503) {
        needs(!answer.header("retry-after").is_empty(), "Retry-After");
    }
    lacks
}

/// One complaint for all that was found.
fn complaints(what: &str, answer: &Answer, found: Vec<String>) -> Vec<String> {
    if found.is_empty() {
        return found;
    }
    let body: String = answer.text.chars().take(QUOTED_CHARS).collect();
    let found = found.join("\n  ");
    vec![format!(
        "{what} answered {}:\n  {found}\n  to be read in {body}",
        answer.status
    )]
}
