//! What is answered fits what the description says of it.

use std::time::Duration;

use serde_json::json;
use stint_tests::{Answer, Document, misfits, test};

use crate::world::World;

#[test]
fn every_read_answers_what_is_described() {
    test(async |t| {
        let document = Document::of(t).await;
        let world = World::of(t, t.admin()).await;
        // One that has ended, one that waits, one that can be claimed.
        t.create("ended").await;
        let ended = world.worker.begin().await;
        world
            .worker
            .complete(&ended, serde_json::json!({"a": [1, null]}))
            .await
            .unwrap();
        let first = t.create("ready").await;
        t.create_with("waits", |task| task.depends_on = vec![first.id])
            .await;
        for operation in &document.operations {
            if operation.changes() || operation.streams() {
                continue;
            }
            let path = operation.path_with(|name| world.value_for(operation, name));
            let answer = Answer::of(operation.request(t, &path, t.admin_key())).await;
            assert_eq!(answer.status, 200, "{operation}: {}", answer.text);
            if let Some(things) = answer.data().as_array() {
                assert!(!things.is_empty(), "{operation} shows nothing to judge");
            }
        }
    });
}

#[test]
fn an_answer_that_differs_from_the_description_is_seen() {
    test(async |t| {
        let task = t.create("plain").await;
        let path = format!("/api/v1/tasks/{}", task.id);
        let good = t.get(&path, t.admin_key()).await;
        let refused = t.get(&path, "nobody").await;
        let found = |answer: &Answer| misfits("get_task", answer).join("\n");
        assert_eq!(found(&good), "");
        assert_eq!(found(&refused), "");
        let changed = |answer: &Answer, change: &dyn Fn(&mut serde_json::Value)| {
            let mut body = answer.body.clone();
            change(&mut body);
            found(&Answer::new(
                answer.status,
                answer.headers.clone(),
                body.to_string(),
            ))
        };
        type Change<'a> = &'a dyn Fn(&mut serde_json::Value);
        let cases: &[(&Answer, Change<'_>, &str)] = &[
            (
                &good,
                &|body| body["data"]["surprise"] = json!(1),
                "'surprise'",
            ),
            (
                &good,
                &|body| body["data"]["retry_policy"]["surprise"] = json!(1),
                "'surprise'",
            ),
            (
                &good,
                &|body| drop(body["data"].as_object_mut().unwrap().remove("title")),
                "\"title\"",
            ),
            (&good, &|body| body["data"]["id"] = json!("7"), "/data/id"),
            (
                &good,
                &|body| body["data"]["state"] = json!("odd"),
                "/data/state",
            ),
            (
                &good,
                &|body| body["meta"]["surprise"] = json!(1),
                "'surprise'",
            ),
            (
                &refused,
                &|body| body["error"]["details"]["surprise"] = json!(1),
                "'surprise'",
            ),
            (
                &refused,
                &|body| body["error"]["recovery_hint"] = json!(""),
                "recovery_hint",
            ),
            (
                &refused,
                &|body| body["error"]["code"] = json!("CONFLICT"),
                "code of its status",
            ),
        ];
        for (answer, change, words) in cases {
            let told = changed(answer, change);
            assert!(
                told.contains("get_task (GET /api/v1/tasks/{task_id}) answered"),
                "{told}"
            );
            assert!(told.contains(words), "{words} is not in {told}");
        }
        let mut odd = good.clone();
        odd.status = 202;
        assert!(found(&odd).contains("not declared"));
        let mut odd = good;
        odd.headers.remove("content-type");
        assert!(found(&odd).contains("not declared"));
    });
}

#[test]
fn bad_query_parameters_are_refused() {
    test(async |t| {
        let document = Document::of(t).await;
        let world = World::of(t, t.admin()).await;
        for operation in &document.operations {
            let parameters: Vec<_> = operation.described["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "query")
                .collect();
            if parameters.is_empty() {
                continue;
            }
            let path = operation.path_with(|name| world.value_for(operation, name));
            let mut queries = vec!["no_such_parameter=1".to_owned()];
            for parameter in parameters {
                let name = parameter["name"].as_str().unwrap();
                queries.push(format!("{name}=%00"));
                let schema = document.follow(&parameter["schema"]);
                let schema =
                    crate::bodies::one_of(schema).map_or(schema, |schema| document.follow(schema));
                let is_plain_text = crate::bodies::kind(schema) == "string"
                    && schema.get("format").is_none()
                    && schema.get("enum").is_none();
                if !is_plain_text {
                    queries.push(format!("{name}=what"));
                }
                if schema.get("minimum").is_some() {
                    queries.extend([format!("{name}=-1"), format!("{name}=99999999999999999999")]);
                }
            }
            for query in queries {
                let request = operation.request(t, &format!("{path}?{query}"), t.admin_key());
                // A stream that is not refused would never end.
                let answer =
                    tokio::time::timeout(Duration::from_secs(10), Answer::of(request)).await;
                let answer = answer.unwrap_or_else(|_| panic!("{operation} accepts {query}"));
                assert_eq!(answer.status, 400, "{operation} {query}: {}", answer.text);
            }
        }
    });
}
