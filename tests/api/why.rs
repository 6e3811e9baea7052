//! Why a task does not run: each reason, made to happen.

use serde_json::json;
use stint_protocol::{CancelTask, RetryPolicy, Task, TaskId, TaskState, Why, WhyReason};
use stint_tests::{TestPlatform, TestWorker, object, refused, test};
use uuid::Uuid;

async fn why(t: &TestPlatform, task: TaskId) -> Why {
    t.admin().explain_task(task).await.expect("an explanation")
}

async fn for_painters(t: &TestPlatform) -> Task {
    t.create_with("paint", |task| task.role = Some("painter".to_owned()))
        .await
}

#[test]
fn a_delayed_task_is_not_due() {
    test(async |t| {
        let due = chrono::DateTime::from_timestamp(4_000_000_000, 0).expect("a moment");
        let task = t
            .create_with("later", |task| task.run_at = Some(due.into()))
            .await;
        let why = why(t, task.id).await;
        assert_eq!(
            (why.reason, why.state),
            (WhyReason::NotDue, TaskState::Pending)
        );
        assert_eq!(why.until, Some(due.into()));
        assert_eq!(why.task_id, task.id);
    });
}

#[test]
fn a_task_that_waits_out_its_pause_is_not_due() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t
            .create_with("paint", |task| {
                task.retry_policy = Some(RetryPolicy {
                    max_attempts: 3,
                    backoff_strategy: None,
                    initial_backoff_seconds: Some(600.0),
                    jitter: None,
                    retryable_categories: None,
                });
            })
            .await;
        let held = worker.begin().await;
        worker.fail(&held, "timeout").await.expect("a failure");
        let why = why(t, task.id).await;
        assert_eq!(why.reason, WhyReason::NotDue);
        assert!(why.until.is_some());
        assert!(why.message.contains("retry 1"), "{}", why.message);
    });
}

#[test]
fn a_blocked_task_names_what_it_waits_for() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let (one, two) = (t.create("one").await.id, t.create("two").await.id);
        let task = t
            .create_with("last", |task| task.depends_on = vec![one, two])
            .await;
        let held = worker.begin().await;
        worker
            .complete(&held, json!(1))
            .await
            .expect("a completion");
        let why = why(t, task.id).await;
        assert_eq!(why.reason, WhyReason::BlockedBy);
        let [blocker] = why.blocked_by.as_slice() else {
            panic!("only one is unfinished: {:?}", why.blocked_by);
        };
        assert_eq!((blocker.task_id, blocker.title.as_str()), (two, "two"));
        assert_eq!(blocker.state, TaskState::Ready);
    });
}

#[test]
fn a_task_whose_tag_nobody_serves_is_told_the_nearest_one() {
    test(async |t| {
        t.worker("w1").tags(&["role:painters", "gpu"]).await;
        let task = for_painters(t).await;
        let why = why(t, task.id).await;
        assert_eq!(why.reason, WhyReason::NoWorkerWithTag);
        assert_eq!(why.routing_tag.as_deref(), Some("role:painter"));
        assert_eq!(why.nearest_tag.as_deref(), Some("role:painters"));
    });
}

#[test]
fn a_tag_unlike_any_other_has_no_nearest_one() {
    test(async |t| {
        t.worker("w1").tags(&["gpu"]).await;
        let task = for_painters(t).await;
        let why = why(t, task.id).await;
        assert_eq!(why.reason, WhyReason::NoWorkerWithTag);
        assert_eq!(why.nearest_tag, None);
    });
}

#[test]
fn a_worker_that_is_silent_serves_nothing() {
    test(async |t| {
        t.worker("w1").tags(&["role:painter"]).await;
        let task = for_painters(t).await;
        assert_eq!(why(t, task.id).await.reason, WhyReason::WaitingForClaim);
        t.age_holders(3600.0).await;
        let why = why(t, task.id).await;
        assert_eq!(why.reason, WhyReason::NoWorkerWithTag);
        assert_eq!(why.nearest_tag, None);
    });
}

#[test]
fn a_task_for_one_agent_waits_for_that_agent_alone() {
    test(async |t| {
        let (own, other) = (t.worker("own").await, t.worker("other").await);
        let task = t
            .create_with("paint", |task| task.preferred_agent_id = Some(own.agent_id))
            .await;
        assert_eq!(why(t, task.id).await.reason, WhyReason::WaitingForClaim);
        t.admin()
            .drain_worker(other.worker_id)
            .await
            .expect("a drain");
        assert_eq!(why(t, task.id).await.reason, WhyReason::WaitingForClaim);
        t.admin()
            .drain_worker(own.worker_id)
            .await
            .expect("a drain");
        assert_eq!(why(t, task.id).await.reason, WhyReason::AllDraining);
    });
}

#[test]
fn a_task_that_only_draining_workers_serve_is_told_so() {
    test(async |t| {
        let (one, two) = (
            t.worker("w1").tags(&["role:painter"]).await,
            t.worker("w2").tags(&["role:painter"]).await,
        );
        let task = for_painters(t).await;
        let admin = t.admin();
        admin.drain_worker(one.worker_id).await.expect("a drain");
        assert_eq!(why(t, task.id).await.reason, WhyReason::WaitingForClaim);
        admin.drain_worker(two.worker_id).await.expect("a drain");
        assert_eq!(why(t, task.id).await.reason, WhyReason::AllDraining);
    });
}

#[test]
fn a_task_whose_holders_are_full_is_told_so() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("one").await;
        let task = t.create("two").await;
        assert_eq!(why(t, task.id).await.reason, WhyReason::WaitingForClaim);
        let held = worker.begin().await;
        assert_eq!(why(t, task.id).await.reason, WhyReason::HolderFull);
        worker
            .complete(&held, json!(1))
            .await
            .expect("a completion");
        let why = why(t, task.id).await;
        assert_eq!(why.reason, WhyReason::WaitingForClaim);
        assert_eq!((why.state, why.routing_tag), (TaskState::Ready, None));
    });
}

#[test]
fn a_held_task_tells_who_holds_it_until_when() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await.id;
        let held = worker.claim_one().await;
        for state in [TaskState::Claimed, TaskState::InProgress] {
            let why = why(t, task).await;
            assert_eq!((why.reason, why.state), (WhyReason::LeasedUntil, state));
            assert_eq!(why.agent_id, Some(worker.agent_id));
            assert_eq!(why.worker_id, Some(worker.worker_id));
            assert_eq!(why.attempt, 1);
            assert_eq!(why.until, t.task(task).await.lease_expires_at);
            assert!(why.until.is_some());
            worker.start(&held).await.expect("a start");
        }
    });
}

#[test]
fn a_task_whose_output_is_doubted_waits_for_a_person() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let held = worker.begin().await;
        let mut completion = TestWorker::completion(&held, json!(1));
        completion.verification = Some(object(json!({"passed": false})));
        worker
            .agent
            .complete_task(held.id, &completion)
            .await
            .expect("a completion");
        let why = why(t, held.id).await;
        assert_eq!(why.reason, WhyReason::WaitingForPerson);
        assert_eq!(why.state, TaskState::OutputPendingAssessment);
    });
}

#[test]
fn a_task_that_has_ended_is_final() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("completed").await;
        let held = worker.begin().await;
        worker
            .complete(&held, json!(1))
            .await
            .expect("a completion");
        let completed = held.id;
        t.create("failed").await;
        let held = worker.begin().await;
        worker.fail(&held, "broken").await.expect("a failure");
        let failed = held.id;
        let cancelled = t.create("cancelled").await.id;
        t.admin()
            .cancel_task(cancelled, &CancelTask::default())
            .await
            .expect("a cancellation");
        for (task, state) in [
            (completed, TaskState::Completed),
            (failed, TaskState::Failed),
            (cancelled, TaskState::Cancelled),
        ] {
            let why = why(t, task).await;
            assert_eq!((why.reason, why.state), (WhyReason::Final, state));
            assert!(!why.message.is_empty());
        }
        let told = why(t, failed).await.message;
        assert!(told.contains("it broke"), "{told}");
    });
}

#[test]
fn a_task_that_does_not_exist_has_no_reason() {
    test(async |t| {
        let nobody = TaskId::from(Uuid::new_v4());
        refused(
            t.admin().explain_task(nobody).await,
            stint_protocol::ErrorCode::NotFound,
        );
    });
}

#[test]
fn the_depth_of_the_queue_is_told_by_tag() {
    test(async |t| {
        let worker = t.worker("w1").await;
        for _ in 0..3 {
            for_painters(t).await;
        }
        t.create("one").await;
        t.create("two").await;
        t.create_with("for one agent", |task| {
            task.preferred_agent_id = Some(worker.agent_id);
        })
        .await;
        let depth = t.admin().get_queue_depth().await.expect("a depth");
        assert_eq!(depth.total_pending, 6);
        let mut tags: Vec<_> = depth
            .by_tag
            .iter()
            .map(|depth| (depth.tag.as_str(), depth.ready))
            .collect();
        tags.sort_unstable();
        assert_eq!(tags, [("", 3), ("role:painter", 3)]);
        assert!(
            depth
                .by_tag
                .iter()
                .all(|depth| depth.oldest_ready_seconds >= 0.0)
        );
        for _ in 0..3 {
            // A holder of capacity 1 must give back what it has before it gets something else.
            let held = worker.begin().await;
            worker
                .complete(&held, json!(1))
                .await
                .expect("a completion");
        }
        let depth = t.admin().get_queue_depth().await.expect("a depth");
        let tags: Vec<_> = depth
            .by_tag
            .iter()
            .map(|depth| depth.tag.as_str())
            .collect();
        assert_eq!((depth.total_pending, tags), (3, vec!["role:painter"]));
    });
}
