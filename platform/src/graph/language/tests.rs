//! What the language can do, and that nothing that is written in it does harm.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn steps() -> BTreeMap<String, Value> {
    BTreeMap::from([
        (
            "fetch".to_owned(),
            json!({"state": "completed", "error": null, "output": {
                "url": "https://x", "n": 3, "ok": true, "none": null,
                "files": [{"name": "b", "size": 2, "ok": true}, {"name": "a", "size": 5, "ok": false}],
            }}),
        ),
        (
            "skipped".to_owned(),
            json!({"state": "skipped", "error": null, "output": null}),
        ),
    ])
}

/// What a template is worth among the steps above.
fn render_with(source: &str, budget: &mut Budget) -> Result<Value, Fault> {
    let (input, workflow, steps) = (
        json!({"name": "Ada", "list": [1, 2, 3]}),
        json!({"id": "7"}),
        steps(),
    );
    let item = json!({"id": 4});
    let scope = Scope {
        input: &input,
        workflow: &workflow,
        steps: &steps,
        item: Some((&item, 9)),
    };
    Template::parse(source)?.render(&scope, budget)
}

fn render(source: &str) -> Result<Value, Fault> {
    render_with(source, &mut Budget::default())
}

#[track_caller]
fn is_worth(source: &str, wanted: Value) {
    assert_eq!(render(source).unwrap(), wanted, "{source}");
}

#[track_caller]
fn fails(source: &str, message: &str) {
    let fault = render(source).unwrap_err();
    let shown: String = source.chars().take(80).collect();
    assert!(fault.message.contains(message), "{shown}: {fault}");
}

#[test]
fn a_sole_expression_keeps_its_type_and_anything_else_is_text() {
    is_worth("{{ steps.fetch.output.n }}", json!(3));
    is_worth(
        "{{ steps.fetch.output.files[0] }}",
        json!({"name": "b", "size": 2, "ok": true}),
    );
    is_worth("{{steps.fetch.output.n}} of {{ index }}", json!("3 of 9"));
    is_worth(" {{ index }}", json!(" 9"));
    is_worth("list: {{ input.list }}", json!("list: [1,2,3]"));
    is_worth("plain } text", json!("plain } text"));
    is_worth("", json!(""));
    is_worth("{{ \"{{\" }}", json!("{{"));
    is_worth("{{ '}}' }}", json!("}}"));
}

#[test]
fn operators_mean_what_they_say() {
    for (source, wanted) in [
        ("1 + 2 * 3", json!(7)),
        ("(1 + 2) * 3", json!(9)),
        ("7 / 2", json!(3.5)),
        ("8 / 2", json!(4)),
        ("7 % 4", json!(3)),
        ("-7 % 4", json!(1)),
        ("2 - -2", json!(4)),
        ("1 == 1.0", json!(true)),
        ("9007199254740993 > 9007199254740992.0", json!(true)),
        ("[2.5, 3, -1, 2] | sort", json!([-1, 2, 2.5, 3])),
        ("0 == -0.0", json!(true)),
        ("'a' < 'b' and not (2 <= 1)", json!(true)),
        ("2 in input.list", json!(true)),
        ("'ok' in steps.fetch.output", json!(true)),
        ("'http' in steps.fetch.output.url", json!(true)),
        ("false and missing.at.run", json!(false)),
        ("true or missing.at.run", json!(true)),
        ("'yes' if index > 3 else 'no'", json!("yes")),
        ("[1, 'a', item.id]", json!([1, "a", 4])),
        ("input['name']", json!("Ada")),
        ("input.list[-1]", json!(3)),
        ("null == steps.fetch.output.none", json!(true)),
    ] {
        is_worth(&format!("{{{{ {source} }}}}"), wanted);
    }
}

#[test]
fn filters_do_what_their_usage_says() {
    for (source, wanted) in [
        ("input.list | length", json!(3)),
        ("'äö' | length", json!(2)),
        ("input.list | first", json!(1)),
        ("input.list | last", json!(3)),
        ("input.list | sum", json!(6)),
        (
            "steps.fetch.output.files | map('name') | join('+')",
            json!("b+a"),
        ),
        (
            "steps.fetch.output.files | where('ok', false) | length",
            json!(1),
        ),
        (
            "steps.fetch.output.files | where('ok') | map('size')",
            json!([2]),
        ),
        (
            "steps.fetch.output.files | sort('name') | map('name')",
            json!(["a", "b"]),
        ),
        ("[[1], null, [2, 3]] | flatten", json!([1, 2, 3])),
        ("[1, 1.0, 2] | unique", json!([1, 2])),
        ("'a,b' | split(',')", json!(["a", "b"])),
        ("item | keys", json!(["id"])),
        ("item | values", json!([4])),
        ("' Ab ' | trim | upper | lower", json!("ab")),
        ("7 | text", json!("7")),
        ("item | json", json!("{\"id\":4}")),
        ("'12' | number + 1", json!(13)),
        ("steps.fetch.output.nothing | default('x')", json!("x")),
        ("steps.skipped.output.deep.down | default(0)", json!(0)),
        ("steps.fetch.output.none | default(0)", json!(0)),
        ("input.list[7] | default('none')", json!("none")),
    ] {
        is_worth(&format!("{{{{ {source} }}}}"), wanted);
    }
    let used: Vec<_> = FILTERS.iter().map(|filter| filter.usage).collect();
    assert!(used.iter().all(|usage| usage.starts_with('`')));
}

#[test]
fn what_is_not_there_is_a_fault_that_says_where() {
    fails("{{ steps.fetch.output.urn }}", "did you mean \"url\"");
    fails("{{ steps.fetsch.output }}", "\"fetsch\" has not ended");
    fails("{{ steps.skipped.output.url }}", "is null");
    fails("{{ nothing }}", "there is no `nothing`");
    fails("{{ steps }}", "name a step");
    fails("{{ input.list[3] }}", "no item 3 in a list of 3");
    let fault = render("one {{ input.name }} two {{ input.nome }}").unwrap_err();
    assert_eq!(
        fault.at,
        "one {{ input.name }} two {{ input".chars().count()
    );
}

#[test]
fn what_is_of_the_wrong_type_is_a_fault_even_with_a_default() {
    fails("{{ input.name + 1 }}", "numbers are wanted");
    fails(
        "{{ input.name.first | default(1) }}",
        "looked for in a text",
    );
    fails("{{ not input.name }}", "true or false is wanted");
    fails("{{ 1 < 'a' }}", "no order");
    fails("{{ 1 / 0 }}", "divided by zero");
    fails("{{ 9223372036854775807 + 1 }}", "too large");
    fails("{{ [] | first }}", "no first item");
    fails("name: {{ steps.fetch.output.none }}", "default");
    fails("{{ ['a', 1] | sort }}", "no order");
    fails("{{ 'x' | number }}", "spells no number");
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place() {
    for (source, message, at) in [
        ("{{ input.", "`}}` is missing", 9),
        ("{{ }}", "a value is wanted, not the end", 3),
        ("{{ a b }}", "an operator or the end is wanted, not `b`", 5),
        ("{{ a = b }}", "write `==`", 5),
        ("{{ 1 < 2 < 3 }}", "do not chain", 9),
        ("{{ x | shout }}", "no filter `shout`", 7),
        ("{{ x | joyn }}", "did you mean \"join\"", 7),
        ("{{ x | map }}", "takes 1 arguments, not 0", 7),
        ("{{ 'abc }}", "no closing", 3),
        ("{{ (1 }}", "`)` is wanted", 6),
        ("{{ 99999999999999999999 }}", "too large a number", 3),
        ("{{ 'a\\q' }}", "stands for nothing", 3),
    ] {
        let fault = Template::parse(source).unwrap_err();
        assert!(fault.message.contains(message), "{source}: {fault}");
        assert_eq!(fault.at, at, "{source}: {fault}");
    }
}

#[test]
fn an_expression_is_bounded_in_length_depth_and_parts() {
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(5_000), ")".repeat(5_000));
    fails(&deep, "levels deep at most");
    fails(
        &format!("{{{{ {}true }}}}", "not ".repeat(4_000)),
        "levels deep at most",
    );
    fails(&format!("{{{{ 1{} }}}}", "+1".repeat(900)), "parts at most");
    fails(&format!("{{{{ a{} }}}}", ".b".repeat(900)), "parts at most");
    fails(
        &format!("{{{{ '{}' }}}}", "x".repeat(3_000)),
        "characters at most",
    );
    fails(&"x".repeat(TEMPLATE_BYTES_MAX + 1), "bytes at most");
}

#[test]
fn a_budget_bounds_work_and_size() {
    let mut little_work = Budget::of(5, 1_000);
    let fault = render_with(
        "{{ steps.fetch.output.files | map('name') }}",
        &mut little_work,
    );
    assert!(fault.unwrap_err().message.contains("too much work"));
    let mut little_room = Budget::of(1_000, 20);
    let fault = render_with("{{ steps.fetch.output }}", &mut little_room);
    assert!(fault.unwrap_err().message.contains("too large"));
    // Sums of the whole tree, not of each template.
    let tree = json!({"a": "{{ input.list }}", "b": "{{ input.list }}"});
    let tree = Tree::parse(&tree, "t", &mut |path, fault| panic!("{path}: {fault}"));
    let (input, empty) = (json!({"list": [1, 2, 3]}), json!({}));
    let scope = Scope {
        input: &input,
        workflow: &empty,
        steps: &BTreeMap::new(),
        item: None,
    };
    assert!(tree.render(&scope, &mut Budget::of(100, 60)).is_ok());
    assert!(tree.render(&scope, &mut Budget::of(100, 40)).is_err());
}

#[test]
fn a_condition_is_true_or_false_with_or_without_braces() {
    let (input, empty) = (json!({"strict": true}), json!({}));
    let scope = Scope {
        input: &input,
        workflow: &empty,
        steps: &BTreeMap::new(),
        item: None,
    };
    for source in [
        "input.strict",
        "{{ input.strict }}",
        " {{input.strict == true}} ",
    ] {
        let condition = Condition::parse(source).unwrap();
        assert!(condition.holds(&scope, &mut Budget::default()).unwrap());
    }
    let number = Condition::parse("1").unwrap();
    let fault = number.holds(&scope, &mut Budget::default()).unwrap_err();
    assert!(fault.message.contains("not a number"), "{fault}");
    assert!(Condition::parse("{{ a }} and {{ b }}").is_err());
    assert!(Condition::parse("").is_err());
}

#[test]
fn every_path_that_may_be_read_is_known_before() {
    let reads = |source: &str| -> Vec<String> {
        let reads = Template::parse(source).unwrap().reads();
        reads.iter().map(|read| read.names.join(".")).collect()
    };
    assert_eq!(
        reads("{{ steps.a.output.x[0].y }} {{ input['n'] | default(steps.b.state) }}"),
        ["steps.a.output.x", "input.n", "steps.b.state"]
    );
    assert_eq!(
        reads("{{ steps.a.output if index in steps.c.output else [steps.d.error] }}"),
        ["index", "steps.c.output", "steps.a.output", "steps.d.error"]
    );
    assert_eq!(
        reads("{{ steps.a.output[input.k] }}"),
        ["input.k", "steps.a.output"]
    );
}

/// Anything that looks a little like an expression.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("steps.fetch.output"),
        Just(".files"),
        Just("[0]"),
        Just("[-1]"),
        Just("input.list"),
        Just("item"),
        Just("index"),
        Just(" | length"),
        Just(" | map('name')"),
        Just(" | where('ok')"),
        Just(" | sort"),
        Just(" | join(',')"),
        Just(" | flatten"),
        Just(" | default(1)"),
        Just(" and "),
        Just(" or "),
        Just(" not "),
        Just(" in "),
        Just(" if "),
        Just(" else "),
        Just(" + "),
        Just(" * "),
        Just(" / "),
        Just(" % "),
        Just(" == "),
        Just(" < "),
        Just("("),
        Just(")"),
        Just("["),
        Just("]"),
        Just(","),
        Just("'a'"),
        Just("\""),
        Just("1"),
        Just("2.5"),
        Just("9223372036854775807"),
        Just("{{ "),
        Just(" }}"),
        Just("ä"),
        Just("\\"),
        Just("true"),
        Just("null"),
        Just("-"),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(source in "\\PC*") {
        let bare = Expression::parse(&source);
        let braced = Template::parse(&format!("{{{{{source}}}}}"));
        for fault in [bare.err(), braced.err()].into_iter().flatten() {
            prop_assert!(!fault.to_string().is_empty());
        }
    }

    #[test]
    fn what_can_be_read_ends_within_its_budget_and_never_panics(source in pieces()) {
        let source = format!("{{{{ {source} }}}}");
        let mut budget = Budget::of(5_000, 5_000);
        if let Ok(value) = render_with(&source, &mut budget) {
            prop_assert!(value.to_string().len() <= 3 * 5_000 + source.len());
        }
    }

    #[test]
    fn text_without_braces_is_itself(source in "[^{]*") {
        prop_assert_eq!(render(&source).unwrap(), Value::from(source));
    }

    #[test]
    fn a_value_comes_through_unchanged(number in any::<i64>(), text in "\\PC{0,20}") {
        let value = json!({"n": number, "t": text, "l": [text, number]});
        let (empty, steps) = (json!({}), BTreeMap::new());
        let scope = Scope { input: &value, workflow: &empty, steps: &steps, item: None };
        let rendered = Template::parse("{{ input }}").unwrap().render(&scope, &mut Budget::default());
        prop_assert_eq!(rendered.unwrap(), value);
    }
}
