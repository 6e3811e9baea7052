//! What belongs to another tenant does not exist.

use stint_tests::{Answer, Document, test};

use crate::bodies::smallest_for;
use crate::world::{OtherTenant, World};

#[test]
fn the_things_of_another_tenant_are_not_found() {
    test(async |t| {
        let document = Document::of(t).await;
        let ours = World::of(t, t.admin()).await;
        let other = OtherTenant::of(t).await;
        let theirs = World::of(t, other.admin.clone()).await;
        let mut asked = 0;
        for operation in &document.operations {
            for foreign in operation.path_parameters() {
                // One id of theirs among ours.
                let path = operation.path_with(|name| match name == foreign {
                    true => theirs.value_for(operation, name),
                    false => ours.value_for(operation, name),
                });
                // An orchestrator that asks for a gate of a stage that is none is given advice.
                if operation.id == "request_gate" && foreign == "stage_name" {
                    continue;
                }
                // Some reports are taken from holders alone, who may be any agent.
                let key = match foreign {
                    _ if operation.tag() == "orchestrator" => &ours.led.conductor.agent_key,
                    "task_id" if operation.scope_in_words() == Some("agent") => {
                        &ours.worker.agent_key
                    }
                    _ => t.admin_key(),
                };
                let mut request = operation.request(t, &path, key);
                if operation.changes() {
                    request = request.json(&smallest_for(&document, operation));
                }
                // The platform's own admins manage all tenants; nobody else does.
                if foreign == "tenant_id" {
                    let path = operation.path_with(|name| ours.value_for(operation, name));
                    let answer = Answer::of(operation.request(t, &path, &other.key)).await;
                    assert_eq!(answer.status, 403, "{operation}: {}", answer.text);
                    continue;
                }
                let answer = Answer::of(request).await;
                assert_eq!(answer.status, 404, "{operation}: {}", answer.text);
                asked += 1;
            }
        }
        assert!(asked > 15, "hardly anything was swept");
        let task = theirs.admin.get_task(theirs.task).await.unwrap();
        assert_eq!(task.attempt, 1, "nothing happened to it");
        theirs
            .admin
            .get_worker(theirs.worker.worker_id)
            .await
            .unwrap();
    });
}

#[test]
fn lists_show_nothing_of_another_tenant() {
    test(async |t| {
        let document = Document::of(t).await;
        World::of(t, t.admin()).await;
        let other = OtherTenant::of(t).await;
        let theirs = World::of(t, other.admin.clone()).await;
        for operation in &document.operations {
            let is_list = operation.id.starts_with("list_")
                && !["list_tenants", "list_loops"].contains(&operation.id.as_str());
            if !is_list {
                continue;
            }
            let path = operation.path_with(|name| theirs.value_for(operation, name));
            let answer = Answer::of(operation.request(t, &path, &other.key)).await;
            assert_eq!(answer.status, 200, "{operation}: {}", answer.text);
            let things = answer.data().as_array().expect("a list");
            // What is listed within something need not repeat whose it is.
            let is_within = !operation.path_parameters().is_empty();
            for thing in things {
                if is_within && thing.get("tenant_id").is_none() {
                    continue;
                }
                assert_eq!(
                    thing["tenant_id"].as_str(),
                    Some(other.id.to_string().as_str()),
                    "{operation}: {thing}"
                );
            }
        }
    });
}
