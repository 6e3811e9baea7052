//! Leases: how they end, and what does not end them.

use serde_json::json;
use stint_protocol::{AgentHeartbeat, HeartbeatLease, ReasonCode, TaskState, WorkerHeartbeat};
use stint_tests::{refused_because, test};

#[test]
fn a_task_whose_holder_is_silent_is_claimable_again() {
    test(async |t| {
        let (lost, other) = (t.worker("w1").await, t.worker("w2").await);
        let task = t.create("paint").await;
        lost.claim_one().await;
        t.age_leases(31.0).await;
        assert_eq!(t.expire_leases().await.changed, 0);
        t.age_leases(60.0).await;
        assert_eq!(t.expire_leases().await.changed, 1);
        let again = other.claim_one().await;
        assert_eq!(again.id, task.id);
        assert_eq!((again.attempt, again.abandon_count), (2, 1));
    });
}

#[test]
fn a_lost_task_keeps_its_place_in_the_queue() {
    test(async |t| {
        let worker = t.worker("w1").capacity(3).await;
        let first = t.create("first").await.id;
        t.create("second").await;
        worker.claim_one().await;
        t.lose_lease(first).await;
        assert_eq!(worker.claim_one().await.id, first);
    });
}

#[test]
fn an_abandon_spends_no_retry() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await.id;
        worker.claim_one().await;
        t.lose_lease(task).await;
        let task = t.task(task).await;
        assert_eq!((task.abandon_count, task.retry_count), (1, 0));
        assert_eq!(task.assigned_agent_id, None);
    });
}

#[test]
fn a_task_abandoned_too_often_fails() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t
            .create_with("poison", |task| task.max_abandons = Some(2))
            .await
            .id;
        for _ in 0..3 {
            worker.begin().await;
            t.lose_lease(task).await;
        }
        let task = t.task(task).await;
        assert_eq!((task.state, task.abandon_count), (TaskState::Failed, 3));
        assert_eq!(
            task.error.unwrap().category.as_deref(),
            Some("infrastructure")
        );
        assert!(worker.claim().await.is_none());
    });
}

#[test]
fn a_task_that_must_not_be_abandoned_fails_at_once() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t
            .create_with("once", |task| task.max_abandons = Some(0))
            .await
            .id;
        worker.claim_one().await;
        t.lose_lease(task).await;
        assert_eq!(t.state(task).await, TaskState::Failed);
    });
}

#[test]
fn a_task_abandoned_too_often_fails_its_dependants() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t
            .create_with("once", |task| task.max_abandons = Some(0))
            .await
            .id;
        let after = t
            .create_with("after", |after| after.depends_on = vec![task])
            .await
            .id;
        worker.claim_one().await;
        t.lose_lease(task).await;
        assert_eq!(t.state(after).await, TaskState::Failed);
    });
}

#[test]
fn a_lost_lease_is_told_as_such() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await.id;
        worker.begin().await;
        t.lose_lease(task).await;
        assert_eq!(
            t.reasons(task).await,
            ["create", "claim", "start", "lose_lease"]
        );
    });
}

#[test]
fn reports_after_the_lease_was_lost_change_nothing() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await.id;
        let held = worker.begin().await;
        t.lose_lease(task).await;
        refused_because(worker.start(&held).await, ReasonCode::LeaseLost);
        refused_because(
            worker.complete(&held, json!(1)).await,
            ReasonCode::LeaseLost,
        );
        refused_because(worker.fail(&held, "x").await, ReasonCode::LeaseLost);
        assert_eq!(t.reasons(task).await.len(), 4);
        assert_eq!(t.state(task).await, TaskState::Ready);
    });
}

#[test]
fn a_report_after_expiry_but_before_the_loop_still_counts() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await.id;
        let held = worker.begin().await;
        t.age_leases(10_000.0).await;
        worker.complete(&held, json!(1)).await.unwrap();
        assert_eq!(t.expire_leases().await.changed, 0);
        assert_eq!(t.state(task).await, TaskState::Completed);
    });
}

#[test]
fn a_heartbeat_renews_what_it_lists() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let held = worker.begin().await;
        t.age_leases(10_000.0).await;
        let lease = HeartbeatLease {
            task_id: held.id,
            attempt: held.attempt,
            progress: None,
        };
        let beat = WorkerHeartbeat {
            leases: Some(vec![lease]),
            ..WorkerHeartbeat::default()
        };
        let answer = worker
            .worker
            .heartbeat_worker(worker.worker_id, &beat)
            .await
            .unwrap();
        assert!(answer.lost.is_empty());
        assert_eq!(t.expire_leases().await.changed, 0);
    });
}

#[test]
fn a_plain_heartbeat_renews_all_leases() {
    test(async |t| {
        let worker = t.worker("w1").plain().await;
        t.create("paint").await;
        worker.begin().await;
        t.age_leases(10_000.0).await;
        worker
            .agent
            .heartbeat_agent(worker.agent_id, &AgentHeartbeat::default())
            .await
            .unwrap();
        assert_eq!(t.expire_leases().await.changed, 0);
    });
}

#[test]
fn starting_renews_the_lease() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let held = worker.claim_one().await;
        t.age_leases(10_000.0).await;
        worker.start(&held).await.unwrap();
        assert_eq!(t.expire_leases().await.changed, 0);
    });
}

#[test]
fn an_outage_takes_no_living_task_away() {
    test(async |t| {
        let worker = t.worker("w1").capacity(3).await;
        for _ in 0..3 {
            t.create("paint").await;
            worker.begin().await;
        }
        // Two leases long, nobody could renew: neither the holders nor we.
        t.age_leases(180.0).await;
        t.age_pulse(180.0).await;
        assert_eq!(t.run_loop("expire_leases").await.changed, 0);
        assert_eq!(t.run_loop("keep_pulse").await.changed, 3);
        assert_eq!(t.run_loop("expire_leases").await.changed, 0);
    });
}

#[test]
fn a_lease_that_was_over_before_the_outage_is_not_given_back() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        worker.begin().await;
        t.age_leases(1000.0).await;
        t.age_pulse(10.0).await;
        assert_eq!(t.run_loop("keep_pulse").await.changed, 0);
        assert_eq!(t.run_loop("expire_leases").await.changed, 1);
    });
}

#[test]
fn an_outage_does_not_count_towards_the_timeout() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t
            .create_with("paint", |task| task.timeout_minutes = Some(1))
            .await
            .id;
        worker
            .claim_with(|claim| {
                claim.start = Some(true);
                claim.lease_seconds = Some(30);
            })
            .await
            .unwrap();
        t.age_leases(100.0).await;
        t.age_pulse(95.0).await;
        t.run_loop("keep_pulse").await;
        t.run_loop("time_out_tasks").await;
        assert_eq!(t.state(task).await, TaskState::InProgress);
    });
}

#[test]
fn a_short_pause_of_the_replicas_extends_nothing() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        worker.begin().await;
        t.beat_pulse().await;
        t.age_pulse(1.0).await;
        assert_eq!(t.run_loop("keep_pulse").await.changed, 0);
    });
}

#[test]
fn two_replicas_that_find_an_outage_extend_once() {
    test(async |t| {
        let replica = t.replica().await;
        let worker = t.worker("w1").await;
        t.create("paint").await;
        worker.begin().await;
        t.age_leases(180.0).await;
        t.age_pulse(180.0).await;
        let (one, other) = tokio::join!(t.run_loop("keep_pulse"), replica.run_loop("keep_pulse"));
        assert_eq!(one.changed + other.changed, 1);
    });
}

#[test]
fn two_replicas_that_expire_leases_take_each_task_once() {
    test(async |t| {
        let replica = t.replica().await;
        let worker = t.worker("w1").capacity(30).await;
        for _ in 0..30 {
            t.create("paint").await;
            worker.claim_one().await;
        }
        t.age_leases(1000.0).await;
        t.beat_pulse().await;
        let (one, other) = tokio::join!(
            t.run_loop("expire_leases"),
            replica.run_loop("expire_leases")
        );
        assert_eq!(one.changed + other.changed, 30);
        let most: i32 = sqlx::query_scalar("select max(abandon_count) from task_queue")
            .fetch_one(t.sql())
            .await
            .unwrap();
        assert_eq!(most, 1);
    });
}

#[test]
fn an_attempt_that_takes_too_long_fails_with_category_timeout() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t
            .create_with("slow", |task| task.timeout_minutes = Some(1))
            .await
            .id;
        worker.begin().await;
        t.run_loop("time_out_tasks").await;
        assert_eq!(t.state(task).await, TaskState::InProgress);
        t.age_leases(61.0).await;
        t.run_loop("time_out_tasks").await;
        let task = t.task(task).await;
        assert_eq!(task.state, TaskState::Failed);
        assert_eq!(task.error.unwrap().category.as_deref(), Some("timeout"));
    });
}

#[test]
fn a_timed_out_attempt_is_retried_when_the_policy_says_so() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t
            .create_with("slow", |task| {
                task.timeout_minutes = Some(1);
                task.auto_retry = Some(true);
                task.max_retries = Some(1);
            })
            .await
            .id;
        worker.begin().await;
        t.age_leases(61.0).await;
        t.run_loop("time_out_tasks").await;
        let task = t.task(task).await;
        assert_eq!((task.state, task.retry_count), (TaskState::Pending, 1));
    });
}

#[test]
fn deleting_a_worker_gives_its_tasks_back() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await.id;
        worker.begin().await;
        t.admin().delete_worker(worker.worker_id).await.unwrap();
        t.expire_leases().await;
        assert_eq!(t.state(task).await, TaskState::Ready);
    });
}
