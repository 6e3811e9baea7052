//! The description of the API, and its browsable page. Everything they need is in our binary.

use std::sync::LazyLock;

use axum::Router;
use bytes::Bytes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::app::App;

/// Made when it is asked for first: while it is being put together it takes more memory than all the rest of an
/// idle replica.
static DESCRIPTION: LazyLock<Bytes> = LazyLock::new(|| {
    let described = crate::http::describe_all(crate::app::route_tables());
    described
        .to_json()
        .expect("a description is plain data")
        .into()
});

/// The description of the API in OpenAPI 3.1, as `/openapi.json` serves it.
pub fn description() -> Bytes {
    DESCRIPTION.clone()
}

/// The page at `/docs`. It reads `/openapi.json`; the key that is entered stays in the browser.
pub fn docs_page() -> Router<App> {
    let config = Config::new(["/openapi.json"])
        .try_it_out_enabled(true)
        .display_operation_id(true)
        .persist_authorization(false)
        .filter(true)
        // Nothing is asked of anyone else's server.
        .validator_url("none");
    SwaggerUi::new("/docs").config(config).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    fn description() -> Value {
        let described = crate::http::describe_all(crate::app::route_tables());
        serde_json::to_value(described).unwrap()
    }

    /// Calls `visit` with every object of the document and the path to it.
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

    fn operations(document: &Value) -> Vec<(String, &Value)> {
        let mut found = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in ["get", "post", "put", "patch", "delete"] {
                if let Some(operation) = item.get(method) {
                    found.push((format!("{method} {path}"), operation));
                }
            }
        }
        assert!(!found.is_empty());
        found
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let document = description();
        let mut names = BTreeSet::new();
        for (place, operation) in operations(&document) {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name), "{name} is also the name of {place}");
        }
    }

    #[test]
    fn references_lead_somewhere() {
        let document = description();
        walk(&document, "#", &mut |path, object| {
            if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference} at {path}");
            }
        });
    }

    #[test]
    fn errors_are_documented_on_every_operation() {
        let document = description();
        for (place, operation) in operations(&document) {
            let mut wanted = vec!["400", "500"];
            if operation.get("security").is_some() {
                wanted.extend(["401", "403", "429", "503"]);
            }
            for status in wanted {
                let response = &operation["responses"][status];
                let body = &response["content"]["application/json"]["schema"]["$ref"];
                assert_eq!(body, "#/components/schemas/ErrorBody", "{place} {status}");
            }
        }
    }

    #[test]
    fn only_free_data_has_no_type() {
        let document = description();
        let typed = ["$ref", "type", "oneOf", "anyOf", "allOf", "enum", "const"];
        walk(&document, "#", &mut |path, object| {
            let is_schema = path.ends_with("/schema")
                || path.ends_with("/items")
                || path.rsplit('/').nth(1) == Some("properties")
                || path.rsplit('/').nth(1) == Some("schemas");
            if is_schema && !typed.iter().any(|word| object.get(word).is_some()) {
                let meaning = object["description"].as_str().unwrap_or_default();
                assert!(
                    meaning.starts_with("Any JSON value") || path.ends_with("/Json"),
                    "{path} is {object}"
                );
            }
            let is_open = object.get("type") == Some(&Value::from("object"))
                && object.get("properties").is_none()
                && object.get("additionalProperties").is_none();
            assert!(!is_open, "{path} is an object of anything: {object}");
        });
    }
}
