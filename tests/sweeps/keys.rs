//! Keys that have ended, and keys that reach less far.

use serde_json::json;
use stint_protocol::{CreateKey, Scope, WorkspaceId};
use stint_tests::{Answer, Document, TestPlatform, new_task, test};
use uuid::Uuid;

use crate::bodies::smallest_for;
use crate::world::{World, plain_key};

async fn assert_refused_everywhere(t: &TestPlatform, key: &str) {
    let document = Document::of(t).await;
    for operation in &document.operations {
        if operation.scope_in_words().is_none() {
            continue;
        }
        let path = operation.path_with(|_| Uuid::new_v4().to_string());
        let answer = Answer::of(operation.request(t, &path, key)).await;
        assert_eq!(answer.status, 401, "{operation}: {}", answer.text);
    }
    let exchange = json!({ "api_key": key });
    let answer = t.post("/api/v1/auth/token", "", &exchange).await;
    assert_eq!(answer.status, 401, "{}", answer.text);
}

#[test]
fn an_expired_key_is_refused_everywhere() {
    test(async |t| {
        let wanted = CreateKey {
            expires_at: Some(
                "2099-01-01T00:00:00Z"
                    .parse::<chrono::DateTime<chrono::Utc>>()
                    .unwrap()
                    .into(),
            ),
            ..plain_key(Scope::Admin)
        };
        let key = t.admin().create_key(&wanted).await.unwrap();
        t.execute(&format!(
            "update api_keys set expires_at = clock_timestamp() - interval '1 second' where id = '{}'",
            key.id
        ))
        .await;
        assert_refused_everywhere(t, &key.api_key).await;
    });
}

#[test]
fn a_revoked_key_is_refused_everywhere_at_once() {
    test(async |t| {
        let key = t
            .admin()
            .create_key(&plain_key(Scope::Admin))
            .await
            .unwrap();
        let client = t.first().client(&key.api_key);
        client.list_keys().await.expect("it is remembered as valid");
        t.admin().revoke_key(key.id).await.unwrap();
        assert_refused_everywhere(t, &key.api_key).await;
    });
}

#[test]
fn the_keys_of_an_inactive_tenant_are_refused_everywhere() {
    test(async |t| {
        let other = crate::world::OtherTenant::of(t).await;
        other.admin.list_keys().await.expect("it is active");
        let off = stint_protocol::UpdateTenant {
            is_active: Some(false),
            ..Default::default()
        };
        t.admin().update_tenant(other.id, &off).await.unwrap();
        assert_refused_everywhere(t, &other.key).await;
    });
}

#[test]
fn a_restricted_key_finds_nothing_of_other_workspaces() {
    /// What lies in a workspace, or is one.
    const HIDDEN: [&str; 5] = [
        "task_id",
        "workflow_id",
        "approval_id",
        "gate_id",
        "workspace_id",
    ];
    test(async |t| {
        let document = Document::of(t).await;
        let world = World::of(t, t.admin()).await;
        let here = WorkspaceId::from(Uuid::new_v4());
        let wanted = CreateKey {
            workspace_ids: vec![here],
            ..plain_key(Scope::Admin)
        };
        let key = t.admin().create_key(&wanted).await.unwrap();
        // A task of another workspace, beside the fixture, which belongs to that of its run.
        let mut elsewhere = new_task("elsewhere");
        elsewhere.workspace_id = Some(WorkspaceId::from(Uuid::new_v4()));
        let elsewhere = t.admin().create_task(&elsewhere).await.unwrap();
        let mut asked = 0;
        for operation in &document.operations {
            let parameters = operation.path_parameters();
            if !parameters.iter().any(|name| HIDDEN.contains(name)) {
                continue;
            }
            let mut paths = vec![operation.path_with(|name| world.value_for(operation, name))];
            if parameters == ["task_id"] {
                paths.push(operation.path_with(|_| elsewhere.id.to_string()));
            }
            for path in paths {
                let mut request = operation.request(t, &path, &key.api_key);
                if operation.body_schema().is_some() {
                    request = request.json(&smallest_for(&document, operation));
                }
                let answer = Answer::of(request).await;
                // What is taken from holders alone is refused before anyone looks for the task.
                let is_refused = answer.status == 404
                    || (answer.status == 403 && answer.reason() == "not_holder");
                assert!(is_refused, "{operation}: {} {}", answer.status, answer.text);
                asked += 1;
            }
        }
        assert!(asked > 80, "hardly anything was swept: {asked}");
        for list in [
            "/api/v1/tasks",
            "/api/v1/workflows",
            "/api/v1/workspaces",
            "/api/v1/approvals",
            "/api/v1/events?entity_type=task",
            "/api/v1/logs",
            "/api/v1/metering/events",
        ] {
            let answer = t.get(list, &key.api_key).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert_eq!(answer.data(), &json!([]), "{list}");
        }
        let mut task = new_task("here");
        task.workspace_id = Some(here);
        let restricted = t.first().client(&key.api_key);
        let made = restricted
            .create_task(&task)
            .await
            .expect("its own workspace");
        restricted
            .get_task(made.id)
            .await
            .expect("its own workspace");
        let refused = restricted.create_task(&new_task("nowhere")).await;
        assert_eq!(refused.unwrap_err().status(), Some(403));
        let used = serde_json::from_value(json!({ "taskId": world.task })).unwrap();
        let refused = restricted.meter_usage(&used).await;
        assert_eq!(refused.unwrap_err().status(), Some(404));
    });
}

#[test]
fn what_another_agent_holds_is_not_touched() {
    test(async |t| {
        let document = Document::of(t).await;
        let world = World::of(t, t.admin()).await;
        let stranger = t.worker("stranger").await;
        let mut asked = 0;
        for operation in document.mutations() {
            if !operation.path_parameters().contains(&"task_id") {
                continue;
            }
            let mut body = smallest_for(&document, operation);
            let schema = operation.body_schema().expect("a mutation has a body");
            if !document.follow(schema)["properties"]["attempt"].is_null() {
                // The right one, so that nothing but the holder is wrong.
                body["attempt"] = json!(1);
            }
            // A worker's key steers tasks as an operator does; what only holders say it says for its own agents.
            let is_of_holders = operation.scope_in_words() == Some("agent");
            let worker_key = is_of_holders.then_some(&stranger.worker_key);
            for key in std::iter::once(&stranger.agent_key).chain(worker_key) {
                let path = operation.path_with(|name| world.value_for(operation, name));
                let answer = Answer::of(operation.request(t, &path, key).json(&body)).await;
                assert_eq!(answer.status, 403, "{operation}: {}", answer.text);
                asked += 1;
            }
        }
        assert!(asked > 15, "hardly anything was swept");
        let task = world.admin.get_task(world.task).await.unwrap();
        assert_eq!(
            (task.attempt, task.assigned_agent_id),
            (1, Some(world.worker.agent_id)),
            "nothing happened to it"
        );
    });
}
