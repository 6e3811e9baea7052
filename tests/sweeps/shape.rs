//! The description itself: whole, well named, and typed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use stint_tests::{Document, test};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn references_lead_somewhere() {
    test(async |t| {
        let document = Document::of(t).await;
        let mut seen = 0;
        walk(&document.whole, "#", &mut |path, object| {
            if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').expect("references are local");
                assert!(
                    document.whole.pointer(pointer).is_some(),
                    "{reference} at {path}"
                );
                seen += 1;
            }
        });
        assert!(seen > 100, "hardly any reference was seen");
    });
}

#[test]
fn path_parameters_are_declared() {
    test(async |t| {
        let document = Document::of(t).await;
        for operation in &document.operations {
            let declared: BTreeSet<&str> = operation.described["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| {
                    assert_eq!(parameter["required"], true, "{operation}");
                    assert!(parameter["schema"].is_object(), "{operation}");
                    parameter["name"].as_str().unwrap()
                })
                .collect();
            let used: BTreeSet<&str> = operation.path_parameters().into_iter().collect();
            assert_eq!(declared, used, "{operation}");
        }
    });
}

#[test]
fn mutations_declare_a_body_and_an_idempotency_key() {
    test(async |t| {
        let document = Document::of(t).await;
        for operation in document.mutations() {
            let body = operation.body_schema();
            assert!(
                body.is_some(),
                "{operation} declares no body; take `Command<Bare>`"
            );
            let has_key = operation.described["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|parameter| {
                    parameter["name"] == "Idempotency-Key" && parameter["in"] == "header"
                });
            assert!(has_key, "{operation} does not declare Idempotency-Key");
        }
    });
}

#[test]
fn bodies_refuse_what_they_do_not_know_and_take_a_request_id() {
    /// Nothing is stored, so there is nothing to repeat.
    const WITHOUT_REQUEST_ID: &[&str] = &["exchange_token"];
    test(async |t| {
        let document = Document::of(t).await;
        for operation in document.mutations() {
            let schema = document.follow(operation.body_schema().expect("it declares a body"));
            assert_eq!(schema["additionalProperties"], false, "{operation}");
            let has_id = schema["properties"].get("request_id").is_some();
            let is_exception = WITHOUT_REQUEST_ID.contains(&operation.id.as_str());
            assert_ne!(has_id, is_exception, "{operation}");
        }
    });
}

#[test]
fn error_codes_exist() {
    test(async |t| {
        let document = Document::of(t).await;
        let codes: Vec<Value> = stint_protocol::ErrorCode::ALL
            .iter()
            .map(|code| code.as_str().into())
            .collect();
        let documented = &document.whole["components"]["schemas"]["ErrorCode"]["enum"];
        assert_eq!(documented.as_array(), Some(&codes));
        let statuses: BTreeSet<u16> = stint_protocol::ErrorCode::ALL
            .iter()
            .map(|code| code.status())
            .collect();
        for operation in &document.operations {
            let responses = operation.described["responses"].as_object().unwrap();
            for (status, response) in responses {
                let status: u16 = status.parse().unwrap();
                assert!(
                    (200..300).contains(&status) || statuses.contains(&status),
                    "{operation}"
                );
                let schema = &response["content"]["application/json"]["schema"];
                let is_readiness = operation.id == "get_readiness";
                if status >= 400 && !(is_readiness && status == 503) {
                    assert_eq!(
                        schema["$ref"], "#/components/schemas/ErrorBody",
                        "{operation} {status}"
                    );
                }
            }
        }
    });
}

#[test]
fn operations_are_named_alike_everywhere() {
    test(async |t| {
        let document = Document::of(t).await;
        let client = sources(&root().join("protocol/src/client"));
        let mut names = BTreeSet::new();
        for operation in &document.operations {
            let name = operation.id.as_str();
            assert!(names.insert(name), "{operation} has the name of another");
            let words: Vec<&str> = name.split('_').collect();
            assert!(
                words.len() >= 2
                    && words.iter().all(|word| !word.is_empty()
                        && word.bytes().all(|byte| byte.is_ascii_lowercase())),
                "{operation} is not named verb_noun"
            );
            assert!(
                client.contains(&format!("pub async fn {name}(")),
                "the client has no method {name}"
            );
            let folder = root().join("platform/src").join(operation.tag());
            assert!(folder.is_dir(), "{operation} has a tag without a folder");
            assert!(folder.join("routes.rs").is_file(), "a domain has routes");
            let routes = sources(&folder);
            assert!(
                routes.contains(&format!("async fn {name}(")),
                "no handler {name} in {folder:?}"
            );
        }
        for method in client
            .lines()
            .filter_map(|line| line.trim().strip_prefix("pub async fn "))
        {
            let name = method.split('(').next().unwrap();
            // The same operation, asked for an answer without the task.
            let name = name.strip_suffix("_minimal").unwrap_or(name);
            assert!(names.contains(name), "the client's {name} is no operation");
        }
    });
}

fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    text
}

#[test]
fn every_operation_is_described() {
    test(async |t| {
        let document = Document::of(t).await;
        for operation in &document.operations {
            let words = operation.described["summary"]
                .as_str()
                .or(operation.described["description"].as_str());
            assert!(
                words.is_some_and(|words| words.ends_with('.')),
                "{operation} has no sentence"
            );
        }
    });
}

#[test]
fn only_free_data_has_no_type() {
    /// Stored and returned as they are.
    const FREE: &[&str] = &["Json", "JsonObject"];
    test(async |t| {
        let document = Document::of(t).await;
        let typed = ["$ref", "type", "oneOf", "anyOf", "allOf", "enum", "const"];
        walk(&document.whole, "#", &mut |path, object| {
            let parents: Vec<&str> = path.rsplit('/').take(2).collect();
            let is_schema = ["schema", "items"].contains(&parents[0])
                || parents
                    .get(1)
                    .is_some_and(|parent| ["properties", "schemas"].contains(parent));
            if !is_schema || FREE.contains(&parents[0]) {
                return;
            }
            assert!(
                typed.iter().any(|word| object.get(word).is_some()),
                "{path} has no type: {object}"
            );
            let is_open = object.get("type") == Some(&Value::from("object"))
                && object.get("properties").is_none()
                && object.get("additionalProperties").is_none();
            assert!(!is_open, "{path} is an object of anything: {object}");
        });
    });
}

/// Calls `visit` with every object of a document and the path to it.
fn walk(value: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(members) => {
            visit(path, value);
            for (name, member) in members {
                walk(
                    member,
                    &format!("{path}/{}", name.replace('/', "~1")),
                    visit,
                );
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                walk(item, &format!("{path}/{place}"), visit);
            }
        }
        _ => {}
    }
}
