//! A paused run holds its tasks at their place.

use serde_json::json;

use super::*;

#[test]
fn the_tasks_of_a_paused_run_are_not_handed_out_and_keep_their_place() {
    test(async |t| {
        let worker = t.worker("w1").capacity(5).await;
        let run = TestRun::open(t).await;
        let first = run.task(|_| {}).await;
        let other = t.create("of no run").await.id;
        run.pause().await;
        assert_eq!(t.state(first).await, TaskState::Pending);
        assert_eq!(why(t, first).await, WhyReason::Paused);
        t.release_due().await;
        assert_eq!(worker.claim_one().await.id, other);
        assert!(worker.claim().await.is_none());

        let later = t.create("made while the run was paused").await.id;
        run.resume().await;
        assert_eq!(t.state(first).await, TaskState::Ready);
        assert_eq!(worker.claim_one().await.id, first);
        assert_eq!(worker.claim_one().await.id, later);
        assert_eq!(
            t.reasons(first).await,
            ["create", "pause", "become_ready", "claim"]
        );
    });
}

#[test]
fn what_becomes_ready_in_a_paused_run_waits_however_it_came_there() {
    test(async |t| {
        let worker = t.worker("w1").capacity(5).await;
        let run = TestRun::open(t).await;
        let released = run.task(|_| {}).await;
        let held = worker.begin().await;
        let lost = run.task(|_| {}).await;
        worker.begin().await;
        let failed = run.task(|task| task.retry_policy = Some(one_retry())).await;
        let failing = worker.begin().await;
        let ended = run.task(|_| {}).await;
        let ending = worker.begin().await;
        run.pause().await;

        worker.release(&held).await.expect("a release");
        t.lose_lease(lost).await;
        worker.fail(&failing, "timeout").await.expect("a failure");
        worker.complete(&ending, json!(1)).await.expect("an end");
        let made = run.task(|_| {}).await;
        let waiting = [released, lost, failed, made];
        assert_eq!(states(t, &waiting).await, [TaskState::Pending; 4]);
        assert_eq!(t.state(ended).await, TaskState::Completed);
        for task in waiting {
            assert_eq!(why(t, task).await, WhyReason::Paused);
        }
        assert!(worker.claim().await.is_none());

        run.resume().await;
        assert_eq!(
            states(t, &waiting).await,
            [
                TaskState::Ready,
                TaskState::Ready,
                TaskState::Pending,
                TaskState::Ready
            ]
        );
        assert_eq!(why(t, failed).await, WhyReason::NotDue);
        t.release_due().await;
        assert_eq!(t.state(failed).await, TaskState::Ready);
        for expected in [released, lost, made, failed] {
            assert_eq!(worker.claim_one().await.id, expected);
        }
    });
}

#[test]
fn delays_stop_while_a_run_is_paused_and_go_on_afterwards() {
    test(async |t| {
        let run = TestRun::open(t).await;
        let in_an_hour = "select clock_timestamp() + interval '1 hour'";
        let due = sqlx::query_scalar(in_an_hour)
            .fetch_one(t.sql())
            .await
            .expect("a time");
        let before = run.task(|task| task.available_at = Some(due)).await;
        run.pause().await;
        let during = run.task(|task| task.available_at = Some(due)).await;
        for task in [before, during] {
            assert_eq!(t.task(task).await.available_at, None);
            assert_eq!(why(t, task).await, WhyReason::Paused);
        }
        // Half an hour goes by: what was left of the delay is what the clock showed.
        t.execute(
            "update task_waiting set delay_left = delay_left - 1800 where delay_left is not null",
        )
        .await;
        run.resume().await;
        for task in [before, during] {
            let left: f64 = sqlx::query_scalar(
                "select extract(epoch from available_at - clock_timestamp())::float8 from task_waiting where task_id = $1",
            )
            .bind(task.uuid())
            .fetch_one(t.sql())
            .await
            .expect("a delay");
            assert!((1700.0..=1800.0).contains(&left), "{left} s are left");
            assert_eq!(why(t, task).await, WhyReason::NotDue);
        }
        t.release_due().await;
        assert_eq!(states(t, &[before, during]).await, [TaskState::Ready; 2]);
    });
}

#[test]
fn a_paused_work_item_holds_its_own_tasks_only() {
    test(async |t| {
        let run = TestRun::open(t).await;
        let (one, two) = (run.item(), run.item());
        let tasks = [one.task(|_| {}).await, two.task(|_| {}).await];
        one.pause().await;
        assert_eq!(ready(t, &tasks).await, [1].into());
        run.pause().await;
        assert_eq!(ready(t, &tasks).await, [].into());
        run.resume().await;
        assert_eq!(ready(t, &tasks).await, [1].into());
        assert_eq!(why(t, tasks[0]).await, WhyReason::Paused);
        one.resume().await;
        assert_eq!(ready(t, &tasks).await, [0, 1].into());
    });
}

#[test]
fn a_dependant_that_is_unblocked_in_a_paused_run_waits() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let run = TestRun::open(t).await;
        let needed = t.create("needed").await.id;
        let dependant = run.task(|_| {}).await;
        t.execute(&format!(
            "update task_queue set has_dependants = true where task_id = '{needed}';
             delete from task_queue where task_id = '{dependant}';
             insert into task_dependencies (tenant_id, needs_id, task_id)
                 select tenant_id, '{needed}', id from tasks where id = '{dependant}';
             insert into task_waiting (tenant_id, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane,
                     priority, seq, workflow_id, has_dependants, state_changed_at, blocked_count, on_dependency_failure)
                 select tenant_id, id, 0, 1, 0, 0, 0, '', 2, 0, workflow_id, false, now(), 1, 'fail'
                 from tasks where id = '{dependant}'"
        ))
        .await;
        run.pause().await;
        let held = worker.begin().await;
        assert_eq!(held.id, needed);
        worker.complete(&held, json!(1)).await.expect("an end");
        assert_eq!(t.task(dependant).await.blocked_count, 0);
        assert_eq!(why(t, dependant).await, WhyReason::Paused);
        run.resume().await;
        assert_eq!(worker.claim_one().await.id, dependant);
    });
}
