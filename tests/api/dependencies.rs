//! Tasks that wait for others.

use serde_json::json;
use stint_protocol::{
    CancelTask, CreateTask, OnDependencyFailure, RetryTask, Task, TaskId, TaskState,
};
use stint_tests::{TestPlatform, TestWorker, test};

async fn after(t: &TestPlatform, title: &str, needs: &[TaskId]) -> Task {
    after_with(t, title, needs, |_| {}).await
}

async fn after_with(
    t: &TestPlatform,
    title: &str,
    needs: &[TaskId],
    change: impl FnOnce(&mut CreateTask),
) -> Task {
    t.create_with(title, |task| {
        task.depends_on = needs.to_vec();
        change(task);
    })
    .await
}

async fn work_off(worker: &TestWorker) -> TaskId {
    let task = worker.begin().await;
    worker
        .complete(&task, json!({"done": true}))
        .await
        .expect("a completion");
    task.id
}

async fn fail_next(worker: &TestWorker) {
    let task = worker.begin().await;
    worker.fail(&task, "broken").await.expect("a failure");
}

async fn force_retry(t: &TestPlatform, id: TaskId) {
    let retry = RetryTask {
        force: Some(true),
        ..RetryTask::default()
    };
    t.admin().retry_task(id, &retry).await.expect("a retry");
}

#[test]
fn a_dependant_becomes_ready_when_all_it_needs_has_completed() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let (one, two) = (t.create("one").await.id, t.create("two").await.id);
        let last = after(t, "last", &[one, two]).await;
        assert_eq!((last.state, last.blocked_count), (TaskState::Pending, 2));
        work_off(&worker).await;
        assert_eq!(t.task(last.id).await.blocked_count, 1);
        work_off(&worker).await;
        assert_eq!(t.state(last.id).await, TaskState::Ready);
    });
}

#[test]
fn a_dependency_named_twice_counts_once() {
    test(async |t| {
        let one = t.create("one").await.id;
        assert_eq!(after(t, "last", &[one, one]).await.blocked_count, 1);
    });
}

#[test]
fn a_dependency_that_has_completed_already_does_not_block() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let one = t.create("one").await.id;
        work_off(&worker).await;
        assert_eq!(after(t, "last", &[one]).await.state, TaskState::Ready);
    });
}

#[test]
fn a_failed_dependency_fails_its_dependants_and_theirs() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let one = t.create("one").await.id;
        let two = after(t, "two", &[one]).await.id;
        let three = after(t, "three", &[two]).await.id;
        fail_next(&worker).await;
        for id in [two, three] {
            let task = t.task(id).await;
            assert_eq!(task.state, TaskState::Failed);
            assert_eq!(
                task.error.unwrap().category.as_deref(),
                Some("dependency_failed")
            );
        }
    });
}

#[test]
fn a_cancelled_dependency_counts_as_failed() {
    test(async |t| {
        let one = t.create("one").await.id;
        let two = after(t, "two", &[one]).await.id;
        let cancelled = t.admin().cancel_task(one, &CancelTask::default()).await;
        assert_eq!(cancelled.unwrap().state, TaskState::Cancelled);
        assert_eq!(t.state(two).await, TaskState::Failed);
    });
}

#[test]
fn a_dependant_may_be_cancelled_instead() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let one = t.create("one").await.id;
        let two = after_with(t, "two", &[one], |task| {
            task.on_dependency_failure = Some(OnDependencyFailure::Cancel);
        })
        .await
        .id;
        fail_next(&worker).await;
        assert_eq!(t.state(two).await, TaskState::Cancelled);
    });
}

#[test]
fn a_dependant_may_run_all_the_same() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let one = t.create("one").await.id;
        let two = after_with(t, "two", &[one], |task| {
            task.on_dependency_failure = Some(OnDependencyFailure::Run);
        })
        .await
        .id;
        fail_next(&worker).await;
        assert_eq!(t.state(two).await, TaskState::Ready);
    });
}

#[test]
fn a_cascade_ends_at_a_dependant_that_runs_all_the_same() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let one = t.create("one").await.id;
        let two = after(t, "two", &[one]).await.id;
        let three = after_with(t, "three", &[two], |task| {
            task.on_dependency_failure = Some(OnDependencyFailure::Run);
        })
        .await
        .id;
        let four = after(t, "four", &[three]).await.id;
        fail_next(&worker).await;
        assert_eq!(t.state(two).await, TaskState::Failed);
        assert_eq!(t.state(three).await, TaskState::Ready);
        assert_eq!(t.state(four).await, TaskState::Pending);
    });
}

#[test]
fn a_task_made_after_its_dependency_failed_ends_as_its_policy_says() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let one = t.create("one").await.id;
        fail_next(&worker).await;
        for (policy, state) in [
            (OnDependencyFailure::Fail, TaskState::Failed),
            (OnDependencyFailure::Cancel, TaskState::Cancelled),
            (OnDependencyFailure::Run, TaskState::Ready),
        ] {
            let made = after_with(t, "late", &[one], |task| {
                task.on_dependency_failure = Some(policy);
            })
            .await;
            assert_eq!(made.state, state, "{policy}");
        }
    });
}

#[test]
fn a_retried_failure_does_not_concern_dependants_yet() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let one = t
            .create_with("one", |task| {
                task.auto_retry = Some(true);
                task.max_retries = Some(1);
            })
            .await
            .id;
        let two = after(t, "two", &[one]).await.id;
        let task = worker.begin().await;
        worker.fail(&task, "timeout").await.unwrap();
        assert_eq!(t.state(two).await, TaskState::Pending);
    });
}

#[test]
fn a_blocked_task_that_is_delayed_too_waits_for_both() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let one = t.create("one").await.id;
        let due = chrono::DateTime::from_timestamp(4_000_000_000, 0).unwrap();
        let two = after_with(t, "two", &[one], |task| task.run_at = Some(due.into()))
            .await
            .id;
        work_off(&worker).await;
        assert_eq!(t.state(two).await, TaskState::Pending);
        t.release_due().await;
        assert_eq!(t.state(two).await, TaskState::Ready);
    });
}

#[test]
fn a_delay_that_ends_first_does_not_release_a_blocked_task() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let one = t.create("one").await.id;
        let due = chrono::DateTime::from_timestamp(4_000_000_000, 0).unwrap();
        let two = after_with(t, "two", &[one], |task| task.run_at = Some(due.into()))
            .await
            .id;
        t.release_due().await;
        assert_eq!(t.state(two).await, TaskState::Pending);
        work_off(&worker).await;
        t.run_loop("release_due").await;
        assert_eq!(t.state(two).await, TaskState::Ready);
    });
}

#[test]
fn a_dependency_that_completes_twice_counts_once() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let one = t.create("one").await.id;
        work_off_in_order(&worker, one).await;
        let two = t
            .create_with("two", |task| task.run_at = Some(far_away()))
            .await
            .id;
        force_retry(t, one).await;
        let last = after(t, "last", &[one, two]).await.id;
        work_off_in_order(&worker, one).await;
        assert_eq!(t.task(last).await.blocked_count, 1);
        force_retry(t, one).await;
        work_off_in_order(&worker, one).await;
        assert_eq!(t.task(last).await.blocked_count, 1);
    });
}

#[test]
fn a_dependency_that_fails_and_is_cancelled_then_counts_once() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let one = t.create("one").await.id;
        let two = t
            .create_with("two", |task| task.run_at = Some(far_away()))
            .await
            .id;
        let last = after_with(t, "last", &[one, two], |task| {
            task.on_dependency_failure = Some(OnDependencyFailure::Run);
        })
        .await
        .id;
        fail_next(&worker).await;
        assert_eq!(t.task(last).await.blocked_count, 1);
        t.admin()
            .cancel_task(one, &CancelTask::default())
            .await
            .unwrap();
        assert_eq!(t.task(last).await.blocked_count, 1);
    });
}

#[test]
fn a_dependency_that_fails_and_completes_on_a_retry_counts_once() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let one = t.create("one").await.id;
        let two = t
            .create_with("two", |task| task.run_at = Some(far_away()))
            .await
            .id;
        let last = after_with(t, "last", &[one, two], |task| {
            task.on_dependency_failure = Some(OnDependencyFailure::Run);
        })
        .await
        .id;
        fail_next(&worker).await;
        force_retry(t, one).await;
        work_off_in_order(&worker, one).await;
        assert_eq!(t.task(last).await.blocked_count, 1);
    });
}

async fn work_off_in_order(worker: &TestWorker, expected: TaskId) {
    assert_eq!(work_off(worker).await, expected);
}

fn far_away() -> stint_protocol::Timestamp {
    chrono::DateTime::from_timestamp(4_000_000_000, 0)
        .expect("a moment")
        .into()
}

#[test]
fn a_fan_in_completed_all_at_once_is_released_once() {
    test(async |t| {
        let worker = t.worker("w1").capacity(40).await;
        let mut needs = Vec::new();
        for number in 0..40 {
            needs.push(t.create(&format!("part {number}")).await.id);
        }
        let last = after(t, "last", &needs).await.id;
        let parts = futures_util::future::join_all((0..40).map(|_| worker.begin())).await;
        let ended = futures_util::future::join_all(
            parts.iter().map(|part| worker.complete(part, json!(1))),
        )
        .await;
        assert!(ended.iter().all(Result::is_ok));
        assert_eq!(t.state(last).await, TaskState::Ready);
        let reasons = t.reasons(last).await;
        assert_eq!(
            reasons
                .iter()
                .filter(|reason| *reason == "become_ready")
                .count(),
            1,
            "{reasons:?}"
        );
    });
}

#[test]
fn the_outputs_of_dependencies_are_in_the_context() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let one = t.create("one").await.id;
        let two = after(t, "two", &[one]).await.id;
        work_off(&worker).await;
        let context = worker
            .agent
            .get_task_context(two, Some(worker.agent_id))
            .await
            .unwrap();
        assert_eq!(
            context.task.upstream_outputs[&one].value(),
            json!({"done": true})
        );
        assert_eq!(context.agent.unwrap().name, "w1");
    });
}
