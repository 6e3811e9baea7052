//! Bodies that nobody would think of: good ones, nearly good ones, and bad ones.
//!
//! Every route is driven with bodies made from its schema by a stream of random bytes. Whatever they are,
//! the platform answers what its description announces, and never that it was its own fault.

use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};
use stint_tests::{Answer, Document, Operation, Setup, TestPlatform};

use crate::bodies::{kind, one_of, smallest, text};
use crate::world::World;

/// How long bodies are made at most, once each route had its fewest.
const LONGEST: Duration = Duration::from_secs(12);
/// Bodies for each route: on a slow machine, and on a fast one.
const ROUNDS_MIN: usize = 3;
const ROUNDS: usize = 25;

/// Bytes that decide; zeros when they are used up, which is the simplest choice everywhere.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn next(&mut self) -> usize {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                usize::from(*first)
            }
            None => 0,
        }
    }

    /// True once in `times`, and never when the bytes are used up.
    fn rarely(&mut self, times: usize) -> bool {
        self.next() % times == times - 1
    }
}

/// A body that fits its schema, but for rare surprises.
fn body(
    document: &Document,
    schema: &Value,
    world: &World,
    choices: &mut Choices<'_>,
    depth: usize,
) -> Value {
    if choices.rarely(12) {
        return surprise(choices);
    }
    let schema = document.follow(schema);
    if let Some(alternative) = one_of(schema) {
        if choices.rarely(4) {
            return Value::Null;
        }
        return body(document, alternative, world, choices, depth);
    }
    if let Some(words) = schema["enum"].as_array() {
        return words[choices.next() % words.len()].clone();
    }
    match kind(schema) {
        "object" => {
            let required: Vec<&str> = schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let mut members = Map::new();
            for (name, member) in schema["properties"].as_object().into_iter().flatten() {
                let is_wanted = match required.contains(&name.as_str()) {
                    true => !choices.rarely(20),
                    false => depth < 4 && choices.rarely(3),
                };
                // Nothing waits, so that many bodies fit into the time.
                if is_wanted && name != "wait_seconds" {
                    let value = match known(name, world) {
                        Some(value) if !choices.rarely(5) => value,
                        _ => body(document, member, world, choices, depth + 1),
                    };
                    members.insert(name.clone(), value);
                }
            }
            members.into()
        }
        "array" => {
            let most = schema["maxItems"].as_u64().unwrap_or(3).min(3) as usize;
            let least = schema["minItems"].as_u64().unwrap_or(0) as usize;
            let count = (least + choices.next() % 3).min(most.max(least));
            (0..count)
                .map(|_| body(document, &schema["items"], world, choices, depth + 1))
                .collect()
        }
        "string" => text(schema, choices.next()),
        "integer" | "number" => {
            let least = schema["minimum"].as_i64().unwrap_or(0);
            let most = schema["maximum"]
                .as_i64()
                .unwrap_or(least.saturating_add(10));
            let edges = [
                least,
                most,
                least.saturating_add(1),
                i64::from(i32::MAX),
                -1,
            ];
            json!(edges[choices.next() % edges.len()])
        }
        "boolean" => json!(choices.next() % 2 == 1),
        _ => surprise(choices),
    }
}

/// Real things, so that bodies reach beyond "no such task".
fn known(name: &str, world: &World) -> Option<Value> {
    match name {
        "task_id" | "parent_id" => Some(json!(world.task)),
        "agent_id" | "preferred_agent_id" => Some(json!(world.worker.agent_id)),
        "worker_id" | "preferred_worker_id" => Some(json!(world.worker.worker_id)),
        "attempt" => Some(json!(1)),
        _ => None,
    }
}

/// What a schema would not expect.
fn surprise(choices: &mut Choices<'_>) -> Value {
    let odd = [
        json!({}),
        json!([]),
        json!(""),
        json!("💥\u{202e}\u{feff}"),
        json!("a\0b"),
        json!("x".repeat(20_000)),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e308),
        json!(-0.5),
        json!({ "": { "nested": [[[[{}]]]] } }),
        json!({ "password": "hunter2", "token": "secret:vault/path" }),
        json!("9999-12-31T23:59:59Z"),
        json!("-262143-01-01T00:00:00Z"),
        json!("+262142-12-31T23:59:59Z"),
        json!("ffffffff-ffff-ffff-ffff-ffffffffffff"),
        json!("'; drop table tasks; --"),
        json!(["\u{fffd}", null, true]),
        json!(null),
        json!(true),
    ];
    odd[choices.next() % odd.len()].clone()
}

async fn send(
    t: &TestPlatform,
    operation: &Operation,
    world: &World,
    key: &str,
    text: &str,
) -> Answer {
    let path = operation.path_with(|name| world.value_for(operation, name));
    let request = operation
        .request(t, &path, key)
        .header("content-type", "application/json")
        .body(text.to_owned());
    Answer::of(request).await
}

/// What is wrong with the last answer; nothing when it is as announced.
fn complaint(t: &TestPlatform, operation: &Operation, answer: &Answer) -> Option<String> {
    let misfits = t.take_misfits();
    if answer.status >= 500 {
        return Some(format!(
            "{operation} answered {}: {}",
            answer.status, answer.text
        ));
    }
    (!misfits.is_empty()).then(|| misfits.join("\n"))
}

#[test]
fn no_body_is_the_platforms_own_fault() {
    Setup::new()
        .config(|config| {
            config.limits.rate_per_second = 50_000;
        })
        .test(async |t| {
            let document = Document::of(t).await;
            let world = World::of(t, t.admin()).await;
            let mut runner = TestRunner::deterministic();
            let strategy = proptest::collection::vec(proptest::num::u8::ANY, 0..300);
            let ends = Instant::now() + LONGEST;
            let (mut taken, mut refused) = (0, 0);
            for round in 0..ROUNDS {
                for operation in document.mutations() {
                    if round >= ROUNDS_MIN && Instant::now() > ends {
                        break;
                    }
                    let schema = operation.body_schema().expect("a mutation has a body");
                    let mut tree = strategy.new_tree(&mut runner).expect("bytes can be made");
                    let make = |bytes: &[u8]| {
                        if round == 0 {
                            return smallest(&document, schema);
                        }
                        let mut choices = Choices(bytes);
                        body(&document, schema, &world, &mut choices, 0)
                    };
                    let mut sent = make(&tree.current()).to_string();
                    let answer = send(t, operation, &world, t.admin_key(), &sent).await;
                    match answer.status {
                        200..300 => taken += 1,
                        _ => refused += 1,
                    }
                    let Some(mut wrong) = complaint(t, operation, &answer) else {
                        continue;
                    };
                    // Look for a simpler body that is answered as badly.
                    let steps = Config::default().max_shrink_iters.min(100);
                    for _ in 0..steps {
                        if !tree.simplify() {
                            break;
                        }
                        let simpler = make(&tree.current()).to_string();
                        let answer = send(t, operation, &world, t.admin_key(), &simpler).await;
                        match complaint(t, operation, &answer) {
                            Some(still) => (wrong, sent) = (still, simpler),
                            None => {
                                if !tree.complicate() {
                                    break;
                                }
                            }
                        }
                    }
                    panic!("{wrong}\nto the body {sent}");
                }
            }
            assert!(
                taken > 50 && refused > 50,
                "{taken} bodies were taken, {refused} refused"
            );
        });
}
