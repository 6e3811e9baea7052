//! Proves or disproves, from what is left of a run, that nothing was lost, believed twice, or stuck.
//!
//! A property is one function and one sentence. It names what disproves it; nothing is proof enough that
//! it holds for this run. `histories` has runs that must be found out.

mod histories;
mod properties;

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::evidence::{EventRow, Evidence};

/// What must be true of every run.
pub(crate) struct Property {
    /// Its name.
    pub(crate) name: &'static str,
    /// What disproves it.
    pub(crate) violations: fn(&Evidence) -> Vec<String>,
}

macro_rules! properties {
    ($($name:ident,)*) => { &[$(Property { name: stringify!($name), violations: properties::$name }),*] };
}

/// Every property, in the order in which they are checked.
pub(crate) const PROPERTIES: &[Property] = properties![
    acknowledged_writes_are_kept,
    a_task_has_at_most_one_live_lease,
    a_stale_attempt_changes_nothing,
    a_task_ends_once_and_its_events_have_no_gap,
    a_request_id_has_one_effect,
    capacity_used_is_counted_from_live_leases,
    nothing_unfinished_is_stuck,
    everything_ends_once_the_faults_are_over,
    no_answer_shows_a_row_of_another_tenant,
    no_secret_is_written_anywhere,
    no_refusal_is_the_platforms_own_fault,
];

/// Checks every property, and tells what disproves them.
pub(crate) fn check(evidence: &Evidence) -> Vec<String> {
    let told = |property: &Property| -> Vec<String> {
        let found = (property.violations)(evidence);
        found
            .iter()
            .map(|what| format!("{}: {what}", property.name))
            .collect()
    };
    PROPERTIES.iter().flat_map(told).collect()
}

/// The events of each task, in their order.
fn events_by_task(evidence: &Evidence) -> BTreeMap<Uuid, Vec<&EventRow>> {
    let mut by_task: BTreeMap<Uuid, Vec<&EventRow>> = BTreeMap::new();
    for event in &evidence.events {
        by_task.entry(event.task).or_default().push(event);
    }
    for events in by_task.values_mut() {
        events.sort_by_key(|event| event.task_seq);
    }
    by_task
}

fn is_held(state: &str) -> bool {
    matches!(state, "claimed" | "in_progress")
}

fn is_final(state: &str) -> bool {
    matches!(state, "completed" | "failed" | "cancelled")
}
