//! What is no route, or not with this method, is answered like everything else.

use reqwest::Method;
use stint_tests::{Answer, Document, test};
use uuid::Uuid;

#[test]
fn unknown_routes_are_not_found() {
    test(async |t| {
        for path in [
            "/",
            "/api",
            "/api/v1",
            "/api/v1/nope",
            "/api/v1/tasks/",
            "/v1",
            "/runs",
            "/api/v2/tasks",
        ] {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                let answer = Answer::of(t.request(method.clone(), path)).await;
                let what = format!("{method} {path}");
                assert_eq!(answer.status, 404, "{what}");
            }
        }
    });
}

#[test]
fn unknown_methods_are_not_allowed() {
    test(async |t| {
        let document = Document::of(t).await;
        for operation in &document.operations {
            let known: Vec<&str> = document
                .operations
                .iter()
                .filter(|other| other.path == operation.path)
                .map(|other| other.method.as_str())
                .collect();
            let path = operation.path_with(|_| Uuid::new_v4().to_string());
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
                if known.contains(&method) || taken_by_a_sibling(&document, &operation.path, method)
                {
                    continue;
                }
                let request = t.request(method.parse().unwrap(), &path);
                let answer = Answer::of(request.bearer_auth(t.admin_key())).await;
                let what = format!("{method} {path}");
                assert_eq!(answer.status, 405, "{what}: {}", answer.text);
                let allowed = answer.header("allow").to_uppercase();
                for method in &known {
                    assert!(allowed.contains(method), "{what} allows {allowed}");
                }
            }
        }
    });
}

/// Whether another path with a parameter also matches this one, such as `/tasks/{task_id}` and `/tasks/claim`.
fn taken_by_a_sibling(document: &Document, path: &str, method: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    document.operations.iter().any(|other| {
        let others: Vec<&str> = other.path.split('/').collect();
        other.method == method
            && others.len() == parts.len()
            && others
                .iter()
                .zip(&parts)
                .all(|(other, part)| other == part || other.starts_with('{'))
    })
}

#[test]
fn a_sane_request_id_is_taken_over_and_another_replaced() {
    test(async |t| {
        for (given, is_kept) in [
            ("abc-DEF_1.2:3/4", true),
            ("with space", false),
            (&"x".repeat(200), false),
        ] {
            let request = t
                .request(Method::GET, "/api/v1/nope")
                .header("x-request-id", given);
            let answer = Answer::of(request).await;
            assert_eq!(answer.header("x-request-id") == given, is_kept, "{given}");
        }
    });
}
