//! What is different between two versions.
//!
//! Objects are compared member by member. Lists of things that have a name (stages, columns, parameters)
//! are compared by these names, so that one more at the top is one difference; other lists item by item.

use std::collections::BTreeSet;

use protocol::{ChangeKind, Json, Playbook, PlaybookChange, PlaybookComparison, PlaybookVersion};
use serde_json::{Map, Value, json};

use crate::error::Error;

/// Differences that are told of at once.
const CHANGES_MAX: usize = 1_000;
/// By which member the items of a list are known.
const NAMES: &[&str] = &["id", "name", "slug"];

/// Compares two versions.
///
/// # Errors
/// When a difference cannot be written as JSON, which does not happen.
pub(super) fn compare(from: &Playbook, to: &Playbook) -> Result<PlaybookComparison, Error> {
    let mut found = Found::default();
    let (first, second) = (facts(from), facts(to));
    found.objects("", &first, &second);
    let is_truncated = found.changes.len() > CHANGES_MAX;
    found.changes.truncate(CHANGES_MAX);
    let changes = found.changes.into_iter().map(|change| {
        Ok(PlaybookChange {
            path: change.path,
            change: change.kind,
            from: change.from.as_ref().map(Json::of).transpose()?,
            to: change.to.as_ref().map(Json::of).transpose()?,
        })
    });
    Ok(PlaybookComparison {
        from: version(from),
        to: version(to),
        changes: changes.collect::<Result<_, Error>>()?,
        is_truncated,
    })
}

fn version(playbook: &Playbook) -> PlaybookVersion {
    PlaybookVersion {
        id: playbook.id,
        slug: playbook.slug.clone(),
        version: playbook.version,
        status: playbook.status,
    }
}

/// What is compared of a version: what somebody wrote, not when.
fn facts(playbook: &Playbook) -> Map<String, Value> {
    let facts = json!({
        "name": playbook.name,
        "description": playbook.description,
        "outcome": playbook.outcome,
        "lifecycle": playbook.lifecycle,
        "definition": playbook.definition.members(),
    });
    facts.as_object().cloned().unwrap_or_default()
}

#[derive(Default)]
struct Found {
    changes: Vec<Change>,
}

struct Change {
    path: String,
    kind: ChangeKind,
    from: Option<Value>,
    to: Option<Value>,
}

impl Found {
    fn note(&mut self, path: String, from: Option<&Value>, to: Option<&Value>) {
        let kind = match (from, to) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            _ => ChangeKind::Changed,
        };
        // One more than is told of, to know that there are more.
        if self.changes.len() <= CHANGES_MAX {
            self.changes.push(Change {
                path,
                kind,
                from: from.cloned(),
                to: to.cloned(),
            });
        }
    }

    fn either(&mut self, path: String, from: Option<&Value>, to: Option<&Value>) {
        match (from, to) {
            (Some(from), Some(to)) => self.values(path, from, to),
            (from, to) => self.note(path, from, to),
        }
    }

    fn values(&mut self, path: String, from: &Value, to: &Value) {
        match (from, to) {
            (from, to) if from == to => {}
            (Value::Object(from), Value::Object(to)) => self.objects(&path, from, to),
            (Value::Array(from), Value::Array(to)) => self.lists(&path, from, to),
            (from, to) => self.note(path, Some(from), Some(to)),
        }
    }

    fn objects(&mut self, path: &str, from: &Map<String, Value>, to: &Map<String, Value>) {
        let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
        for name in names {
            let below = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            self.either(below, from.get(name), to.get(name));
        }
    }

    fn lists(&mut self, path: &str, from: &[Value], to: &[Value]) {
        let by_name = NAMES
            .iter()
            .find_map(|member| Some((names_of(from, member)?, names_of(to, member)?)));
        if let Some((first, second)) = by_name {
            let mut in_both = Vec::new();
            for (name, item) in first.iter().zip(from) {
                let other = second.iter().position(|other| other == name);
                in_both.extend(other);
                self.either(
                    format!("{path}[{name}]"),
                    Some(item),
                    other.map(|place| &to[place]),
                );
            }
            for (place, name) in second.iter().enumerate() {
                if !first.contains(name) {
                    self.note(format!("{path}[{name}]"), None, Some(&to[place]));
                }
            }
            if !in_both.is_sorted() {
                let order = |names: &[&str]| Value::from(names.to_vec());
                let (first, second) = (order(&first), order(&second));
                self.note(format!("{path}[order]"), Some(&first), Some(&second));
            }
            return;
        }
        for place in 0..from.len().max(to.len()) {
            self.either(format!("{path}[{place}]"), from.get(place), to.get(place));
        }
    }
}

/// The names of the items of a list, if each has one and no two the same.
fn names_of<'v>(items: &'v [Value], member: &str) -> Option<Vec<&'v str>> {
    let names: Option<Vec<&str>> = items
        .iter()
        .map(|item| item.get(member).and_then(Value::as_str))
        .collect();
    let names = names?;
    let distinct: BTreeSet<&&str> = names.iter().collect();
    (distinct.len() == names.len()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(from: Value, to: Value) -> Vec<(String, ChangeKind)> {
        let mut found = Found::default();
        found.values("d".to_owned(), &from, &to);
        let changes = found.changes.into_iter();
        changes.map(|change| (change.path, change.kind)).collect()
    }

    #[test]
    fn what_is_the_same_is_not_told_of() {
        let same = json!({"a": [1, {"b": 2}]});
        assert_eq!(changes(same.clone(), same), []);
    }

    #[test]
    fn members_are_compared_one_by_one() {
        let found = changes(
            json!({"a": 1, "b": {"c": 2}}),
            json!({"b": {"c": 3}, "d": 4}),
        );
        let told = |path: &str, kind| (path.to_owned(), kind);
        assert_eq!(
            found,
            [
                told("d.a", ChangeKind::Removed),
                told("d.b.c", ChangeKind::Changed),
                told("d.d", ChangeKind::Added)
            ]
        );
    }

    #[test]
    fn things_with_names_are_compared_by_name() {
        let from = json!([{"name": "a", "goal": 1}, {"name": "b", "goal": 1}]);
        let to = json!([{"name": "new"}, {"name": "a", "goal": 2}, {"name": "b", "goal": 1}]);
        let told = |path: &str, kind| (path.to_owned(), kind);
        assert_eq!(
            changes(from.clone(), to),
            [
                told("d[a].goal", ChangeKind::Changed),
                told("d[new]", ChangeKind::Added)
            ]
        );
        let turned = json!([from[1], from[0]]);
        assert_eq!(
            changes(from, turned),
            [told("d[order]", ChangeKind::Changed)]
        );
    }
}
