//! What follows a failure.

use stint_protocol::{BackoffStrategy, RetryPolicy, TaskId, TaskState};
use stint_tests::{TestPlatform, TestWorker, test};

fn policy(max_attempts: i32, strategy: BackoffStrategy, first: f64) -> RetryPolicy {
    RetryPolicy {
        max_attempts,
        backoff_strategy: Some(strategy),
        initial_backoff_seconds: Some(first),
        jitter: Some(0.0),
        retryable_categories: None,
    }
}

async fn with_policy(t: &TestPlatform, policy: RetryPolicy) -> TaskId {
    t.create_with("flaky", |task| task.retry_policy = Some(policy))
        .await
        .id
}

/// Seconds until the task is due, by the database clock.
async fn pause_of(t: &TestPlatform, task: TaskId) -> f64 {
    sqlx::query_scalar(
        "select extract(epoch from available_at - state_changed_at)::float8 from task_waiting where task_id = $1",
    )
    .bind(task.uuid())
    .fetch_one(t.sql())
    .await
    .expect("the task waits")
}

async fn fail_with(worker: &TestWorker, category: &str) -> TaskState {
    let held = worker.begin().await;
    worker.fail(&held, category).await.expect("a failure").state
}

#[test]
fn a_failure_without_a_policy_is_final() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        assert_eq!(fail_with(&worker, "timeout").await, TaskState::Failed);
    });
}

#[test]
fn a_retry_waits_out_its_pause() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = with_policy(t, policy(2, BackoffStrategy::Fixed, 60.0)).await;
        assert_eq!(fail_with(&worker, "timeout").await, TaskState::Pending);
        t.run_loop("release_due").await;
        assert!(worker.claim().await.is_none());
        t.age_waiting(61.0).await;
        t.run_loop("release_due").await;
        let again = worker.claim_one().await;
        assert_eq!((again.id, again.attempt, again.retry_count), (task, 2, 1));
    });
}

#[test]
fn pauses_grow_as_the_policy_says() {
    test(async |t| {
        let worker = t.worker("w1").await;
        for (strategy, expected) in [
            (BackoffStrategy::Fixed, [10.0, 10.0, 10.0]),
            (BackoffStrategy::Linear, [10.0, 20.0, 30.0]),
            (BackoffStrategy::Exponential, [10.0, 20.0, 40.0]),
        ] {
            let task = with_policy(t, policy(3, strategy, 10.0)).await;
            for pause in expected {
                assert_eq!(fail_with(&worker, "timeout").await, TaskState::Pending);
                let found = pause_of(t, task).await;
                assert!((found - pause).abs() < 0.5, "{strategy}: {found}");
                t.release_due().await;
            }
            assert_eq!(fail_with(&worker, "timeout").await, TaskState::Failed);
        }
    });
}

#[test]
fn jitter_stays_within_its_share() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let mut jittery = policy(20, BackoffStrategy::Fixed, 100.0);
        jittery.jitter = Some(0.5);
        let task = with_policy(t, jittery).await;
        for _ in 0..10 {
            fail_with(&worker, "timeout").await;
            let pause = pause_of(t, task).await;
            assert!((49.0..=151.0).contains(&pause), "{pause}");
            t.release_due().await;
        }
    });
}

#[test]
fn the_holder_may_ask_for_its_own_pause() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = with_policy(t, policy(2, BackoffStrategy::Fixed, 10.0)).await;
        let held = worker.begin().await;
        let mut failure = TestWorker::failure(&held, "timeout");
        failure.retry_after_seconds = Some(333.0);
        worker.agent.fail_task(task, &failure).await.unwrap();
        let pause = pause_of(t, task).await;
        assert!((pause - 333.0).abs() < 0.5, "{pause}");
    });
}

#[test]
fn a_failure_that_no_retry_can_cure_is_final() {
    test(async |t| {
        let worker = t.worker("w1").await;
        with_policy(t, policy(2, BackoffStrategy::Fixed, 10.0)).await;
        let held = worker.begin().await;
        let mut failure = TestWorker::failure(&held, "timeout");
        failure.error.recoverable = Some(false);
        let failed = worker.agent.fail_task(held.id, &failure).await.unwrap();
        assert_eq!(failed.state, TaskState::Failed);
    });
}

#[test]
fn only_the_categories_of_the_policy_are_retried() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let mut named = policy(5, BackoffStrategy::Fixed, 0.0);
        named.retryable_categories = Some(vec!["flaky".to_owned()]);
        with_policy(t, named).await;
        assert_eq!(fail_with(&worker, "flaky").await, TaskState::Pending);
        t.release_due().await;
        assert_eq!(fail_with(&worker, "timeout").await, TaskState::Failed);
    });
}

#[test]
fn a_retried_failure_is_told_in_the_events_and_forgotten_in_the_task() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = with_policy(t, policy(2, BackoffStrategy::Fixed, 10.0)).await;
        fail_with(&worker, "timeout").await;
        let read = t.task(task).await;
        assert_eq!(read.error, None);
        assert_eq!(read.assigned_agent_id, None);
        assert_eq!(
            t.reasons(task).await,
            ["create", "claim", "start", "schedule_retry"]
        );
    });
}

#[test]
fn a_retry_goes_to_the_end_of_its_priority() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let flaky = with_policy(t, policy(2, BackoffStrategy::Fixed, 0.0)).await;
        fail_with(&worker, "timeout").await;
        let other = t.create("other").await.id;
        t.release_due().await;
        let second = t.worker("w2").await;
        assert_eq!(worker.claim_one().await.id, other);
        assert_eq!(second.claim_one().await.id, flaky);
    });
}

#[test]
fn progress_survives_a_retry() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = with_policy(t, policy(2, BackoffStrategy::Fixed, 0.0)).await;
        let held = worker.begin().await;
        let progress = stint_tests::object(serde_json::json!({"walls": 2}));
        let beat = stint_protocol::WorkerHeartbeat {
            leases: Some(vec![stint_protocol::HeartbeatLease {
                task_id: task,
                attempt: held.attempt,
                progress: Some(progress.clone()),
            }]),
            ..stint_protocol::WorkerHeartbeat::default()
        };
        worker
            .worker
            .heartbeat_worker(worker.worker_id, &beat)
            .await
            .unwrap();
        worker.fail(&held, "timeout").await.unwrap();
        t.release_due().await;
        assert_eq!(worker.claim_one().await.progress, Some(progress));
    });
}
