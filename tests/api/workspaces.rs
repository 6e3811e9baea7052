//! Workspaces: places with settings and a memory.

use serde_json::{Value, json};
use stint_protocol::client::Client;
use stint_protocol::{
    CreateKey, CreateWorkspace, ErrorCode, ReasonCode, RememberInWorkspace, Scope, TaskState,
    UpdateWorkspace, Workspace, WorkspaceId,
};
use stint_tests::{TestPlatform, refused, refused_because, test};
use uuid::Uuid;

fn new(body: Value) -> CreateWorkspace {
    serde_json::from_value(body).expect("the body of a workspace")
}

fn change(body: Value) -> UpdateWorkspace {
    serde_json::from_value(body).expect("a change of a workspace")
}

fn entry(key: &str, value: Value) -> RememberInWorkspace {
    let body = json!({ "key": key, "value": value });
    serde_json::from_value(body).expect("an entry of a memory")
}

async fn make(t: &TestPlatform, slug: &str) -> Workspace {
    let wanted = new(json!({ "name": slug.to_uppercase(), "slug": slug }));
    t.admin()
        .create_workspace(&wanted)
        .await
        .expect("a workspace can be made")
}

/// A client with a key that is restricted to one workspace.
async fn bound_to(t: &TestPlatform, scope: Scope, workspace: WorkspaceId) -> Client {
    let wanted = CreateKey {
        scope,
        owner_type: None,
        owner_id: None,
        label: None,
        expires_at: None,
        workspace_ids: vec![workspace],
        routing_tags: vec![],
        request_id: None,
    };
    let made = t
        .admin()
        .create_key(&wanted)
        .await
        .expect("a key can be made");
    t.first().client(&made.api_key)
}

async fn events_of(t: &TestPlatform, workspace: WorkspaceId) -> Vec<String> {
    let id = workspace.to_string();
    let filters = [("entity_type", "workspace"), ("entity_id", id.as_str())];
    let events = t
        .admin()
        .list_events(&filters)
        .await
        .expect("events can be read");
    events
        .data
        .into_iter()
        .map(|event| event.event_type)
        .collect()
}

#[test]
fn a_workspace_is_made_read_changed_and_deleted() {
    test(async |t| {
        let wanted = new(json!({
            "name": " Shop ", "slug": "shop", "description": "Sells", "repository_url": "https://x/y",
            "settings": { "workspace_brief": "Be kind", "own": { "a": 1 } }, "memory": { "goal": [1] },
        }));
        let made = t.admin().create_workspace(&wanted).await.unwrap();
        let read = t.admin().get_workspace(made.id).await.unwrap();
        assert_eq!(
            (read.name.as_str(), read.slug.as_str(), read.is_active),
            ("Shop", "shop", true)
        );
        assert_eq!(read.memory.unwrap().members()["goal"], json!([1]));
        assert_eq!(read.memory_size_bytes, 7);
        let settings = Value::Object(read.settings.members());
        assert_eq!(settings["own"]["a"], 1);
        assert_eq!(settings["workspace_storage_type"], "workspace_artifacts");
        let changed = change(json!({
            "name": "Store", "description": "", "is_active": false, "settings": { "own": null, "new": 2 },
        }));
        let changed = t.admin().update_workspace(made.id, &changed).await.unwrap();
        assert_eq!(
            (changed.name.as_str(), changed.slug.as_str()),
            ("Store", "shop")
        );
        assert_eq!((changed.description, changed.is_active), (None, false));
        let settings = Value::Object(changed.settings.members());
        assert_eq!(
            (&settings["own"], &settings["new"]),
            (&Value::Null, &json!(2))
        );
        assert_eq!(settings["workspace_brief"], "Be kind");
        t.admin().delete_workspace(made.id, false).await.unwrap();
        refused(t.admin().get_workspace(made.id).await, ErrorCode::NotFound);
        assert_eq!(
            events_of(t, made.id).await,
            [
                "workspace.created",
                "workspace.updated",
                "workspace.deleted"
            ]
        );
    });
}

#[test]
fn a_slug_is_taken_once_also_by_a_change() {
    test(async |t| {
        make(t, "one").await;
        let two = make(t, "two").await;
        let again = new(json!({ "name": "x", "slug": "one" }));
        refused_because(
            t.admin().create_workspace(&again).await,
            ReasonCode::NameTaken,
        );
        let same = change(json!({ "slug": "one" }));
        refused_because(
            t.admin().update_workspace(two.id, &same).await,
            ReasonCode::NameTaken,
        );
        let own = change(json!({ "slug": "two", "name": "Zwei" }));
        t.admin().update_workspace(two.id, &own).await.unwrap();
    });
}

#[test]
fn a_repeated_request_makes_one_workspace() {
    test(async |t| {
        let wanted = new(json!({ "name": "x", "slug": "x", "request_id": "r1" }));
        let first = t.admin().create_workspace(&wanted).await.unwrap();
        let second = t.admin().create_workspace(&wanted).await.unwrap();
        assert_eq!(first.id, second.id);
        assert_eq!(events_of(t, first.id).await, ["workspace.created"]);
    });
}

#[test]
fn lists_are_filtered_and_paged() {
    test(async |t| {
        for slug in ["alpha", "beta", "alphabet"] {
            make(t, slug).await;
        }
        let off = make(t, "old").await;
        let is_off = change(json!({ "is_active": false }));
        t.admin().update_workspace(off.id, &is_off).await.unwrap();
        let slugs = async |filters: &[(&str, &str)]| -> Vec<String> {
            let page = t.admin().list_workspaces(filters).await.unwrap();
            page.data
                .into_iter()
                .map(|workspace| workspace.slug)
                .collect()
        };
        assert_eq!(slugs(&[]).await, ["old", "alphabet", "beta", "alpha"]);
        assert_eq!(slugs(&[("q", "ALPHA")]).await, ["alphabet", "alpha"]);
        assert_eq!(slugs(&[("q", "%")]).await, [""; 0]);
        assert_eq!(slugs(&[("is_active", "false")]).await, ["old"]);
        assert_eq!(
            slugs(&[("per_page", "2"), ("page", "2")]).await,
            ["beta", "alpha"]
        );
        let page = t
            .admin()
            .list_workspaces(&[("per_page", "2")])
            .await
            .unwrap();
        assert_eq!((page.meta.total, page.meta.pages), (4, 2));
        let listed = &page.data[0];
        assert!(listed.memory.is_none(), "lists do not carry memories");
        assert_eq!(listed.summary.total_workflow_count, 0);
    });
}

#[test]
fn a_token_for_git_is_kept_and_never_shown() {
    test(async |t| {
        let token = "ghp_0123456789abcdefghij";
        let wanted = new(json!({
            "name": "x", "slug": "x", "request_id": "r1",
            "settings": {
                "workspace_storage_type": "git_remote",
                "workspace_storage": { "repository_url": "https://x/y", "default_branch": "main" },
                "credentials": { "git_token": token },
            },
        }));
        let made = t.admin().create_workspace(&wanted).await.unwrap();
        let configured = |workspace: &Workspace| {
            let settings = Value::Object(workspace.settings.members());
            assert!(!settings.to_string().contains(token));
            settings["credentials"]["git_token_configured"]
                .as_bool()
                .unwrap()
        };
        assert!(configured(&made));
        let stored: String = sqlx::query_scalar(
            "select settings::text || coalesce(encode(git_token, 'escape'), '') from workspaces",
        )
        .fetch_one(t.sql())
        .await
        .unwrap();
        assert!(!stored.contains(token), "it lies there sealed");
        let kept =
            change(json!({ "settings": { "credentials": { "git_token_configured": true } } }));
        assert!(configured(
            &t.admin().update_workspace(made.id, &kept).await.unwrap()
        ));
        let cleared = change(json!({ "settings": { "credentials": { "git_token": null } } }));
        assert!(!configured(
            &t.admin().update_workspace(made.id, &cleared).await.unwrap()
        ));
    });
}

#[test]
fn settings_that_do_not_fit_are_refused_with_their_path() {
    test(async |t| {
        for (settings, path) in [
            (json!({ "model_overrides": {} }), "settings.model_overrides"),
            (
                json!({ "workspace_storage_type": "host_directory", "workspace_storage": { "host_path": "../x" } }),
                "settings.workspace_storage.host_path",
            ),
        ] {
            let wanted = new(json!({ "name": "x", "slug": "x", "settings": settings }));
            let refused = refused(
                t.admin().create_workspace(&wanted).await,
                ErrorCode::SchemaValidationFailed,
            );
            let fields = refused.details.unwrap().issues.unwrap().field_errors;
            assert!(fields.contains_key(path), "{fields:?}");
        }
        let secret =
            new(json!({ "name": "x", "slug": "x", "settings": { "deploy": { "password": "x" } } }));
        let refused = refused_because(
            t.admin().create_workspace(&secret).await,
            ReasonCode::PlainSecret,
        );
        assert_eq!(
            refused.details.unwrap().secret_paths,
            ["settings.deploy.password"]
        );
    });
}

#[test]
fn a_workspace_remembers_and_forgets() {
    test(async |t| {
        let place = make(t, "place").await.id;
        let admin = t.admin();
        admin
            .remember_in_workspace(place, &entry("a", json!({"n": 1})))
            .await
            .unwrap();
        let now = admin
            .remember_in_workspace(place, &entry("a", json!([2])))
            .await
            .unwrap();
        let now = admin
            .remember_in_workspace(now.id, &entry("b/c d", json!(null)))
            .await
            .unwrap();
        assert_eq!(
            Value::Object(now.memory.unwrap().members()),
            json!({"a": [2], "b/c d": null})
        );
        assert_eq!(now.memory_size_bytes, 4 + 9);
        let now = admin.forget_in_workspace(place, "b%2Fc%20d").await.unwrap();
        assert_eq!(
            Value::Object(now.memory.unwrap().members()),
            json!({"a": [2]})
        );
        refused(
            admin.forget_in_workspace(place, "b").await,
            ErrorCode::NotFound,
        );
        refused(
            admin.forget_in_workspace(place, "%00").await,
            ErrorCode::ValidationError,
        );
        assert_eq!(
            events_of(t, place).await,
            [
                "workspace.created",
                "workspace.memory_updated",
                "workspace.memory_updated",
                "workspace.memory_updated",
                "workspace.memory_deleted",
            ]
        );
        let secret = entry("api_token", json!("abc"));
        refused_because(
            admin.remember_in_workspace(place, &secret).await,
            ReasonCode::PlainSecret,
        );
        let agent = t.worker("w1").await;
        agent
            .agent
            .remember_in_workspace(place, &entry("seen", json!(true)))
            .await
            .unwrap();
    });
}

#[test]
fn a_memory_is_limited_as_a_whole() {
    test(async |t| {
        let place = make(t, "place").await.id;
        let half = "x".repeat(500 * 1024);
        for key in ["one", "two"] {
            t.admin()
                .remember_in_workspace(place, &entry(key, json!(half)))
                .await
                .unwrap();
        }
        let third = t
            .admin()
            .remember_in_workspace(place, &entry("three", json!(half)))
            .await;
        refused_because(third, ReasonCode::LimitReached);
        let now = t.admin().get_workspace(place).await.unwrap();
        assert!(
            now.memory_size_bytes <= now.memory_max_bytes,
            "nothing was stored"
        );
        // In place of what is there, it fits.
        t.admin()
            .remember_in_workspace(place, &entry("two", json!(half)))
            .await
            .unwrap();
    });
}

#[test]
fn a_workspace_in_use_is_deleted_only_with_everything_in_it() {
    test(async |t| {
        let place = make(t, "place").await.id;
        let in_place = async |title: &str| {
            t.create_with(title, |task| task.workspace_id = Some(place))
                .await
        };
        let open = in_place("open").await;
        let held = in_place("held").await;
        let elsewhere = t
            .create_with("waits", |task| {
                task.depends_on = vec![held.id];
                task.on_dependency_failure = Some(stint_protocol::OnDependencyFailure::Cancel);
            })
            .await;
        let worker = t.worker("w1").await;
        worker.begin().await;
        bound_to(t, Scope::Admin, place).await;
        let impact = t.admin().get_workspace_delete_impact(place).await.unwrap();
        assert_eq!(
            (impact.tasks, impact.active_tasks, impact.api_keys),
            (2, 2, 1)
        );
        let refusal = refused_because(
            t.admin().delete_workspace(place, false).await,
            ReasonCode::InUse,
        );
        assert!(refusal.recovery_hint.unwrap().contains("cascade=true"));
        t.admin().delete_workspace(place, true).await.unwrap();
        refused(t.admin().get_workspace(place).await, ErrorCode::NotFound);
        for task in [open.id, held.id] {
            refused(t.admin().get_task(task).await, ErrorCode::NotFound);
        }
        let told = t.admin().get_task(elsewhere.id).await.unwrap();
        assert_eq!(
            told.state,
            TaskState::Cancelled,
            "who waited for it was told"
        );
    });
}

#[test]
fn a_restricted_key_sees_its_own_workspaces_alone() {
    test(async |t| {
        let (here, there) = (make(t, "here").await.id, make(t, "there").await.id);
        let bound = bound_to(t, Scope::Admin, here).await;
        let listed = bound.list_workspaces(&[]).await.unwrap();
        assert_eq!((listed.meta.total, listed.data[0].id), (1, here));
        bound.get_workspace(here).await.unwrap();
        bound
            .remember_in_workspace(here, &entry("a", json!(1)))
            .await
            .unwrap();
        refused(bound.get_workspace(there).await, ErrorCode::NotFound);
        refused(
            bound.get_workspace_delete_impact(there).await,
            ErrorCode::NotFound,
        );
        let renamed = change(json!({ "name": "mine" }));
        refused(
            bound.update_workspace(there, &renamed).await,
            ErrorCode::NotFound,
        );
        refused(
            bound.delete_workspace(there, true).await,
            ErrorCode::NotFound,
        );
        let remembered = bound
            .remember_in_workspace(there, &entry("a", json!(1)))
            .await;
        refused(remembered, ErrorCode::NotFound);
        let made = bound
            .create_workspace(&new(json!({ "name": "x", "slug": "x" })))
            .await;
        refused_because(made, ReasonCode::OutsideWorkspaces);
        refused(
            t.admin().get_workspace(Uuid::new_v4().into()).await,
            ErrorCode::NotFound,
        );
    });
}
