//! What is remembered in the name of a work item.

use serde_json::{Value, json};
use stint_protocol::{MemoryAction, ReasonCode, RememberForTask, RememberInWorkspace, WorkItemId};
use stint_tests::{TestPlatform, json as exactly, new_task, refused_because, status_of, test};

use super::{make, orchestrated};

fn entry(key: &str, value: Value, item: Option<WorkItemId>) -> RememberInWorkspace {
    RememberInWorkspace {
        key: key.to_owned(),
        value: exactly(value),
        work_item_id: item,
        request_id: None,
    }
}

async fn remember(t: &TestPlatform, key: &str, value: Value, item: Option<WorkItemId>) {
    let place = t.workspace().await;
    let wanted = entry(key, value, item);
    t.admin()
        .remember_in_workspace(place, &wanted)
        .await
        .expect("it is remembered");
}

#[test]
fn a_work_item_remembers_what_was_remembered_in_its_name() {
    test(async |t| {
        let run = orchestrated(t).await;
        let (one, two) = (make(t, run, "One").await, make(t, run, "Two").await);
        remember(t, "of all", json!(0), None).await;
        remember(t, "colour", json!("blue"), Some(one.id)).await;
        remember(t, "colour", json!("red"), Some(one.id)).await;
        remember(t, "shape", json!({ "round": true }), Some(one.id)).await;
        remember(t, "size", json!("x".repeat(9000)), Some(one.id)).await;
        remember(t, "other", json!(1), Some(two.id)).await;
        let admin = t.admin();
        let place = t.workspace().await;
        admin
            .forget_in_workspace(place, "shape")
            .await
            .expect("it is forgotten");

        let memory = admin.get_work_item_memory(run, one.id).await.expect("it");
        let keys: Vec<&str> = memory.entries.iter().map(|e| e.key.as_str()).collect();
        assert_eq!(keys, ["colour", "size"]);
        assert_eq!(memory.entries[0].value, exactly(json!("red")));

        let history = admin.get_work_item_memory_history(run, one.id, &[]).await;
        let history = history.expect("a history").history;
        let seen: Vec<_> = history
            .iter()
            .map(|change| (change.key.as_str(), change.action, change.value.clone()))
            .collect();
        let put = |key, value: Option<Value>| (key, MemoryAction::Remembered, value.map(exactly));
        assert_eq!(
            seen,
            [
                ("shape", MemoryAction::Forgotten, None),
                // Too large to be kept twice.
                put("size", None),
                put("shape", Some(json!({ "round": true }))),
                put("colour", Some(json!("red"))),
                put("colour", Some(json!("blue"))),
            ]
        );
        assert_eq!(history[1].size_bytes, 4 + 9002);
        let last = admin
            .get_work_item_memory_history(run, one.id, &[("limit", "1")])
            .await;
        assert_eq!(last.expect("a history").history.len(), 1);
        let bad = admin
            .get_work_item_memory_history(run, one.id, &[("limit", "501")])
            .await;
        assert_eq!(status_of(bad), 400);

        // Whoever remembers it next in the name of nobody takes it over.
        remember(t, "colour", json!("green"), None).await;
        let memory = admin.get_work_item_memory(run, one.id).await.expect("it");
        assert_eq!(memory.entries.len(), 1);
    });
}

#[test]
fn nothing_is_remembered_in_the_name_of_a_work_item_of_another_workspace() {
    test(async |t| {
        let run = orchestrated(t).await;
        let made = make(t, run, "One").await;
        let elsewhere = serde_json::from_value(json!({ "name": "Else", "slug": "else" }));
        let elsewhere = t
            .admin()
            .create_workspace(&elsewhere.expect("a body"))
            .await
            .expect("a workspace");
        let wanted = entry("k", json!(1), Some(made.id));
        let told = t.admin().remember_in_workspace(elsewhere.id, &wanted).await;
        assert_eq!(status_of(told), 404);
        let found = t.admin().get_workspace(elsewhere.id).await.expect("it");
        assert_eq!(found.memory_size_bytes, 0, "nothing is half written");
    });
}

#[test]
fn a_work_item_keeps_the_last_changes_of_its_memory() {
    test(async |t| {
        let run = orchestrated(t).await;
        let made = make(t, run, "One").await;
        remember(t, "first", json!(1), Some(made.id)).await;
        t.execute(&format!(
            "insert into work_item_memory_changes
                 (tenant_id, work_item_id, id, key, action, size_bytes, actor_type, actor_id)
             select tenant_id, id, gen_random_uuid(), 'more', 'forgotten', 1, 'admin', id
             from work_items, generate_series(1, 600) where id = '{}'",
            made.id
        ))
        .await;
        remember(t, "last", json!(1), Some(made.id)).await;
        let kept: i64 = sqlx::query_scalar("select count(*) from work_item_memory_changes")
            .fetch_one(t.sql())
            .await
            .expect("a count");
        assert_eq!(kept, 500);
    });
}

#[test]
fn whoever_holds_a_task_reads_searches_and_fills_the_memory_of_its_workspace() {
    test(async |t| {
        let run = orchestrated(t).await;
        let item = make(t, run, "One").await;
        remember(t, "of all", json!("The Colour is grey"), None).await;
        remember(t, "shape", json!({ "round": true }), None).await;
        let mut part = new_task("part");
        part.work_item_id = Some(item.id);
        t.admin().create_task(&part).await.unwrap();
        let holder = t.worker("holder").await;
        let other = t.worker("other").await;
        let task = holder.begin().await;
        let fill = |wanted: Value| {
            let wanted: RememberForTask = serde_json::from_value(wanted).unwrap();
            let (client, id) = (holder.agent.clone(), task.id);
            async move { client.remember_for_task(id, &wanted).await }
        };
        let changed = fill(json!({ "attempt": 1, "key": "colour", "value": "blue" })).await;
        assert_eq!(changed.unwrap().keys, ["colour"]);
        let several = json!({ "attempt": 1, "updates": { "a": 1, "b": [2] } });
        assert_eq!(fill(several).await.unwrap().keys, ["a", "b"]);
        let neither = fill(json!({ "attempt": 1, "key": "x" })).await;
        assert_eq!(status_of(neither), 400);

        let keys = async |filters: &[(&str, &str)]| {
            let memory = holder.agent.get_task_memory(task.id, filters).await;
            let entries = memory.expect("its memory").entries;
            Vec::from_iter(entries.into_iter().map(|entry| entry.key))
        };
        assert_eq!(keys(&[]).await, ["a", "b", "colour", "of all", "shape"]);
        assert_eq!(keys(&[("key", "of all")]).await, ["of all"]);
        assert_eq!(keys(&[("keys", "shape,b,none")]).await, ["b", "shape"]);
        let found = holder.worker.search_task_memory(task.id, "COLOUR").await;
        let found = found.expect("its worker may look").entries;
        let found: Vec<&str> = found.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(found, ["colour", "of all"], "in keys and in values");
        // It was remembered in the name of the work item.
        let of_item = t.admin().get_work_item_memory(run, item.id).await.unwrap();
        assert_eq!(of_item.entries.len(), 3);

        let foreign = other.agent.get_task_memory(task.id, &[]).await;
        refused_because(foreign, ReasonCode::OtherIdentity);
        t.lose_lease(task.id).await;
        let late = fill(json!({ "attempt": 1, "key": "late", "value": 1 })).await;
        refused_because(late, ReasonCode::LeaseLost);
        let task = other.begin().await;
        let stale = fill(json!({ "attempt": task.attempt, "key": "late", "value": 1 })).await;
        refused_because(stale, ReasonCode::NotHolder);
        let nowhere = t.create("nowhere").await;
        let memory = t.admin().get_task_memory(nowhere.id, &[]).await;
        assert_eq!(status_of(memory), 400);
    });
}
