//! The properties. Each answers with what disproves it.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{events_by_task, is_final, is_held};
use crate::evidence::{EventRow, Evidence};
use crate::history::{Call, End, Phase};

/// How late the end of a lease may be noticed, in seconds, before its task counts as stuck.
const EXPIRY_NOTICED_WITHIN: f64 = 5.0;

/// What only people and programs with an admin key do to a task that has ended.
const MOVES_FROM_THE_END: &[&str] = &[
    "retry",
    "reject",
    "request_changes",
    "reassign",
    "escalate",
    "skip",
    "override_output",
    "cancel",
];

/// Whatever was answered with success is there afterwards: the task, the run, the move.
pub(super) fn acknowledged_writes_are_kept(evidence: &Evidence) -> Vec<String> {
    let tasks: BTreeSet<(Uuid, Uuid)> = evidence
        .tasks
        .iter()
        .map(|task| (task.tenant, task.id))
        .collect();
    let runs: BTreeSet<Uuid> = evidence.runs.iter().map(|run| run.id).collect();
    let moves: BTreeSet<(Uuid, i32, &str)> = evidence
        .events
        .iter()
        .filter_map(|event| Some((event.task, event.attempt, event.reason.as_deref()?)))
        .collect();
    let states: BTreeSet<(Uuid, &str)> = evidence
        .events
        .iter()
        .map(|event| (event.task, event.to.as_str()))
        .collect();
    let is_kept = |op: &crate::history::Op| {
        let Some(answer) = op.answer() else {
            return true;
        };
        match (&op.call, answer.id) {
            (Call::Create { .. }, Some(id)) => tasks.contains(&(op.tenant, id)),
            (Call::Launch { .. }, Some(id)) => runs.contains(&id),
            // What has completed stays so, and the answer says it.
            (Call::Cancel { task, .. }, _) => answer.state.as_deref().is_some_and(|state| {
                matches!(state, "cancelled" | "completed") && states.contains(&(*task, state))
            }),
            (Call::Claim { .. }, Some(id)) => {
                moves.contains(&(id, answer.attempt.unwrap_or(0), "claim"))
            }
            (Call::Report { end, task, attempt }, _) => reasons(*end)
                .iter()
                .any(|reason| moves.contains(&(*task, *attempt, reason))),
            (Call::Read { .. } | Call::Run { .. }, _) | (_, None) => true,
        }
    };
    let lost = evidence.ops.iter().filter(|op| !is_kept(op));
    lost.map(|op| {
        format!(
            "{:?} was acknowledged to {} and is not there",
            op.call, op.client
        )
    })
    .collect()
}

/// The moves by which an attempt can end in a way.
fn reasons(end: End) -> &'static [&'static str] {
    match end {
        End::Complete => &["complete", "hold_for_assessment", "cancel"],
        End::Fail => &["fail", "schedule_retry", "cancel"],
        // Whoever hands back what was just taken away has what it wanted.
        End::Release => &["release", "lose_lease", "cancel"],
    }
}

/// At any moment at most one attempt holds a task, and each attempt is handed out once and run once.
pub(super) fn a_task_has_at_most_one_live_lease(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    let mut places: BTreeMap<Uuid, Vec<&str>> = BTreeMap::new();
    for place in &evidence.places {
        places.entry(place.task).or_default().push(&place.state);
    }
    for task in &evidence.tasks {
        let states = places.get(&task.id).map_or(&[][..], Vec::as_slice);
        if states.len() != 1 {
            found.push(format!("task {} lies in {states:?}", task.id));
        }
    }
    for (task, events) in events_by_task(evidence) {
        let mut attempt = 0;
        for event in events {
            if event.reason.as_deref() == Some("claim") {
                if event.attempt != attempt + 1 {
                    found.push(format!(
                        "task {task}: attempt {} was claimed after attempt {attempt}",
                        event.attempt
                    ));
                }
                attempt = event.attempt;
            }
        }
    }
    let mut runs = BTreeSet::new();
    for op in &evidence.ops {
        if let Call::Run { task, attempt } = op.call
            && !runs.insert((task, attempt))
        {
            found.push(format!("attempt {attempt} of task {task} was run twice"));
        }
    }
    found
}

/// A move that a holder makes is made by the attempt that was claimed last, while it holds the task.
pub(super) fn a_stale_attempt_changes_nothing(evidence: &Evidence) -> Vec<String> {
    const OF_HOLDERS: &[&str] = &[
        "start",
        "complete",
        "hold_for_assessment",
        "fail",
        "schedule_retry",
        "release",
        "lose_lease",
    ];
    let mut found = Vec::new();
    for (task, events) in events_by_task(evidence) {
        let mut holder = None;
        for event in events {
            let reason = event.reason.as_deref().unwrap_or_default();
            if reason == "claim" {
                holder = Some(event.attempt);
            } else if OF_HOLDERS.contains(&reason) && holder != Some(event.attempt) {
                found.push(format!(
                    "task {task}: attempt {} made the move {reason} while {holder:?} held it",
                    event.attempt
                ));
            }
            if !is_held(&event.to) {
                holder = None;
            }
        }
    }
    found
}

/// The events of a task are numbered without a gap, each begins where the one before ended, and only people
/// or programs with an admin key lead a task out of an end.
pub(super) fn a_task_ends_once_and_its_events_have_no_gap(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    let by_task = events_by_task(evidence);
    for place in &evidence.places {
        let events = by_task.get(&place.task).map_or(&[][..], Vec::as_slice);
        let numbers: Vec<i32> = events.iter().map(|event| event.task_seq).collect();
        if numbers != (1..=place.task_seq).collect::<Vec<_>>() {
            found.push(format!(
                "task {} has the events {numbers:?}, not 1 to {}",
                place.task, place.task_seq
            ));
        }
        let last = events.last().map(|event| event.to.as_str());
        if last != Some(&place.state) {
            found.push(format!(
                "task {} is {}, and its events say {last:?}",
                place.task, place.state
            ));
        }
        for pair in events.windows(2) {
            let reason = pair[1].reason.as_deref().unwrap_or_default();
            if pair[1].from.as_deref() != Some(&pair[0].to) {
                found.push(format!(
                    "task {} went from {:?} after it was {}",
                    place.task, pair[1].from, pair[0].to
                ));
            }
            let by_system = pair[1].actor_type == "system";
            if is_final(&pair[0].to) && (by_system || !MOVES_FROM_THE_END.contains(&reason)) {
                found.push(format!(
                    "task {} was {} and then made the move {reason}",
                    place.task, pair[0].to
                ));
            }
        }
    }
    found
}

/// However often a request was sent under one id, it made one thing, and every answer names that thing.
pub(super) fn a_request_id_has_one_effect(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    let mut answers: BTreeMap<(Uuid, String), BTreeSet<(Uuid, i32)>> = BTreeMap::new();
    for op in &evidence.ops {
        let (Call::Create { request_id: key }
        | Call::Launch { request_id: key }
        | Call::Claim {
            request_id: key, ..
        }) = &op.call
        else {
            continue;
        };
        if let Some((id, answer)) = op.answer().and_then(|answer| Some((answer.id?, answer))) {
            let thing = (id, answer.attempt.unwrap_or(0));
            answers
                .entry((op.tenant, key.clone()))
                .or_default()
                .insert(thing);
        }
    }
    for ((_, key), things) in &answers {
        if things.len() > 1 {
            found.push(format!("{key} was answered with {things:?}"));
        }
    }
    let mut made: BTreeMap<(Uuid, &str), usize> = BTreeMap::new();
    for task in &evidence.tasks {
        if let Some(request_id) = &task.request_id {
            *made.entry((task.tenant, request_id)).or_default() += 1;
        }
    }
    let mut launched: BTreeMap<&str, usize> = BTreeMap::new();
    for run in &evidence.runs {
        *launched.entry(&run.name).or_default() += 1;
    }
    let counts = made
        .iter()
        .map(|((_, key), count)| (*key, *count))
        .chain(launched);
    found.extend(
        counts
            .filter(|(_, count)| *count > 1)
            .map(|(key, count)| format!("{key} made {count} things")),
    );
    found
}

/// What a holder is told to have in use is the number of its live leases, and at no claim were they more than
/// its capacity.
pub(super) fn capacity_used_is_counted_from_live_leases(evidence: &Evidence) -> Vec<String> {
    let mut leases: BTreeMap<Uuid, i64> = BTreeMap::new();
    for place in evidence.places.iter().filter(|place| is_held(&place.state)) {
        for holder in [place.agent, place.worker].into_iter().flatten() {
            *leases.entry(holder).or_default() += 1;
        }
    }
    let wrong = evidence.holders.iter().filter_map(|holder| {
        let live = leases.get(&holder.id).copied().unwrap_or(0);
        let is_right = live == holder.leases_told && live <= holder.capacity;
        (!is_right).then(|| {
            format!(
                "holder {} of capacity {} has {live} leases and is told {}",
                holder.id, holder.capacity, holder.leases_told
            )
        })
    });
    wrong.chain(claims_beyond_capacity(evidence)).collect()
}

/// Claims after which a holder had more leases than it may.
///
/// An end whose event has a later number than a claim's had not happened when that claim was granted. So what
/// is counted here is never more than what was there.
fn claims_beyond_capacity(evidence: &Evidence) -> Vec<String> {
    let capacity: BTreeMap<Uuid, usize> = evidence
        .holders
        .iter()
        .map(|holder| (holder.id, usize::try_from(holder.capacity).unwrap_or(0)))
        .collect();
    let mut events: Vec<&EventRow> = evidence.events.iter().collect();
    events.sort_by_key(|event| event.number);
    let mut holder_of: BTreeMap<Uuid, Uuid> = BTreeMap::new();
    let mut held: BTreeMap<Uuid, BTreeSet<Uuid>> = BTreeMap::new();
    let mut found = Vec::new();
    for event in events {
        let is_claim = event.reason.as_deref() == Some("claim");
        if (is_claim || !is_held(&event.to))
            && let Some(holder) = holder_of.remove(&event.task)
        {
            held.entry(holder).or_default().remove(&event.task);
        }
        let Some(holder) = event.actor.filter(|_| is_claim) else {
            continue;
        };
        holder_of.insert(event.task, holder);
        let held = held.entry(holder).or_default();
        held.insert(event.task);
        if capacity
            .get(&holder)
            .is_some_and(|capacity| held.len() > *capacity)
        {
            found.push(format!(
                "holder {holder} was given task {} as its lease number {}",
                event.task,
                held.len()
            ));
        }
    }
    found
}

/// Every task that has not ended has a next moment, or a named reason why it waits; every run has an open step.
pub(super) fn nothing_unfinished_is_stuck(evidence: &Evidence) -> Vec<String> {
    let states: BTreeMap<Uuid, &str> = evidence
        .places
        .iter()
        .map(|place| (place.task, place.state.as_str()))
        .collect();
    let mut open_needs: BTreeMap<Uuid, i32> = BTreeMap::new();
    for (task, needs) in &evidence.edges {
        if states.get(needs).is_some_and(|state| *state != "completed") {
            *open_needs.entry(*task).or_default() += 1;
        }
    }
    let mut found = Vec::new();
    for place in &evidence.places {
        let open = open_needs.get(&place.task).copied().unwrap_or(0);
        let stuck = match place.state.as_str() {
            "pending" if place.blocked_count > 0 => {
                (open == 0).then_some("waits for tasks that have all ended")
            }
            "pending" => (!place.has_reason).then_some("waits for nothing"),
            "claimed" | "in_progress" => {
                let left = place.lease_left.unwrap_or(f64::NEG_INFINITY);
                (left < -EXPIRY_NOTICED_WITHIN).then_some("is held by a lease that ended long ago")
            }
            _ => None,
        };
        found.extend(stuck.map(|why| format!("task {} {why}", place.task)));
    }
    let is_stuck = |state: &str, has_open: bool| matches!(state, "pending" | "active") && !has_open;
    let runs = evidence
        .runs
        .iter()
        .filter(|run| is_stuck(&run.state, run.has_open_step));
    found.extend(runs.map(|run| {
        format!(
            "run {} is {} and none of its steps is open",
            run.id, run.state
        )
    }));
    found
}

/// After the faults, and with workers there, every task and every run comes to an end.
pub(super) fn everything_ends_once_the_faults_are_over(evidence: &Evidence) -> Vec<String> {
    if !evidence.is_over {
        return Vec::new();
    }
    let tasks = evidence
        .places
        .iter()
        .filter(|place| !is_final(&place.state));
    let runs = evidence.runs.iter().filter(|run| !is_final(&run.state));
    tasks
        .map(|place| {
            format!(
                "task {} is still {} in attempt {}",
                place.task, place.state, place.attempt
            )
        })
        .chain(runs.map(|run| format!("run {} is still {}", run.id, run.state)))
        .collect()
}

/// An answer holds rows of the tenant that asked, and of no other.
pub(super) fn no_answer_shows_a_row_of_another_tenant(evidence: &Evidence) -> Vec<String> {
    let foreign = evidence.ops.iter().filter_map(|op| {
        let stranger = op
            .answer()?
            .tenants
            .iter()
            .find(|tenant| **tenant != op.tenant)?;
        Some(format!(
            "{} of tenant {} was shown a row of {stranger}: {:?}",
            op.client, op.tenant, op.call
        ))
    });
    foreign.collect()
}

/// A secret that programs print is in no log, no event, no row and no file.
pub(super) fn no_secret_is_written_anywhere(evidence: &Evidence) -> Vec<String> {
    evidence.secrets_seen.clone()
}

/// Under faults a request may be refused for a while (429, 503), or because of what it asks for, but never
/// with an error of the platform's own.
pub(super) fn no_refusal_is_the_platforms_own_fault(evidence: &Evidence) -> Vec<String> {
    let faults = evidence.ops.iter().filter_map(|op| match &op.end {
        Some(Phase::Fail { status, why }) if *status >= 500 && *status != 503 => {
            Some(format!("{:?} of {} was answered {why}", op.call, op.client))
        }
        _ => None,
    });
    faults.collect()
}
