//! What is answered fits what the description says of it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use jsonschema::Validator;
use stint_tests::{Answer, test};

use crate::document::{Document, Operation, assert_envelope};
use crate::world::World;

/// Compares answers with their schemas.
pub(crate) struct Judge {
    validators: BTreeMap<(String, u16), Rc<Validator>>,
}

impl Judge {
    /// Compiles the schema of every answer.
    pub(crate) fn of(document: &Document) -> Self {
        let mut validators = BTreeMap::new();
        // Most refusals share one schema, and compiling is slow.
        let mut compiled: BTreeMap<String, Rc<Validator>> = BTreeMap::new();
        for operation in &document.operations {
            let responses = operation.described["responses"]
                .as_object()
                .expect("it answers");
            for status in responses.keys().filter_map(|status| status.parse().ok()) {
                if let Some(schema) = operation.answer_schema(status) {
                    let validator = compiled.entry(schema.to_string()).or_insert_with(|| {
                        let validator = jsonschema::options()
                            .should_validate_formats(true)
                            .build(&document.standalone(schema))
                            .unwrap_or_else(|error| panic!("{operation} {status}: {error}"));
                        Rc::new(validator)
                    });
                    validators.insert((operation.id.clone(), status), Rc::clone(validator));
                }
            }
        }
        Self { validators }
    }

    /// Refuses an answer that was not announced, or that does not fit.
    #[track_caller]
    pub(crate) fn judge(&self, operation: &Operation, answer: &Answer) {
        let what = format!("{operation} answered {}: {}", answer.status, answer.text);
        let announced = operation.described["responses"].get(answer.status.to_string());
        assert!(announced.is_some(), "not announced: {what}");
        if let Some(validator) = self.validators.get(&(operation.id.clone(), answer.status)) {
            let errors: Vec<String> = validator
                .iter_errors(&answer.body)
                .map(|error| format!("{} at {}", error, error.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{errors:?} in {what}");
        }
        if answer.status >= 400 && !(operation.id == "get_readiness" && answer.status == 503) {
            assert_envelope(&operation.to_string(), answer);
        }
    }
}

#[test]
fn every_read_answers_what_is_described() {
    test(async |t| {
        let document = Document::of(t).await;
        let judge = Judge::of(&document);
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
            judge.judge(operation, &answer);
            if let Some(things) = answer.data().as_array() {
                assert!(!things.is_empty(), "{operation} shows nothing to judge");
            }
        }
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
                assert_envelope(&operation.to_string(), &answer);
            }
        }
    });
}
