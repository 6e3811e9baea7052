//! Which step follows on which, and whether every step has its turn.

use std::collections::{BTreeMap, BTreeSet};

use super::step::Step;

/// Who needs a step, for every step that is needed.
pub(super) fn dependants(steps: &BTreeMap<String, Step>) -> BTreeMap<String, Vec<String>> {
    let mut dependants: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for step in steps.values() {
        for need in &step.needs {
            let known = dependants.entry(need.clone()).or_default();
            known.push(step.id.clone());
        }
    }
    dependants
}

/// What keeps steps from ever running.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Blocked {
    /// Steps that wait for one another, each list in the order of waiting.
    pub(super) cycles: Vec<Vec<String>>,
    /// Steps that wait for one of those, and for which one.
    pub(super) behind: Vec<(String, String)>,
}

/// Finds the cycles among needs, and who waits for them. Needs that do not exist are no concern of it.
pub(super) fn blocked(needs: &BTreeMap<&str, Vec<&str>>) -> Blocked {
    // Take away what can have its turn, until nothing more can.
    let mut waits_for: BTreeMap<&str, usize> = BTreeMap::new();
    let mut needed_by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (step, needed) in needs {
        let known = needed.iter().filter(|need| needs.contains_key(*need));
        waits_for.insert(step, known.clone().count());
        for need in known {
            needed_by.entry(need).or_default().push(step);
        }
    }
    let mut free: Vec<&str> = Vec::new();
    free.extend(
        waits_for
            .iter()
            .filter(|(_, open)| **open == 0)
            .map(|(step, _)| *step),
    );
    while let Some(step) = free.pop() {
        waits_for.remove(step);
        for dependant in needed_by.get(step).into_iter().flatten() {
            if let Some(open) = waits_for.get_mut(dependant) {
                *open -= 1;
                if *open == 0 {
                    free.push(dependant);
                }
            }
        }
    }
    // Whoever is left waits in a cycle, or for one. Going from need to need must come round.
    let mut found = Blocked::default();
    let mut in_cycles: BTreeSet<&str> = BTreeSet::new();
    let mut visited: BTreeSet<&str> = BTreeSet::new();
    for start in waits_for.keys().copied() {
        let mut trail: Vec<&str> = Vec::new();
        let mut here = start;
        while visited.insert(here) {
            trail.push(here);
            let next = needs[here]
                .iter()
                .find(|need| waits_for.contains_key(*need));
            here = next.expect("what waits, waits for something that waits");
        }
        if let Some(place) = trail.iter().position(|step| *step == here) {
            let cycle = &trail[place..];
            in_cycles.extend(cycle);
            found
                .cycles
                .push(cycle.iter().map(|step| (*step).to_owned()).collect());
        }
    }
    for step in waits_for
        .keys()
        .copied()
        .filter(|step| !in_cycles.contains(step))
    {
        let need = needs[step]
            .iter()
            .find(|need| waits_for.contains_key(*need));
        let need = need.expect("what waits, waits for something that waits");
        found.behind.push((step.to_owned(), (*need).to_owned()));
    }
    found
}
