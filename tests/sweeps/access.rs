//! Who may call what.

use std::collections::BTreeMap;

use stint_protocol::{ErrorCode, Scope};
use stint_tests::{Answer, Document, Operation, TestPlatform, test};
use uuid::Uuid;

use crate::world::plain_key;

/// What may be called without a key. This list only ever gets shorter.
const PUBLIC: &[&str] = &[
    "exchange_token",
    "get_health",
    "get_openapi",
    "get_readiness",
];

#[test]
fn strangers_are_refused() {
    test(async |t| {
        let document = Document::of(t).await;
        let mut public = Vec::new();
        for operation in &document.operations {
            if operation.scope_in_words().is_none() {
                public.push(operation.id.as_str());
                continue;
            }
            let path = operation.path_with(|_| Uuid::new_v4().to_string());
            for key in [
                None,
                Some("st_admin_nobody_has_this_key_000000000000"),
                Some("x"),
            ] {
                let mut request = operation.request_of_stranger(t, &path);
                if let Some(key) = key {
                    request = request.bearer_auth(key);
                }
                let answer = Answer::of(request).await;
                assert_eq!(answer.status, 401, "{operation} with key {key:?}");
            }
        }
        public.sort_unstable();
        assert_eq!(public, PUBLIC, "what is public");
    });
}

#[test]
fn weaker_keys_are_refused_and_told_the_scope() {
    test(async |t| {
        let document = Document::of(t).await;
        let keys = keys_by_scope(t).await;
        let mut refused = 0;
        for operation in &document.operations {
            for scope in operation.scopes_too_weak() {
                let answer = call(t, operation, &keys[&scope]).await;
                assert_eq!(
                    answer.status, 403,
                    "{operation} with scope {scope}: {}",
                    answer.text
                );
                assert_eq!(
                    answer.error()["details"]["required_scope"].as_str(),
                    operation.scope_in_words(),
                    "{operation}"
                );
                refused += 1;
            }
        }
        assert!(refused > 20, "hardly anything was swept");
    });
}

#[test]
fn the_named_scope_is_enough() {
    test(async |t| {
        let document = Document::of(t).await;
        let keys = keys_by_scope(t).await;
        for operation in &document.operations {
            let Some(words) = operation.scope_in_words() else {
                continue;
            };
            for scope in words.split(" or ") {
                let scope: Scope = scope.parse().unwrap();
                if operation.streams() {
                    continue;
                }
                let answer = call(t, operation, &keys[&scope]).await;
                let required = &answer.error()["details"]["required_scope"];
                assert!(
                    answer.status != 401 && required.is_null(),
                    "{operation} with scope {scope}: {}",
                    answer.text
                );
            }
        }
    });
}

async fn call(t: &TestPlatform, operation: &Operation, key: &str) -> Answer {
    let path = operation.path_with(|_| Uuid::new_v4().to_string());
    Answer::of(operation.request(t, &path, key)).await
}

/// A key of each scope.
pub(crate) async fn keys_by_scope(t: &TestPlatform) -> BTreeMap<Scope, String> {
    let worker = t.worker("holder").await;
    let service = t.admin().create_key(&plain_key(Scope::Service)).await;
    let service = service.map_or_else(
        |error| {
            assert_eq!(error.status(), Some(ErrorCode::Forbidden.status()));
            t.admin_key().to_owned()
        },
        |key| key.api_key,
    );
    BTreeMap::from([
        (Scope::Agent, worker.agent_key),
        (Scope::Worker, worker.worker_key),
        (Scope::Admin, t.admin_key().to_owned()),
        (Scope::Service, service),
    ])
}
