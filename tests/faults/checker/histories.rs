//! Runs that are sound, and runs that must be found out.

use uuid::Uuid;

use super::{PROPERTIES, check};
use crate::evidence::{EventRow, Evidence, HolderRow, PlaceRow, RunRow, TaskRow};
use crate::history::{Answer, Call, End, Op, Phase};

const TENANT: Uuid = Uuid::from_u128(1);
const TASK: Uuid = Uuid::from_u128(2);
const AGENT: Uuid = Uuid::from_u128(3);
const RUN: Uuid = Uuid::from_u128(4);
const OTHER: Uuid = Uuid::from_u128(5);

fn op(call: Call, end: Phase) -> Op {
    Op {
        client: "w1".to_owned(),
        tenant: TENANT,
        call,
        end: Some(end),
    }
}

fn ok(id: Uuid, attempt: Option<i32>) -> Phase {
    Phase::Ok(Answer {
        id: Some(id),
        state: Some("cancelled".to_owned()),
        attempt,
        tenants: vec![TENANT],
    })
}

fn event(task_seq: i32, attempt: i32, from: &str, to: &str, reason: &str) -> EventRow {
    EventRow {
        task: TASK,
        task_seq,
        attempt,
        from: (task_seq > 1).then(|| from.to_owned()),
        to: to.to_owned(),
        reason: (task_seq > 1).then(|| reason.to_owned()),
        actor_type: "agent".to_owned(),
        actor: Some(AGENT),
        number: i64::from(task_seq),
    }
}

/// A task that is created, claimed, lost, claimed again and completed, in a run that ends.
fn sound() -> Evidence {
    let report = Call::Report {
        end: End::Complete,
        task: TASK,
        attempt: 2,
    };
    let claim = |request_id: &str| Call::Claim {
        agent: AGENT,
        request_id: request_id.to_owned(),
    };
    Evidence {
        ops: vec![
            op(
                Call::Create {
                    request_id: "c1".to_owned(),
                },
                Phase::Unknown {
                    why: "cut".to_owned(),
                },
            ),
            op(
                Call::Create {
                    request_id: "c1".to_owned(),
                },
                ok(TASK, None),
            ),
            op(
                Call::Launch {
                    request_id: "l1".to_owned(),
                },
                ok(RUN, None),
            ),
            op(claim("k1"), ok(TASK, Some(1))),
            op(claim("k2"), ok(TASK, Some(2))),
            op(
                Call::Run {
                    task: TASK,
                    attempt: 2,
                },
                ok(TASK, Some(2)),
            ),
            op(report, ok(TASK, None)),
            op(
                Call::Read {
                    what: "tasks".to_owned(),
                },
                ok(TASK, None),
            ),
        ],
        tasks: vec![TaskRow {
            tenant: TENANT,
            id: TASK,
            request_id: Some("c1".to_owned()),
        }],
        places: vec![PlaceRow {
            task: TASK,
            state: "completed".to_owned(),
            attempt: 2,
            task_seq: 7,
            has_reason: true,
            ..PlaceRow::default()
        }],
        events: vec![
            event(1, 0, "", "ready", ""),
            event(2, 1, "ready", "claimed", "claim"),
            event(3, 1, "claimed", "in_progress", "start"),
            event(4, 1, "in_progress", "ready", "lose_lease"),
            event(5, 2, "ready", "claimed", "claim"),
            event(6, 2, "claimed", "in_progress", "start"),
            event(7, 2, "in_progress", "completed", "complete"),
        ],
        holders: vec![HolderRow {
            id: AGENT,
            capacity: 1,
            leases_told: 0,
        }],
        runs: vec![RunRow {
            id: RUN,
            name: "l1".to_owned(),
            state: "completed".to_owned(),
            has_open_step: false,
        }],
        edges: Vec::new(),
        secrets_seen: Vec::new(),
        is_over: true,
    }
}

/// Asserts that a change of the sound run disproves this property, whatever else it disproves.
fn disproves(property: &str, change: impl FnOnce(&mut Evidence)) {
    let mut evidence = sound();
    change(&mut evidence);
    let found = check(&evidence);
    assert!(
        found
            .iter()
            .any(|what| what.starts_with(&format!("{property}: "))),
        "{property} was not disproved, only {found:?}"
    );
}

fn hold(evidence: &mut Evidence, attempt: i32) {
    evidence.events.truncate(6);
    let place = &mut evidence.places[0];
    (place.state, place.task_seq, place.attempt) = ("in_progress".to_owned(), 6, attempt);
    (place.agent, place.lease_left) = (Some(AGENT), Some(3.0));
}

#[test]
fn a_sound_run_is_believed() {
    assert_eq!(check(&sound()), Vec::<String>::new());
}

#[test]
fn each_property_can_be_disproved() {
    type Change = fn(&mut Evidence);
    let histories: &[(&str, Change)] = &[
        ("acknowledged_writes_are_kept", |e| e.tasks.clear()),
        ("acknowledged_writes_are_kept", |e| e.runs.clear()),
        ("acknowledged_writes_are_kept", |e| {
            let call = Call::Cancel {
                task: TASK,
                request_id: "x".to_owned(),
            };
            e.ops.push(op(call, ok(TASK, None)));
        }),
        // The first attempt is told that it has completed the task.
        ("acknowledged_writes_are_kept", |e| {
            let call = Call::Report {
                end: End::Complete,
                task: TASK,
                attempt: 1,
            };
            e.ops.push(op(call, ok(TASK, None)));
        }),
        ("a_task_has_at_most_one_live_lease", |e| {
            let place = e.places[0].clone();
            e.places.push(PlaceRow {
                state: "in_progress".to_owned(),
                ..place
            });
        }),
        ("a_task_has_at_most_one_live_lease", |e| {
            e.events[4].attempt = 1;
        }),
        ("a_task_has_at_most_one_live_lease", |e| {
            let again = e.ops[5].clone();
            e.ops.push(again);
        }),
        // The first attempt completes what the second one holds.
        ("a_stale_attempt_changes_nothing", |e| {
            e.events[6].attempt = 1;
        }),
        // The first attempt completes what nobody holds.
        ("a_stale_attempt_changes_nothing", |e| {
            e.events.truncate(4);
            e.events.push(event(5, 1, "ready", "completed", "complete"));
        }),
        ("a_task_ends_once_and_its_events_have_no_gap", |e| {
            drop(e.events.remove(3));
        }),
        ("a_task_ends_once_and_its_events_have_no_gap", |e| {
            e.places[0].state = "failed".to_owned();
        }),
        ("a_task_ends_once_and_its_events_have_no_gap", |e| {
            e.events.push(event(8, 2, "completed", "failed", "fail"));
            e.places[0].task_seq = 8;
            e.places[0].state = "failed".to_owned();
        }),
        ("a_request_id_has_one_effect", |e| {
            let mut twin = e.tasks[0].clone();
            twin.id = OTHER;
            e.tasks.push(twin);
        }),
        ("a_request_id_has_one_effect", |e| {
            e.ops.push(op(
                Call::Create {
                    request_id: "c1".to_owned(),
                },
                ok(OTHER, None),
            ));
        }),
        ("a_request_id_has_one_effect", |e| {
            let call = Call::Claim {
                agent: AGENT,
                request_id: "k1".to_owned(),
            };
            e.ops.push(op(call, ok(TASK, Some(2))));
        }),
        ("capacity_used_is_counted_from_live_leases", |e| {
            e.holders[0].leases_told = 1;
        }),
        ("capacity_used_is_counted_from_live_leases", |e| {
            hold(e, 2);
            e.holders[0].capacity = 0;
            e.holders[0].leases_told = 1;
        }),
        // It is given another task while it holds the first one.
        ("capacity_used_is_counted_from_live_leases", |e| {
            let mut other = event(2, 1, "ready", "claimed", "claim");
            (other.task, other.number) = (OTHER, 6);
            e.events.push(other);
        }),
        ("nothing_unfinished_is_stuck", |e| {
            hold(e, 2);
            e.places[0].lease_left = Some(-60.0);
        }),
        ("nothing_unfinished_is_stuck", |e| {
            e.places[0].state = "pending".to_owned();
            e.places[0].has_reason = false;
        }),
        ("nothing_unfinished_is_stuck", |e| {
            e.places[0].state = "pending".to_owned();
            e.places[0].blocked_count = 1;
        }),
        ("nothing_unfinished_is_stuck", |e| {
            e.runs[0].state = "active".to_owned();
        }),
        ("everything_ends_once_the_faults_are_over", |e| hold(e, 2)),
        ("no_answer_shows_a_row_of_another_tenant", |e| {
            let Some(Phase::Ok(answer)) = &mut e.ops[7].end else {
                panic!("a read")
            };
            answer.tenants.push(OTHER);
        }),
        ("no_secret_is_written_anywhere", |e| {
            e.secrets_seen.push("a log".to_owned());
        }),
        ("no_refusal_is_the_platforms_own_fault", |e| {
            e.ops[0].end = Some(Phase::Fail {
                status: 500,
                why: "INTERNAL_ERROR".to_owned(),
            });
        }),
    ];
    for (property, change) in histories {
        disproves(property, change);
    }
    for property in PROPERTIES {
        assert!(
            histories.iter().any(|(name, _)| *name == property.name),
            "no history disproves {}",
            property.name
        );
    }
}
