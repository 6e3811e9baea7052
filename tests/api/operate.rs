//! What operators do with tasks, and every move there is: from each state what is possible happens, and
//! what is not is refused and changes nothing.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stint_platform::tasks::MOVES;
use stint_protocol::client::ClientError;
use stint_protocol::{
    CancelTask, ClaimedTask, ErrorCode, OnDependencyFailure, Priority, ReasonCode, ReleaseTask,
    RetryPolicy, RetryTask, StartTask, Task, TaskId, TaskMove, TaskState, UpdateTask,
};
use stint_tests::{TestPlatform, TestWorker, object, refused, refused_because, test};
use uuid::Uuid;

const FORCE: RetryTask = RetryTask {
    override_input: None,
    force: Some(true),
    request_id: None,
};

async fn cancel(t: &TestPlatform, task: TaskId) -> Result<Task, ClientError> {
    t.admin().cancel_task(task, &CancelTask::default()).await
}

async fn retry(t: &TestPlatform, task: TaskId) -> Result<Task, ClientError> {
    t.admin().retry_task(task, &RetryTask::default()).await
}

async fn force_retry(t: &TestPlatform, task: TaskId) -> Result<Task, ClientError> {
    t.admin().retry_task(task, &FORCE).await
}

/// Reports an output that did not pass its verification.
async fn complete_doubtfully(worker: &TestWorker, held: &ClaimedTask) -> Task {
    let mut completion = TestWorker::completion(held, json!(1));
    completion.verification = Some(object(json!({"passed": false})));
    worker
        .agent
        .complete_task(held.id, &completion)
        .await
        .expect("a completion")
}

#[test]
fn a_failed_task_can_be_retried() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await.id;
        let held = worker.begin().await;
        worker.fail(&held, "broken").await.expect("a failure");
        let again = retry(t, task).await.expect("a retry");
        assert_eq!((again.state, again.retry_count), (TaskState::Ready, 1));
        assert_eq!(again.error, None);
        let held = worker.claim_one().await;
        assert_eq!((held.id, held.attempt), (task, 2));
    });
}

#[test]
fn a_retry_may_bring_another_input() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await.id;
        let held = worker.begin().await;
        worker.fail(&held, "broken").await.expect("a failure");
        let input = object(json!({"colour": "blue"}));
        let wanted = RetryTask {
            override_input: Some(input.clone()),
            ..RetryTask::default()
        };
        t.admin().retry_task(task, &wanted).await.expect("a retry");
        assert_eq!(worker.claim_one().await.input, input);
    });
}

#[test]
fn a_completed_task_is_retried_only_with_force() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await.id;
        let held = worker.begin().await;
        worker
            .complete(&held, json!(1))
            .await
            .expect("a completion");
        let refusal = refused_because(retry(t, task).await, ReasonCode::StateChanged);
        assert_eq!(refusal.code, ErrorCode::Conflict);
        assert_eq!(t.state(task).await, TaskState::Completed);
        let again = force_retry(t, task).await.expect("a retry");
        assert_eq!((again.state, again.output), (TaskState::Ready, None));
        assert_eq!(worker.claim_one().await.attempt, 2);
    });
}

#[test]
fn a_held_task_is_not_retried_even_with_force() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await.id;
        let held = worker.claim_one().await;
        for state in [TaskState::Claimed, TaskState::InProgress] {
            for refused in [retry(t, task).await, force_retry(t, task).await] {
                refused_because(refused, ReasonCode::StateChanged);
            }
            assert_eq!(t.state(task).await, state);
            worker.start(&held).await.expect("a start");
        }
        worker
            .complete(&held, json!(1))
            .await
            .expect("the attempt goes on");
    });
}

#[test]
fn a_retry_of_a_ready_task_changes_nothing() {
    test(async |t| {
        let task = t.create("paint").await.id;
        for ready in [retry(t, task).await, force_retry(t, task).await] {
            let ready = ready.expect("it is what was wanted");
            assert_eq!((ready.state, ready.retry_count), (TaskState::Ready, 0));
        }
        assert_eq!(t.steps(task).await.len(), 1);
    });
}

#[test]
fn a_held_task_can_be_cancelled_and_its_holder_learns_of_it() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await.id;
        let held = worker.begin().await;
        let wanted = CancelTask {
            reason: Some("not needed any more".to_owned()),
            ..CancelTask::default()
        };
        let cancelled = t.admin().cancel_task(task, &wanted).await;
        assert_eq!(
            cancelled.expect("a cancellation").state,
            TaskState::Cancelled
        );
        let refusal = refused_because(
            worker.complete(&held, json!(1)).await,
            ReasonCode::LeaseLost,
        );
        assert_eq!(refusal.code, ErrorCode::Conflict);
        let details = refusal.details.expect("it tells where the task is");
        assert_eq!(details.current_state.as_deref(), Some("cancelled"));
        assert_eq!(t.state(task).await, TaskState::Cancelled);
        t.create("next").await;
        assert_eq!(worker.claim_one().await.title, "next");
    });
}

#[test]
fn a_completed_task_stays_completed_when_it_is_cancelled() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await.id;
        let held = worker.begin().await;
        worker
            .complete(&held, json!(1))
            .await
            .expect("a completion");
        let steps = t.steps(task).await;
        let path = format!("/api/v1/tasks/{task}/cancel");
        let answer = t.post(&path, t.admin_key(), &json!({})).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.data()["state"], "completed");
        assert_eq!(t.steps(task).await, steps);
    });
}

#[test]
fn facts_can_be_changed_and_the_state_stays() {
    test(async |t| {
        let parent = t.create("parent").await.id;
        let task = t
            .create_with("paint", |task| {
                task.metadata = Some(object(json!({"a": 1, "b": 2})));
            })
            .await;
        let change = UpdateTask {
            title: Some("paint it blue".to_owned()),
            description: Some("all of it".to_owned()),
            timeout_minutes: Some(7),
            metadata: Some(object(json!({"b": null, "c": 3}))),
            parent_id: Some(parent),
            ..UpdateTask::default()
        };
        let changed = t.admin().update_task(task.id, &change).await;
        let changed = changed.expect("a change");
        assert_eq!(changed.title, "paint it blue");
        assert_eq!(changed.description.as_deref(), Some("all of it"));
        assert_eq!(changed.timeout_minutes, 7);
        assert_eq!(changed.metadata, object(json!({"a": 1, "c": 3})));
        assert_eq!(changed.parent_id, Some(parent));
        assert_eq!(changed.state, TaskState::Ready);
        let unchanged = t.admin().update_task(task.id, &UpdateTask::default()).await;
        assert_eq!(unchanged.expect("no change").title, "paint it blue");
    });
}

#[test]
fn a_change_of_priority_moves_a_task_in_the_queue() {
    test(async |t| {
        let worker = t.worker("w1").capacity(3).await;
        let one = t.create("one").await.id;
        let two = t.create("two").await.id;
        let three = t.create("three").await.id;
        for (task, priority) in [(one, Priority::Low), (three, Priority::Critical)] {
            let change = UpdateTask {
                priority: Some(priority),
                ..UpdateTask::default()
            };
            let changed = t.admin().update_task(task, &change).await;
            assert_eq!(changed.expect("a change").priority, priority);
        }
        for expected in [three, two, one] {
            assert_eq!(worker.claim_one().await.id, expected);
        }
    });
}

#[test]
fn a_change_that_does_not_fit_is_refused() {
    test(async |t| {
        let task = t.create("paint").await;
        for parent in [TaskId::from(Uuid::new_v4()), task.id] {
            let change = UpdateTask {
                title: Some("changed".to_owned()),
                parent_id: Some(parent),
                ..UpdateTask::default()
            };
            refused(
                t.admin().update_task(task.id, &change).await,
                ErrorCode::NotFound,
            );
        }
        for change in [
            UpdateTask {
                title: Some(String::new()),
                ..UpdateTask::default()
            },
            UpdateTask {
                timeout_minutes: Some(241),
                ..UpdateTask::default()
            },
        ] {
            refused(
                t.admin().update_task(task.id, &change).await,
                ErrorCode::SchemaValidationFailed,
            );
        }
        assert_eq!(t.task(task.id).await.title, "paint");
        refused(
            t.admin()
                .update_task(Uuid::new_v4().into(), &UpdateTask::default())
                .await,
            ErrorCode::NotFound,
        );
    });
}

/// The states that the routes of this release lead to.
const REACHABLE: &[TaskState] = &[
    TaskState::Pending,
    TaskState::Ready,
    TaskState::Claimed,
    TaskState::InProgress,
    TaskState::OutputPendingAssessment,
    TaskState::Completed,
    TaskState::Failed,
    TaskState::Cancelled,
];

/// What a caller can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Claim,
    Start,
    Complete,
    Fail,
    Release,
    Retry,
    ForceRetry,
    Cancel,
}

impl Operation {
    const ALL: [Self; 8] = [
        Self::Claim,
        Self::Start,
        Self::Complete,
        Self::Fail,
        Self::Release,
        Self::Retry,
        Self::ForceRetry,
        Self::Cancel,
    ];

    /// Where it leads, by the table of moves.
    fn leads_to(self, from: TaskState) -> Option<TaskState> {
        let made = match self {
            // A holder with room for more is never given back what it holds.
            Self::Claim if from != TaskState::Ready => return None,
            Self::Retry if from != TaskState::Failed => return None,
            Self::Claim => TaskMove::Claim,
            Self::Start => TaskMove::Start,
            Self::Complete => TaskMove::Complete,
            Self::Fail => TaskMove::Fail,
            Self::Release => TaskMove::Release,
            Self::Retry | Self::ForceRetry => TaskMove::Retry,
            Self::Cancel => TaskMove::Cancel,
        };
        MOVES
            .iter()
            .find(|(source, wanted, _)| *source == from && *wanted == made)
            .map(|(.., to)| *to)
    }

    /// Whether the task is already where it leads, so that it is answered as a repetition.
    fn is_repetition(self, state: TaskState) -> bool {
        use TaskState::{Cancelled, Completed, Failed, InProgress, OutputPendingAssessment, Ready};
        matches!(
            (self, state),
            (Self::Start, InProgress)
                | (Self::Complete, Completed | OutputPendingAssessment)
                | (Self::Fail, Failed)
                | (Self::Retry | Self::ForceRetry, Ready)
                | (Self::Cancel, Completed | Cancelled)
        )
    }

    /// Asks for it; true when it was accepted.
    async fn ask(self, t: &TestPlatform, worker: &TestWorker, role: &str, task: &Task) -> bool {
        let attempt = Some(task.attempt);
        let result = match self {
            Self::Claim => {
                let claimed = worker
                    .claim_with(|claim| claim.routing_tags = vec![format!("role:{role}")])
                    .await;
                return claimed.expect("a claim is always accepted").is_some();
            }
            Self::Start => {
                let start = StartTask {
                    attempt,
                    ..StartTask::default()
                };
                worker.agent.start_task(task.id, &start).await
            }
            Self::Complete => {
                let body = json!({"output": 1, "attempt": attempt});
                let completion = serde_json::from_value(body).expect("a completion");
                worker.agent.complete_task(task.id, &completion).await
            }
            Self::Fail => {
                let body = json!({
                    "error": {"category": "broken", "message": "it broke"}, "attempt": attempt,
                });
                let failure = serde_json::from_value(body).expect("a failure");
                worker.agent.fail_task(task.id, &failure).await
            }
            Self::Release => {
                let release = ReleaseTask {
                    attempt,
                    ..ReleaseTask::default()
                };
                worker.agent.release_task(task.id, &release).await
            }
            Self::Retry => retry(t, task.id).await,
            Self::ForceRetry => force_retry(t, task.id).await,
            Self::Cancel => cancel(t, task.id).await,
        };
        match result {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.status(), Some(409), "{self:?}: {error}");
                false
            }
        }
    }
}

/// A task in this state, which only claims for its role find.
async fn task_in(t: &TestPlatform, worker: &TestWorker, role: &str, state: TaskState) -> Task {
    let due = chrono::DateTime::from_timestamp(4_000_000_000, 0).expect("a moment");
    let made = t
        .create_with(role, |task| {
            task.role = Some(role.to_owned());
            task.run_at = (state == TaskState::Pending).then(|| due.into());
        })
        .await;
    let claim = async |start| {
        let claimed = worker
            .claim_with(|claim| {
                claim.routing_tags = vec![format!("role:{role}")];
                claim.start = Some(start);
            })
            .await;
        claimed.expect("a claim").expect("the task")
    };
    match state {
        TaskState::Claimed => drop(claim(false).await),
        TaskState::InProgress => drop(claim(true).await),
        TaskState::Completed => {
            let held = claim(true).await;
            worker
                .complete(&held, json!(1))
                .await
                .expect("a completion");
        }
        TaskState::OutputPendingAssessment => {
            complete_doubtfully(worker, &claim(true).await).await;
        }
        TaskState::Failed => {
            let held = claim(true).await;
            worker.fail(&held, "broken").await.expect("a failure");
        }
        TaskState::Cancelled => {
            claim(true).await;
            cancel(t, made.id).await.expect("a cancellation");
        }
        _ => {}
    }
    let task = t.task(made.id).await;
    assert_eq!(task.state, state);
    task
}

/// What must stay as it is. A repeated start renews the lease.
fn facts(task: &Task) -> Value {
    let mut facts = serde_json::to_value(task).expect("a task is JSON");
    facts["lease_expires_at"] = Value::Null;
    facts
}

#[test]
fn every_operation_in_every_state_does_what_the_table_of_moves_says() {
    test(async |t| {
        let worker = t.worker("w1").capacity(100).await;
        for state in REACHABLE {
            for operation in Operation::ALL {
                let what = format!("{operation:?} of a task that is {state}");
                let role = format!("{operation:?}-{state}");
                let before = task_in(t, &worker, &role, *state).await;
                let steps = t.steps(before.id).await;
                let is_accepted = operation.ask(t, &worker, &role, &before).await;
                let after = t.task(before.id).await;
                match operation.leads_to(*state) {
                    Some(to) => {
                        assert!(is_accepted, "{what} was refused");
                        assert_eq!(after.state, to, "{what}");
                        assert_eq!(t.steps(before.id).await.len(), steps.len() + 1, "{what}");
                    }
                    None => {
                        assert_eq!(is_accepted, operation.is_repetition(*state), "{what}");
                        assert_eq!(facts(&after), facts(&before), "{what}");
                        assert_eq!(t.steps(before.id).await, steps, "{what}");
                    }
                }
            }
        }
    });
}

/// The moves that the routes and loops of this release make.
const MADE: &[TaskMove] = &[
    TaskMove::BecomeReady,
    TaskMove::Claim,
    TaskMove::Start,
    TaskMove::Complete,
    TaskMove::HoldForAssessment,
    TaskMove::Fail,
    TaskMove::ScheduleRetry,
    TaskMove::Release,
    TaskMove::LoseLease,
    TaskMove::FailDependency,
    TaskMove::Retry,
    TaskMove::Cancel,
];

#[test]
fn every_move_that_can_be_reached_happens_and_no_other() {
    test(async |t| {
        let worker = t.worker("w1").capacity(100).await;
        for state in REACHABLE {
            for operation in Operation::ALL {
                let role = format!("{operation:?}-{state}");
                let task = task_in(t, &worker, &role, *state).await;
                operation.ask(t, &worker, &role, &task).await;
            }
        }
        let reclaimed = reclaim(t).await;
        lose_leases(t).await;
        fail_for_now(t).await;
        fail_dependants(t).await;
        t.release_due().await;
        let mut happened = moves_made(t).await;
        happened.extend(reclaimed);
        let wanted: BTreeSet<_> = MOVES
            .iter()
            .filter(|(from, made, _)| REACHABLE.contains(from) && MADE.contains(made))
            .map(|(from, made, to)| (from.as_str(), made.as_str(), to.as_str()))
            .map(|(from, made, to)| (from.to_owned(), made.to_owned(), to.to_owned()))
            .collect();
        let missing: Vec<_> = wanted.difference(&happened).collect();
        assert!(missing.is_empty(), "never made: {missing:?}");
        let unknown: Vec<_> = happened.difference(&wanted).collect();
        assert!(unknown.is_empty(), "not in the table: {unknown:?}");
    });
}

/// From where, by which operation, to where a task moves.
type Made = (String, String, String);

/// Every move that the events tell, but for those of [`reclaim`].
async fn moves_made(t: &TestPlatform) -> BTreeSet<Made> {
    sqlx::query_as(
        "select distinct from_state, reason, to_state from task_moves
         where from_state is not null
           and reason <> 'claim_again'",
    )
    .fetch_all(t.sql())
    .await
    .expect("events can be read")
    .into_iter()
    .collect()
}

/// A holder of capacity 1 asks again while it holds something. Answers the moves that this makes.
async fn reclaim(t: &TestPlatform) -> Vec<Made> {
    let worker = t.worker("forgetful").await;
    let task = t.create("forgotten").await.id;
    let mut made = Vec::new();
    for starts in [false, true] {
        let held = worker.claim_with(|claim| claim.start = Some(starts)).await;
        let held = held.expect("a claim").expect("the task");
        let before = t.state(task).await;
        let again = worker.claim_one().await;
        assert_eq!((again.id, again.attempt), (task, held.attempt + 1));
        let after = t.state(task).await;
        made.push((
            before.to_string(),
            TaskMove::Claim.to_string(),
            after.to_string(),
        ));
    }
    made
}

/// Holders fall silent, once and once too often.
async fn lose_leases(t: &TestPlatform) {
    for max_abandons in [5, 0] {
        for starts in [false, true] {
            let worker = t.worker(&format!("silent {max_abandons} {starts}")).await;
            let task = t
                .create_with("lost", |task| {
                    task.max_abandons = Some(max_abandons);
                    task.preferred_agent_id = Some(worker.agent_id);
                })
                .await;
            let claimed = worker.claim_with(|claim| claim.start = Some(starts)).await;
            assert!(claimed.expect("a claim").is_some());
            t.lose_lease(task.id).await;
        }
    }
}

/// Attempts fail, and are to be repeated.
async fn fail_for_now(t: &TestPlatform) {
    for starts in [false, true] {
        let worker = t.worker(&format!("failing {starts}")).await;
        t.create_with("flaky", |task| {
            task.preferred_agent_id = Some(worker.agent_id);
            task.retry_policy = Some(RetryPolicy {
                max_attempts: 3,
                backoff_strategy: None,
                initial_backoff_seconds: None,
                jitter: None,
                retryable_categories: None,
            });
        })
        .await;
        let claimed = worker.claim_with(|claim| claim.start = Some(starts)).await;
        let held = claimed.expect("a claim").expect("the task");
        worker.fail(&held, "timeout").await.expect("a failure");
    }
}

/// What tasks wait for fails.
async fn fail_dependants(t: &TestPlatform) {
    for policy in [OnDependencyFailure::Fail, OnDependencyFailure::Cancel] {
        let needed = t
            .create_with("needed", |task| task.role = Some("nobody's".to_owned()))
            .await
            .id;
        t.create_with("dependant", |task| {
            task.depends_on = vec![needed];
            task.on_dependency_failure = Some(policy);
        })
        .await;
        cancel(t, needed).await.expect("a cancellation");
    }
}
