//! Which definitions are graphs, and what is told of those that are not.

use std::collections::BTreeMap;

use proptest::prelude::*;
use protocol::{Mistake, MistakeCode, OnStepFailure};
use serde_json::{Value, json};

use super::fields::{Fields, MISTAKES_MAX, Mistakes};
use super::*;

fn read(definition: &Value) -> Result<Graph, Vec<Mistake>> {
    let mistakes = Mistakes::default();
    let input = Type::closed(BTreeMap::from([("folder".to_owned(), Type::Text)]));
    let graph = Fields::of(definition, "definition", &mistakes).and_then(|mut fields| {
        let graph = Graph::read(&mut fields, &["check".to_owned()], &input, &mistakes);
        fields.finish();
        graph
    });
    match graph {
        Some(graph) if mistakes.is_empty() => Ok(graph),
        _ => Err(mistakes.into_list()),
    }
}

fn task(input: Value) -> Value {
    json!({ "kind": "task", "role": "worker", "input": input })
}

/// A definition with these steps.
fn steps(steps: Value) -> Value {
    json!({ "steps": steps })
}

/// Where and what the mistakes of a definition are.
#[track_caller]
fn mistakes(definition: &Value) -> Vec<(String, MistakeCode)> {
    let list = read(definition).expect_err("the definition has a mistake");
    for mistake in &list {
        assert!(
            !mistake.message.is_empty() && !mistake.hint.is_empty(),
            "{mistake:?}"
        );
    }
    list.into_iter()
        .map(|mistake| (mistake.path, mistake.code))
        .collect()
}

#[track_caller]
fn has_one(definition: &Value, path: &str, code: MistakeCode) {
    assert_eq!(mistakes(definition), [(format!("definition.{path}"), code)]);
}

#[test]
fn naming_a_step_in_a_template_is_needing_it() {
    let graph = read(&json!({
        "steps": {
            "list": task(json!({"folder": "{{ input.folder }}"})),
            "check": {
                "kind": "for_each", "stage": "check", "items": "{{ steps.list.output.files }}", "max_parallel": 4,
                "on_item_failure": "continue",
                "task": { "role": "worker", "input": {"file": "{{ item.name }}", "place": "{{ index }}"} },
            },
            "ask": {
                "kind": "approval", "message": "Go on with {{ steps.check.output | length }} files?",
                "fields": { "type": "object", "properties": { "title": { "type": "string" } } },
                "values": { "title": "{{ workflow.name }}" },
                "expires_after_seconds": 60, "on_expiry": "approve",
            },
            "report": {
                "kind": "task", "needs": ["list"], "when": "steps.ask.output.approved", "on_failure": "continue",
                "retry_policy": { "max_attempts": 2 }, "timeout_minutes": 5, "priority": "high",
            },
        },
        "output": { "files": "{{ steps.check.output }}" },
    }))
    .unwrap();
    let needs = |name: &str| graph.steps[name].needs.clone();
    assert!(needs("list").is_empty());
    assert_eq!(needs("check"), ["list"]);
    assert_eq!(needs("ask"), ["check"]);
    assert_eq!(needs("report"), ["ask", "list"]);
    assert_eq!(graph.dependants("list"), ["check", "report"]);
    assert!(graph.dependants("report").is_empty());
    let first: Vec<_> = graph.first_steps().map(|step| step.id.as_str()).collect();
    assert_eq!(first, ["list"]);
    let Body::ForEach(check) = &graph.steps["check"].body else {
        panic!("it is a for_each");
    };
    assert_eq!(
        (check.max_parallel, check.on_item_failure),
        (Some(4), OnStepFailure::Continue)
    );
    assert_eq!(graph.steps["report"].on_failure, OnStepFailure::Continue);
}

#[test]
fn every_mistake_is_told_of_at_once_with_its_path() {
    let found = mistakes(&json!({
        "steps": {
            "a": { "kind": "task", "rolle": "x", "timeout_minutes": 1000, "input": [1] },
            "b": { "kind": "tusk" },
            "c": { "needs": ["d"] },
            "two words": { "kind": "task" },
            "d": { "kind": "task", "title": "{{ input. }}", "when": "1 +", "priority": "hot" },
        },
        "outputs": 1,
    }));
    let told = |path: &str, code| (format!("definition.{path}"), code);
    for wanted in [
        told("steps.a.input", MistakeCode::WrongType),
        told("steps.a.timeout_minutes", MistakeCode::OutOfRange),
        told("steps.a.rolle", MistakeCode::UnknownField),
        told("steps.b.kind", MistakeCode::UnknownWord),
        told("steps.c.kind", MistakeCode::Missing),
        told("steps.two words", MistakeCode::OutOfRange),
        told("steps.d.title", MistakeCode::BadTemplate),
        told("steps.d.when", MistakeCode::BadCondition),
        told("steps.d.priority", MistakeCode::UnknownWord),
        told("outputs", MistakeCode::UnknownField),
    ] {
        assert!(found.contains(&wanted), "{wanted:?} is not among {found:?}");
    }
    assert_eq!(found.len(), 10, "{found:?}");
}

#[test]
fn a_name_that_leads_nowhere_is_told_of() {
    let unknown = MistakeCode::UnknownReference;
    let with = |text: &str| steps(json!({"a": task(json!({"x": text}))}));
    has_one(&with("{{ steps.b.output }}"), "steps.a.input.x", unknown);
    has_one(&with("{{ input.foldr }}"), "steps.a.input.x", unknown);
    has_one(&with("{{ item }}"), "steps.a.input.x", unknown);
    has_one(&with("{{ stepps.a }}"), "steps.a.input.x", unknown);
    has_one(&with("{{ workflow.nam }}"), "steps.a.input.x", unknown);
    has_one(
        &with("{{ steps[input.folder].output }}"),
        "steps.a.input.x",
        unknown,
    );
    let needs = steps(json!({"a": {"kind": "task", "needs": ["b"]}}));
    has_one(&needs, "steps.a.needs[0]", unknown);
    let stage = steps(json!({"a": {"kind": "task", "stage": "chek"}}));
    has_one(&stage, "steps.a.stage", unknown);
    let output = json!({"steps": {"a": task(json!({}))}, "output": "{{ steps.b.output }}"});
    has_one(&output, "output", unknown);
    let hint = &read(&with("{{ input.foldr }}")).unwrap_err()[0].message;
    assert!(hint.contains("did you mean \"folder\""), "{hint}");
}

#[test]
fn what_a_schema_promises_is_known() {
    let schema = json!({
        "type": "object", "additionalProperties": false,
        "properties": { "files": { "type": "array", "items": { "type": "string" } }, "n": { "type": "integer" } },
    });
    let with =
        |next: Value| steps(json!({"a": {"kind": "task", "output_schema": schema}, "b": next}));
    read(&with(task(
        json!({"x": "{{ steps.a.output.files[0] | upper }}"}),
    )))
    .unwrap();
    let unknown = with(task(json!({"x": "{{ steps.a.output.fils }}"})));
    has_one(&unknown, "steps.b.input.x", MistakeCode::UnknownReference);
    let number = with(task(json!({"x": "{{ steps.a.output.n | upper }}"})));
    has_one(&number, "steps.b.input.x", MistakeCode::WrongType);
    let no_list = with(json!({"kind": "for_each", "items": "{{ steps.a.output.n }}", "task": {}}));
    has_one(&no_list, "steps.b.items", MistakeCode::WrongType);
    let no_flag = with(json!({"kind": "task", "when": "steps.a.output.n"}));
    has_one(&no_flag, "steps.b.when", MistakeCode::WrongType);
    let decided = steps(json!({
        "ask": {"kind": "approval", "message": "?"},
        "b": {"kind": "task", "when": "steps.ask.output.aproved"},
    }));
    has_one(&decided, "steps.b.when", MistakeCode::UnknownReference);
}

#[test]
fn a_cycle_is_named_and_so_is_who_waits_for_it() {
    let definition = steps(json!({
        "a": {"kind": "task", "needs": ["c"]},
        "b": task(json!({"x": "{{ steps.a.output }}"})),
        "c": {"kind": "task", "when": "steps.b.output.ok"},
        "later": {"kind": "task", "needs": ["b", "free"]},
        "free": {"kind": "task"},
    }));
    let list = read(&definition).unwrap_err();
    assert_eq!(list.len(), 2, "{list:?}");
    assert_eq!(list[0].code, MistakeCode::Cycle);
    assert_eq!(list[0].path, "definition.steps.a");
    assert!(
        list[0].message.ends_with("a -> c -> b -> a"),
        "{}",
        list[0].message
    );
    assert_eq!(list[1].code, MistakeCode::Unreachable);
    assert_eq!(list[1].path, "definition.steps.later");
    let itself = steps(json!({"a": {"kind": "task", "needs": ["a"]}}));
    assert!(read(&itself).unwrap_err()[0].message.ends_with("a -> a"));
}

#[test]
fn a_step_that_is_always_skipped_is_told_of() {
    let never = steps(json!({"a": {"kind": "task", "when": false}}));
    has_one(&never, "steps.a.when", MistakeCode::Unreachable);
    read(&steps(json!({"a": {"kind": "task", "when": true}}))).unwrap();
}

#[test]
fn what_a_kind_needs_must_be_there() {
    let missing = MistakeCode::Missing;
    has_one(
        &steps(json!({"a": {"kind": "approval"}})),
        "steps.a.message",
        missing,
    );
    has_one(
        &steps(json!({"a": {"kind": "for_each", "task": {}}})),
        "steps.a.items",
        missing,
    );
    let no_task = steps(json!({"a": {"kind": "for_each", "items": "{{ [] }}"}}));
    has_one(&no_task, "steps.a.task", missing);
    has_one(&json!({}), "steps", missing);
    has_one(&steps(json!({})), "steps", MistakeCode::OutOfRange);
    let two = steps(json!({"a": {"kind": "for_each", "items": "{{ [] }} {{ [] }}", "task": {}}}));
    has_one(&two, "steps.a.items", MistakeCode::BadTemplate);
    let schema = steps(json!({"a": {"kind": "task", "output_schema": {"type": "nonsense"}}}));
    has_one(&schema, "steps.a.output_schema", MistakeCode::BadSchema);
    let values = steps(json!({"a": {"kind": "approval", "message": "?", "values": {"x": 1}}}));
    has_one(&values, "steps.a.values", MistakeCode::Contradiction);
    let expiry = steps(json!({"a": {"kind": "approval", "message": "?", "on_expiry": "reject"}}));
    has_one(&expiry, "steps.a.on_expiry", MistakeCode::Contradiction);
    let policy = steps(json!({"a": {"kind": "task", "retry_policy": {"max_attempts": 1000}}}));
    has_one(&policy, "steps.a.retry_policy", MistakeCode::OutOfRange);
}

#[test]
fn a_definition_that_is_wrong_all_over_is_not_told_of_without_end() {
    let many: serde_json::Map<String, Value> = (0..1000)
        .map(|place| (format!("s{place}"), json!({"kind": 7, "more": 1})))
        .collect();
    assert_eq!(mistakes(&steps(Value::Object(many))).len(), MISTAKES_MAX);
}

#[test]
fn a_chain_and_a_fan_of_two_thousand_steps_are_read_in_no_time() {
    let mut chain = serde_json::Map::new();
    let mut fan = serde_json::Map::new();
    let name = |place: usize| format!("s{place}");
    for place in 0..STEPS_MAX {
        let before = if place == 0 {
            vec![]
        } else {
            vec![name(place - 1)]
        };
        chain.insert(name(place), json!({"kind": "task", "needs": before}));
        let before: Vec<_> = if place + 1 == STEPS_MAX {
            (0..place).map(name).collect()
        } else {
            vec![]
        };
        fan.insert(name(place), json!({"kind": "task", "needs": before}));
    }
    let chain = read(&steps(Value::Object(chain))).unwrap();
    assert_eq!(chain.first_steps().count(), 1);
    let fan = read(&steps(Value::Object(fan))).unwrap();
    assert_eq!(fan.steps[&name(STEPS_MAX - 1)].needs.len(), STEPS_MAX - 1);
}

/// Something that looks a little like a definition.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("kind"),
        Just("task"),
        Just("steps"),
        Just("needs"),
        Just("a"),
        Just("b"),
        Just("items"),
        Just("when"),
        Just("approval"),
        Just("for_each"),
        Just("message"),
        Just("fields"),
        Just("input"),
        Just("{{ steps.a.output }}"),
        Just("{{ item }}"),
        Just("{{"),
        Just("output"),
        Just("retry_policy"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((word.clone(), inner), 0..8).prop_map(|members| {
                Value::Object(
                    members
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                )
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_value_makes_the_reader_panic(definition in any_json()) {
        if let Err(found) = read(&definition) {
            prop_assert!(!found.is_empty(), "it is refused without a mistake");
        }
    }

    /// Steps are orderable exactly when no cycle is found among them.
    #[test]
    fn a_graph_without_cycle_can_be_walked_to_its_end(edges in proptest::collection::vec((0usize..8, 0usize..8), 0..14)) {
        let mut needs: BTreeMap<String, Vec<String>> =
            (0..8).map(|step| (format!("s{step}"), vec![])).collect();
        for (step, need) in edges {
            let listed = needs.get_mut(&format!("s{step}")).expect("it was made above");
            if !listed.contains(&format!("s{need}")) {
                listed.push(format!("s{need}"));
            }
        }
        let members = needs.iter().map(|(name, needs)| (name.clone(), json!({"kind": "task", "needs": needs})));
        let found = read(&steps(Value::Object(members.collect())));
        let mut ended: Vec<&String> = vec![];
        while let Some((name, _)) = needs.iter().find(|(name, needs)| {
            !ended.contains(name) && needs.iter().all(|need| ended.contains(&need))
        }) {
            ended.push(name);
        }
        prop_assert_eq!(ended.len() == needs.len(), found.is_ok());
        if let Err(found) = found {
            prop_assert!(found.iter().any(|mistake| mistake.code == MistakeCode::Cycle));
            // Everyone who cannot run is in a cycle or told to wait for one.
            let told = found.len() + found.iter().filter(|mistake| mistake.code == MistakeCode::Cycle)
                .map(|mistake| mistake.message.matches("->").count() - 1).sum::<usize>();
            prop_assert_eq!(told, needs.len() - ended.len());
        }
    }
}
