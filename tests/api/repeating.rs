//! Repeating a change under the same request id: one effect, one answer.

use reqwest::Method;
use serde_json::{Value, json};
use stint_tests::{Answer, TestPlatform, test};

async fn send(t: &TestPlatform, method: Method, path: &str, body: &Value) -> Answer {
    let request = t.request(method, path).bearer_auth(t.admin_key());
    Answer::of(request.json(body)).await
}

async fn keys_labelled(t: &TestPlatform, label: &str) -> usize {
    let keys = t.admin().list_keys().await.expect("keys are listed");
    keys.iter()
        .filter(|key| key.label.as_deref() == Some(label))
        .count()
}

fn a_key() -> Value {
    json!({ "scope": "admin", "label": "made once", "request_id": "r1" })
}

#[test]
fn a_repeated_change_has_one_effect_and_the_same_answer() {
    test(async |t| {
        let first = t.post("/api/v1/api-keys", t.admin_key(), &a_key()).await;
        assert_eq!((first.status, first.is_replay()), (201, false));
        // Spacing and order do not matter, and the header is as good as the field.
        let other_form = "{\n \"label\" : \"made once\", \"scope\":\"admin\" }";
        let request = t
            .request(Method::POST, "/api/v1/api-keys")
            .bearer_auth(t.admin_key())
            .header("content-type", "application/json")
            .header("idempotency-key", "r1")
            .body(other_form);
        let second = Answer::of(request).await;
        assert_eq!((second.status, second.is_replay()), (201, true));
        assert_eq!(first.data(), second.data(), "the secret too");
        assert_eq!(keys_labelled(t, "made once").await, 1);
    });
}

#[test]
fn an_answer_that_holds_a_key_is_remembered_sealed() {
    test(async |t| {
        let first = t.post("/api/v1/api-keys", t.admin_key(), &a_key()).await;
        let secret = first.data()["api_key"].as_str().unwrap().to_owned();
        let (is_sealed, body, hours): (bool, Vec<u8>, f64) = sqlx::query_as(
            "select is_sealed, body, (extract(epoch from expires_at - clock_timestamp()) / 3600)::float8
             from request_slots",
        )
        .fetch_one(t.sql())
        .await
        .unwrap();
        assert!(is_sealed && hours <= 24.0, "{hours}");
        assert!(!String::from_utf8_lossy(&body).contains(&secret));
    });
}

#[test]
fn another_body_is_refused() {
    test(async |t| {
        t.post("/api/v1/api-keys", t.admin_key(), &a_key()).await;
        let mut other = a_key();
        other["label"] = json!("another");
        let answer = t.post("/api/v1/api-keys", t.admin_key(), &other).await;
        assert_eq!((answer.status, answer.reason()), (409, "request_id_reused"));
        assert_eq!(keys_labelled(t, "another").await, 0);
    });
}

#[test]
fn another_operation_is_refused() {
    test(async |t| {
        let task = t.create("one").await.id;
        let body = json!({ "request_id": "r1" });
        let path = format!("/api/v1/tasks/{task}");
        let first = send(t, Method::PATCH, &path, &body).await;
        assert_eq!(first.status, 200, "{}", first.text);
        let other = send(t, Method::POST, &format!("{path}/cancel"), &body).await;
        assert_eq!((other.status, other.reason()), (409, "request_id_reused"));
        assert_eq!(t.state(task).await.as_str(), "ready");
    });
}

#[test]
fn another_target_is_refused() {
    test(async |t| {
        let (one, two) = (t.create("one").await.id, t.create("two").await.id);
        let body = json!({ "request_id": "r1" });
        let first = send(
            t,
            Method::POST,
            &format!("/api/v1/tasks/{one}/cancel"),
            &body,
        )
        .await;
        assert_eq!(first.status, 200, "{}", first.text);
        let other = send(
            t,
            Method::POST,
            &format!("/api/v1/tasks/{two}/cancel"),
            &body,
        )
        .await;
        assert_eq!((other.status, other.reason()), (409, "request_id_reused"));
        assert_eq!(t.state(two).await.as_str(), "ready");
    });
}

#[test]
fn an_answer_without_a_body_is_repeated_too() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let path = format!("/api/v1/workers/{}", worker.worker_id);
        let body = json!({ "request_id": "r1" });
        let first = send(t, Method::DELETE, &path, &body).await;
        let second = send(t, Method::DELETE, &path, &body).await;
        assert_eq!((first.status, first.is_replay()), (204, false));
        assert_eq!((second.status, second.is_replay()), (204, true));
        let fresh = send(t, Method::DELETE, &path, &json!({})).await;
        assert_eq!(fresh.status, 404);
    });
}

#[test]
fn a_refusal_is_not_remembered() {
    test(async |t| {
        let wrong = json!({ "name": "Acme", "slug": "default", "request_id": "r1" });
        let refused = t.post("/api/v1/tenants", t.admin_key(), &wrong).await;
        assert!(refused.status >= 400, "{}", refused.text);
        let right = json!({ "name": "Acme", "slug": "acme", "request_id": "r1" });
        let made = t.post("/api/v1/tenants", t.admin_key(), &right).await;
        assert_eq!((made.status, made.is_replay()), (201, false));
    });
}

#[test]
fn twins_at_once_have_one_effect() {
    test(async |t| {
        let body = a_key();
        let twins = (0..8).map(|_| t.post("/api/v1/api-keys", t.admin_key(), &body));
        let answers = futures_util::future::join_all(twins).await;
        assert!(answers.iter().all(|answer| answer.status == 201));
        assert_eq!(
            answers.iter().filter(|answer| !answer.is_replay()).count(),
            1
        );
        assert!(
            answers
                .iter()
                .all(|answer| answer.data() == answers[0].data())
        );
        assert_eq!(keys_labelled(t, "made once").await, 1);
    });
}

#[test]
fn twins_on_two_replicas_have_one_effect() {
    test(async |t| {
        let other = t.replica().await;
        let wanted = stint_protocol::CreateTenant {
            name: "Acme".to_owned(),
            slug: "acme".to_owned(),
            request_id: Some("r1".to_owned()),
        };
        let (here, there) = (t.admin(), other.admin());
        let (one, two) =
            futures_util::join!(here.create_tenant(&wanted), there.create_tenant(&wanted));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(one.admin_api_key, two.admin_api_key);
    });
}

#[test]
fn answers_are_forgotten_when_their_time_is_over() {
    test(async |t| {
        let first = t.post("/api/v1/api-keys", t.admin_key(), &a_key()).await;
        t.execute("update request_slots set expires_at = clock_timestamp() - interval '1 second'")
            .await;
        t.run_loop("forget_requests").await;
        let second = t.post("/api/v1/api-keys", t.admin_key(), &a_key()).await;
        assert_eq!((second.status, second.is_replay()), (201, false));
        assert_ne!(first.data()["id"], second.data()["id"]);
    });
}
