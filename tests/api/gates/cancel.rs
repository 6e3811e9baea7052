//! A cancelled run ends its tasks, and gives their holders a deadline.

use serde_json::json;

use super::*;

#[test]
fn a_cancelled_run_ends_what_nobody_holds_and_tells_the_holders_of_the_rest() {
    test(async |t| {
        let worker = t.worker("w1").capacity(2).await;
        let run = TestRun::open(t).await;
        let running = run.task(|_| {}).await;
        let held = worker.begin().await;
        let lease = LeaseRef {
            task_id: running,
            attempt: held.attempt,
        };
        let idle = run.task(|_| {}).await;
        run.cancel().await;
        assert_eq!(t.state(idle).await, TaskState::Cancelled);
        assert_eq!(t.state(running).await, TaskState::InProgress);
        // Nothing of the run is begun any more.
        let late = run.task(|_| {}).await;
        assert_eq!(t.state(late).await, TaskState::Cancelled);

        let told = beat(&worker, &[lease]).await;
        assert_eq!((told.cancelled, told.lost), (vec![lease], vec![]));
        let released = worker.release(&held).await.expect("a release");
        assert_eq!(released.state, TaskState::Cancelled);
        assert_eq!(
            t.reasons(running).await,
            ["create", "claim", "start", "cancel"]
        );
    });
}

#[test]
fn an_end_that_is_reported_before_the_deadline_counts() {
    test(async |t| {
        let worker = t.worker("w1").capacity(4).await;
        let run = TestRun::open(t).await;
        let retries = |task: &mut queue::NewTask| task.retry_policy = Some(one_retry());
        let completed = run.task(|_| {}).await;
        let completing = worker.begin().await;
        let failed = run.task(retries).await;
        let failing = worker.begin().await;
        let doubtful = run.task(|_| {}).await;
        let doubting = worker.begin().await;
        run.cancel().await;

        worker
            .complete(&completing, json!(7))
            .await
            .expect("an end");
        let task = t.task(completed).await;
        assert_eq!(
            (task.state, task.output),
            (TaskState::Completed, Some(stint_tests::json(7)))
        );

        let told = worker.fail(&failing, "timeout").await.expect("a failure");
        assert_eq!(told.state, TaskState::Cancelled);
        let again = worker.fail(&failing, "timeout").await.expect("a replay");
        assert_eq!((again.id, again.state), (failed, TaskState::Cancelled));
        assert_eq!(
            again.error.and_then(|error| error.category).as_deref(),
            Some("timeout")
        );

        let mut completion = TestWorker::completion(&doubting, json!(8));
        completion.verification = Some(stint_tests::object(json!({"passed": false})));
        for _ in 0..2 {
            let told = worker.agent.complete_task(doubtful, &completion).await;
            assert_eq!(told.expect("an end").state, TaskState::Cancelled);
        }
    });
}

#[test]
fn past_its_deadline_a_held_task_of_a_cancelled_run_is_cancelled() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let run = TestRun::open(t).await;
        let task = run.task(|task| task.retry_policy = Some(one_retry())).await;
        let held = worker.begin().await;
        run.cancel().await;
        t.run_loop("time_out_tasks").await;
        assert_eq!(t.state(task).await, TaskState::InProgress);
        // Whoever has forgotten what it holds does not get it again.
        assert!(worker.claim().await.is_none());
        t.age_leases(61.0).await;
        t.run_loop("time_out_tasks").await;
        assert_eq!(t.state(task).await, TaskState::Cancelled);
        refused_because(
            worker.complete(&held, json!(1)).await,
            ReasonCode::LeaseLost,
        );
    });
}

#[test]
fn a_silent_holder_of_a_cancelled_run_loses_its_task_for_good() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let run = TestRun::open(t).await;
        let task = run.task(|_| {}).await;
        worker.begin().await;
        run.cancel().await;
        t.lose_lease(task).await;
        assert_eq!(t.state(task).await, TaskState::Cancelled);
    });
}

#[test]
fn a_holder_that_was_passed_over_is_given_notice_later() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let run = TestRun::open(t).await;
        let task = run.task(|_| {}).await;
        let held = worker.begin().await;
        run.cancel().await;
        t.execute("update task_leases set cancel_by = null").await;
        t.run_loop("settle_gates").await;
        let lease = LeaseRef {
            task_id: task,
            attempt: held.attempt,
        };
        assert_eq!(beat(&worker, &[lease]).await.cancelled, [lease]);
    });
}
