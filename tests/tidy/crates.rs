//! Crates of others: which of them are there twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::root;

/// What stands between two marks, wherever they are.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    let parts = text.split(before).skip(1);
    parts.filter_map(|part| part.split(after).next()).collect()
}

#[test]
fn a_crate_that_is_there_twice_stands_in_the_list_with_its_reason() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("it is there");
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let name = between(package, "name = \"", "\"")[0];
        versions
            .entry(name)
            .or_default()
            .push(between(package, "version = \"", "\"")[0]);
    }
    let deny = fs::read_to_string(root().join("deny.toml")).expect("it is there");
    let skipped = between(&deny, "skip = [", "\n]")[0];
    let reasons = between(skipped, "reason = \"", "\"");
    assert!(reasons.iter().all(|reason| !reason.is_empty()));
    let listed: BTreeSet<&str> = between(skipped, "crate = \"", "\"").into_iter().collect();
    assert_eq!(
        listed.len(),
        reasons.len(),
        "an entry has no reason, or stands there twice"
    );
    // All but one version of each are listed; which one is left over is the newest.
    let mut expected = BTreeSet::new();
    for (name, mut found) in versions {
        let number = |version: &str| -> Vec<u64> {
            version
                .split(['.', '-', '+'])
                .filter_map(|part| part.parse().ok())
                .collect()
        };
        found.sort_by_key(|version| number(version));
        found.pop();
        expected.extend(found.into_iter().map(|version| format!("{name}@{version}")));
    }
    let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
    assert_eq!(
        listed, expected,
        "what deny.toml lists, and what Cargo.lock has twice"
    );
}
