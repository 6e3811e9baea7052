//! A worker that cannot work says why and ends with a code that a supervisor sees.

use axum::http::StatusCode;
use axum::{Json, Router};
use serde_json::json;

use stint_tests::processes::{Stage, WorkerProcess};

/// Starts a worker that must end by itself, and returns what it said.
async fn refused(worker: WorkerProcess) -> String {
    let mut worker = worker.start();
    let status = worker.ended().await;
    assert_eq!(status.code(), Some(1), "{}", worker.log());
    worker.log()
}

#[tokio::test]
async fn a_worker_with_a_wrong_key_ends_and_says_so() {
    let stage = Stage::new();
    let platform = stage.shared_platform().await;
    let key = "st_worker_0123456789abcdef0123456789abcdef";
    let worker = stage.worker("worker", &platform.url, key);
    let said = refused(worker.handler("any", "true")).await;
    assert!(
        said.contains("did not let this worker register: 401"),
        "{said}"
    );
    assert!(!said.contains(key), "{said}");
}

#[tokio::test]
async fn a_worker_with_a_mistyped_setting_ends_and_names_it() {
    let stage = Stage::new();
    let worker = stage.worker("worker", "http://127.0.0.1:9", "st_worker_key");
    let said = refused(worker.with("capactiy = 3").handler("any", "true")).await;
    assert!(
        said.contains("capactiy") && said.contains("line 6"),
        "{said}"
    );
}

#[tokio::test]
async fn a_worker_without_handlers_ends_and_says_so() {
    let stage = Stage::new();
    let said = refused(stage.worker("worker", "http://127.0.0.1:9", "st_worker_key")).await;
    assert!(said.contains("no handler is configured"), "{said}");
}

#[tokio::test]
async fn a_worker_that_is_too_old_ends_and_says_so() {
    // A platform of the future.
    let refusal = json!({
        "error": {
            "code": "CONFLICT",
            "message": "this platform serves worker protocols from 7 on, and this worker speaks 1",
            "recovery_hint": "upgrade the worker",
            "details": {"reason_code": "upgrade_required"},
        },
        "meta": {"request_id": "r", "timestamp": "2026-01-31T12:00:00.000Z"},
    });
    let future = Router::new().fallback(async move || (StatusCode::CONFLICT, Json(refusal)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("a bound socket"));
    tokio::spawn(async move { axum::serve(listener, future).await });
    let stage = Stage::new();
    let worker = stage.worker("worker", &url, "st_worker_key");
    let said = refused(worker.handler("any", "true")).await;
    assert!(
        said.contains("upgrade_required") && said.contains("upgrade the worker"),
        "{said}"
    );
}
