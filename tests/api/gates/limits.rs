//! A run has no more under way than its limits allow.

use serde_json::json;

use super::*;

#[test]
fn a_run_has_no_more_tasks_under_way_than_its_limit() {
    test(async |t| {
        let worker = t.worker("w1").capacity(9).await;
        let limits = Limits {
            active_max: Some(2),
            ..Limits::default()
        };
        let run = TestRun::with(t, limits).await;
        let mut tasks = run.tasks(4).await;
        tasks.push(run.task(|task| task.priority = Priority::High.rank()).await);
        assert_eq!(ready(t, &tasks).await, [0, 1].into());
        assert_eq!(why(t, tasks[2]).await, WhyReason::LimitFull);
        let held = [worker.begin().await, worker.begin().await];
        assert!(worker.claim().await.is_none());

        // By priority, then age, and one for each that ends, in whatever way.
        worker.complete(&held[0], json!(1)).await.expect("an end");
        assert_eq!(ready(t, &tasks).await, [4].into());
        worker.fail(&held[1], "broken").await.expect("a failure");
        assert_eq!(ready(t, &tasks).await, [2, 4].into());
        let third = worker.begin().await;
        assert_eq!(third.id, tasks[4]);
        worker.release(&third).await.expect("a release");
        assert_eq!(ready(t, &tasks).await.len(), 2);
        t.admin()
            .cancel_task(tasks[4], &stint_protocol::CancelTask::default())
            .await
            .expect("a cancellation");
        assert_eq!(ready(t, &tasks).await, [2, 3].into());
    });
}

#[test]
fn a_limit_counts_what_a_crash_left_and_not_what_was_paused() {
    test(async |t| {
        let limits = Limits {
            active_max: Some(1),
            ..Limits::default()
        };
        let run = TestRun::with(t, limits).await;
        let tasks = run.tasks(2).await;
        run.pause().await;
        assert_eq!(why(t, tasks[1]).await, WhyReason::Paused);
        run.resume().await;
        assert_eq!(ready(t, &tasks).await, [0].into());
        assert_eq!(why(t, tasks[1]).await, WhyReason::LimitFull);
        // A transaction that failed half-way promoted nobody: the loop does.
        t.execute("update task_gates set active_max = 2").await;
        t.run_loop("settle_gates").await;
        assert_eq!(t.state(tasks[1]).await, TaskState::Ready);
    });
}

#[test]
fn each_work_item_has_its_limit() {
    test(async |t| {
        let worker = t.worker("w1").capacity(9).await;
        let limits = Limits {
            active_max: Some(3),
            item_active_max: Some(2),
            items_max: None,
        };
        let run = TestRun::with(t, limits).await;
        let (one, two) = (run.item(), run.item());
        let mut tasks = one.tasks(3).await;
        tasks.extend(two.tasks(2).await);
        assert_eq!(ready(t, &tasks).await, [0, 1, 3].into());
        let held = worker.begin().await;
        assert_eq!(held.id, tasks[0]);
        worker.complete(&held, json!(1)).await.expect("an end");
        assert_eq!(ready(t, &tasks).await, [1, 2, 3].into());
        // A limit of its own, on top.
        let own = Limits {
            active_max: Some(1),
            ..Limits::default()
        };
        let three = run.item();
        three
            .change(async |tx| queue::set_limits(tx, three.tenant, three.run, own).await)
            .await;
        for _ in 0..3 {
            let held = worker.begin().await;
            worker.complete(&held, json!(1)).await.expect("an end");
        }
        let more = three.tasks(2).await;
        assert_eq!(ready(t, &more).await, [0].into());
    });
}

#[test]
fn work_items_beside_each_other_are_limited() {
    test(async |t| {
        let worker = t.worker("w1").capacity(9).await;
        let limits = Limits {
            items_max: Some(1),
            ..Limits::default()
        };
        let run = TestRun::with(t, limits).await;
        let (one, two) = (run.item(), run.item());
        let mut tasks = one.tasks(2).await;
        tasks.extend(two.tasks(2).await);
        assert_eq!(ready(t, &tasks).await, [0, 1].into());
        for _ in 0..2 {
            let held = worker.begin().await;
            worker.complete(&held, json!(1)).await.expect("an end");
        }
        assert_eq!(ready(t, &tasks).await, [2, 3].into());
    });
}

#[test]
fn what_steers_a_run_is_not_limited() {
    test(async |t| {
        let limits = Limits {
            active_max: Some(1),
            ..Limits::default()
        };
        let run = TestRun::with(t, limits).await;
        let steers = |task: &mut queue::NewTask| {
            task.is_orchestrator_task = true;
            task.lane = "orchestrator".to_owned();
        };
        let tasks = [
            run.task(|_| {}).await,
            run.task(steers).await,
            run.task(|_| {}).await,
        ];
        assert_eq!(ready(t, &tasks).await, [0, 1].into());
    });
}

#[test]
fn a_limit_holds_when_many_ends_and_starts_come_at_once() {
    test(async |t| {
        let limits = Limits {
            active_max: Some(3),
            ..Limits::default()
        };
        let run = TestRun::with(t, limits).await;
        let worker = t.worker("w1").capacity(20).await;
        let tasks = run.tasks(20).await;
        let mut done = 0;
        while done < tasks.len() {
            let mut held = Vec::new();
            while let Some(claimed) = worker
                .claim_with(|claim| claim.start = Some(true))
                .await
                .expect("a claim")
            {
                held.push(claimed);
            }
            assert!(
                (1..=3).contains(&held.len()),
                "{} are under way",
                held.len()
            );
            done += held.len();
            let ends = held.iter().map(|held| worker.complete(held, json!(1)));
            for end in futures_util::future::join_all(ends).await {
                end.expect("an end");
            }
        }
    });
}
