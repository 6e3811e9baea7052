//! Bodies that cannot be taken: refused alike everywhere, and without a trace.

use std::collections::BTreeMap;

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sqlx::Row as _;
use stint_tests::{Answer, Document, Operation, Setup, TestPlatform, test};

use crate::bodies::smallest;
use crate::world::World;

/// The largest body of the platforms in here: less than what fits into the buffers of a connection, so
/// that a refusal is read whatever was still being sent.
const BODY_BYTES_MAX: usize = 8192;

/// The body that was smallest, with one more member.
fn with(document: &Document, operation: &Operation, name: &str, value: Value) -> String {
    let mut body = smallest(
        document,
        operation.body_schema().expect("a mutation has a body"),
    );
    body[name] = value;
    body.to_string()
}

/// Sends something to every mutation and expects a refusal that changes nothing.
async fn sweep<V: Copy>(
    t: &TestPlatform,
    status: u16,
    variants: &[V],
    make: impl Fn(&Document, &Operation, RequestBuilder, V) -> RequestBuilder,
) {
    let document = Document::of(t).await;
    let world = World::of(t, t.admin()).await;
    let before = row_counts(t).await;
    let pairs = document
        .mutations()
        .flat_map(|operation| variants.iter().map(move |variant| (operation, *variant)));
    for (operation, variant) in pairs {
        let path = operation.path_with(|name| world.value_for(operation, name));
        let id = format!("sweep-{}", operation.id);
        let request = operation
            .request(t, &path, t.admin_key())
            .header("x-request-id", &id)
            .header("idempotency-key", &id);
        let answer = Answer::of(make(&document, operation, request, variant)).await;
        assert_eq!(answer.status, status, "{operation}: {}", answer.text);
        assert_eq!(answer.header("x-request-id"), id, "{operation}");
        assert_eq!(row_counts(t).await, before, "{operation} left a trace");
    }
}

fn sent(request: RequestBuilder, body: impl Into<reqwest::Body>) -> RequestBuilder {
    request
        .header("content-type", "application/json")
        .body(body)
}

#[test]
fn malformed_json_is_400() {
    test(async |t| {
        let bodies = ["{", "[}", "{\"a\":}", "{} {}", "nonsense", "\u{feff}{}"];
        sweep(t, 400, &bodies, |_, _, request, body| sent(request, body)).await;
    });
}

#[test]
fn text_that_is_not_unicode_is_400() {
    test(async |t| {
        let body = b"{\"request_id\":\"\xff\"}";
        sweep(t, 400, &[body], |_, _, request, body| {
            sent(request, body.to_vec())
        })
        .await;
    });
}

#[test]
fn anything_but_an_object_is_422() {
    test(async |t| {
        let bodies = ["[]", " [null]", "null", "\"text\"", "7", "[{}]"];
        sweep(t, 422, &bodies, |_, _, request, body| sent(request, body)).await;
    });
}

#[test]
fn an_unknown_field_is_422_and_named() {
    test(async |t| {
        sweep(t, 422, &[()], |document, operation, request, ()| {
            sent(
                request,
                with(document, operation, "no_such_field", json!(1)),
            )
        })
        .await;
    });
}

#[test]
fn nul_is_422() {
    test(async |t| {
        sweep(t, 422, &[()], |document, operation, request, ()| {
            sent(
                request,
                with(document, operation, "request_id", json!("a\0b")),
            )
        })
        .await;
    });
}

#[test]
fn a_body_that_is_too_large_is_413() {
    Setup::new()
        .config(|config| config.limits.body_bytes_max = BODY_BYTES_MAX)
        .test(async |t| {
            sweep(t, 413, &[()], |_, _, request, ()| {
                sent(
                    request,
                    format!("{{\"a\":\"{}\"}}", "x".repeat(BODY_BYTES_MAX)),
                )
            })
            .await;
        });
}

#[test]
fn another_content_type_is_415() {
    test(async |t| {
        let kinds = [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/xml",
        ];
        sweep(t, 415, &kinds, |document, operation, request, kind| {
            let body = smallest(document, operation.body_schema().unwrap());
            request.header("content-type", kind).body(body.to_string())
        })
        .await;
    });
}

#[test]
fn a_request_id_that_differs_from_the_header_is_refused() {
    test(async |t| {
        let document = Document::of(t).await;
        let world = World::of(t, t.admin()).await;
        let before = row_counts(t).await;
        for operation in document.mutations() {
            let schema = document.follow(operation.body_schema().unwrap());
            if schema["properties"].get("request_id").is_none() {
                continue;
            }
            let path = operation.path_with(|name| world.value_for(operation, name));
            let body = with(&document, operation, "request_id", json!("one"));
            let request = operation
                .request(t, &path, t.admin_key())
                .header("idempotency-key", "two");
            let answer = Answer::of(sent(request, body)).await;
            assert_eq!(answer.status, 422, "{operation}: {}", answer.text);
            assert_eq!(row_counts(t).await, before, "{operation} left a trace");
        }
    });
}

#[test]
fn an_id_that_is_none_is_400_or_names_nothing() {
    test(async |t| {
        let document = Document::of(t).await;
        for operation in &document.operations {
            for wrong in operation.path_parameters() {
                // Log entries have opaque ids, memories, stages and steps free names, and one that never was names nothing.
                let is_free = ["log_id", "memory_key", "stage_name", "step_id"].contains(&wrong);
                let status = if is_free { 404 } else { 400 };
                for id in ["7", "not-a-uuid", "%00", "%ff", "x'--"] {
                    let path = operation.path_with(|name| match name == wrong {
                        true => id.to_owned(),
                        false => uuid::Uuid::new_v4().to_string(),
                    });
                    let mut request = operation.request(t, &path, t.admin_key());
                    if let Some(schema) = operation.body_schema() {
                        request = request.json(&smallest(&document, schema));
                    }
                    let answer = Answer::of(request).await;
                    let is_refused =
                        answer.status == status || (id.starts_with('%') && answer.status == 400);
                    assert!(
                        is_refused,
                        "{operation} with {id}: {} {}",
                        answer.status, answer.text
                    );
                }
            }
        }
    });
}

/// How many rows each table has.
async fn row_counts(t: &TestPlatform) -> BTreeMap<String, i64> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class
         where relnamespace = 'public'::regnamespace and relkind = 'r' order by relname",
    )
    .fetch_all(t.sql())
    .await
    .unwrap();
    let counts: Vec<String> = tables
        .iter()
        .map(|table| format!("select '{table}' as name, count(*) as rows from {table}"))
        .collect();
    let all = counts.join(" union all ");
    let rows = sqlx::query(sqlx::AssertSqlSafe(all))
        .fetch_all(t.sql())
        .await
        .unwrap();
    rows.iter()
        .map(|row| (row.get("name"), row.get("rows")))
        .collect()
}

#[test]
fn a_body_that_is_nested_too_deep_is_400() {
    test(async |t| {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        sweep(t, 400, &[()], |_, _, request, ()| {
            sent(request, deep.clone())
        })
        .await;
    });
}
