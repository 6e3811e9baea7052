//! Claiming: who gets which task, and what a repetition gets.

use serde_json::json;
use stint_protocol::{
    ClaimTask, ErrorCode, ExecutionMode, Priority, ReasonCode, RegisterAgent, TaskId, TaskState,
};
use stint_tests::{TestPlatform, TestWorker, new_task, refused, refused_because, test};
use uuid::Uuid;

async fn with_role(t: &TestPlatform, title: &str, role: &str) -> TaskId {
    t.create_with(title, |task| task.role = Some(role.to_owned()))
        .await
        .id
}

async fn with_priority(t: &TestPlatform, title: &str, priority: Priority) -> TaskId {
    t.create_with(title, |task| task.priority = Some(priority))
        .await
        .id
}

#[test]
fn a_created_task_can_be_claimed() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await;
        let claimed = worker.claim_one().await;
        assert_eq!(claimed.id, task.id);
        assert_eq!((claimed.attempt, claimed.state), (1, TaskState::Claimed));
        assert_eq!(claimed.assigned_agent_id, worker.agent_id);
        assert_eq!(claimed.assigned_worker_id, Some(worker.worker_id));
    });
}

#[test]
fn a_claim_without_work_gets_nothing() {
    test(async |t| {
        let worker = t.worker("w1").await;
        assert!(worker.claim().await.is_none());
    });
}

#[test]
fn work_that_arrives_after_an_empty_claim_is_found() {
    test(async |t| {
        let worker = t.worker("w1").await;
        assert!(worker.claim().await.is_none());
        let task = t.create("paint").await;
        assert_eq!(worker.claim_one().await.id, task.id);
    });
}

#[test]
fn work_created_on_one_replica_is_found_on_another() {
    test(async |t| {
        let replica = t.replica().await;
        let worker = t.worker("w1").await.at(&replica);
        assert!(worker.claim().await.is_none());
        let task = t.create("paint").await;
        let found = worker
            .claim_with(|claim| claim.wait_seconds = Some(20))
            .await
            .unwrap();
        assert_eq!(found.unwrap().id, task.id);
    });
}

#[test]
fn more_urgent_tasks_go_first_and_then_older_ones() {
    test(async |t| {
        let worker = t.worker("w1").capacity(5).await;
        let low = with_priority(t, "low", Priority::Low).await;
        let first = with_priority(t, "normal", Priority::Normal).await;
        let critical = with_priority(t, "critical", Priority::Critical).await;
        let second = with_priority(t, "normal", Priority::Normal).await;
        let high = with_priority(t, "high", Priority::High).await;
        for expected in [critical, high, first, second, low] {
            assert_eq!(worker.claim_one().await.id, expected);
        }
    });
}

#[test]
fn priority_counts_across_tags() {
    test(async |t| {
        let worker = t.worker("w1").capacity(3).tags(&["role:a", "role:b"]).await;
        let a = with_role(t, "a", "a").await;
        let plain = t.create("plain").await.id;
        let b = t
            .create_with("b", |task| {
                task.role = Some("b".to_owned());
                task.priority = Some(Priority::High);
            })
            .await
            .id;
        for expected in [b, a, plain] {
            assert_eq!(worker.claim_one().await.id, expected);
        }
    });
}

#[test]
fn a_task_with_a_role_goes_only_to_claims_that_name_it() {
    test(async |t| {
        let (painter, other) = (
            t.worker("w1").tags(&["role:paint"]).await,
            t.worker("w2").await,
        );
        let task = with_role(t, "paint", "paint").await;
        assert!(other.claim().await.is_none());
        assert_eq!(painter.claim_one().await.id, task);
    });
}

#[test]
fn an_unsuitable_task_does_not_hide_a_suitable_one() {
    test(async |t| {
        let worker = t.worker("w1").tags(&["role:b"]).await;
        for _ in 0..50 {
            with_role(t, "a", "a").await;
        }
        let b = with_role(t, "b", "b").await;
        assert_eq!(worker.claim_one().await.id, b);
    });
}

#[test]
fn a_task_without_a_role_goes_to_every_claim() {
    test(async |t| {
        let worker = t.worker("w1").tags(&["role:paint"]).await;
        let task = t.create("anything").await.id;
        assert_eq!(worker.claim_one().await.id, task);
    });
}

#[test]
fn a_task_for_one_agent_goes_to_no_other() {
    test(async |t| {
        let (mine, other) = (t.worker("w1").await, t.worker("w2").await);
        let task = t
            .create_with("mine", |task| task.preferred_agent_id = Some(mine.agent_id))
            .await;
        assert!(other.claim().await.is_none());
        assert_eq!(mine.claim_one().await.id, task.id);
    });
}

#[test]
fn a_task_for_one_worker_goes_to_no_other() {
    test(async |t| {
        let (mine, other) = (t.worker("w1").await, t.worker("w2").await);
        let task = t
            .create_with("mine", |task| {
                task.preferred_worker_id = Some(mine.worker_id);
            })
            .await;
        assert!(other.claim().await.is_none());
        assert_eq!(mine.claim_one().await.id, task.id);
    });
}

#[test]
fn a_task_for_one_agent_with_a_role_still_needs_the_tag() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create_with("mine", |task| {
            task.preferred_agent_id = Some(worker.agent_id);
            task.role = Some("paint".to_owned());
        })
        .await;
        assert!(worker.claim().await.is_none());
        let claim = worker
            .claim_with(|claim| claim.routing_tags = vec!["role:paint".to_owned()])
            .await;
        assert!(claim.unwrap().is_some());
    });
}

#[test]
fn a_specialist_gets_no_orchestrator_task_and_an_orchestrator_nothing_else() {
    test(async |t| {
        let agent = async |mode| {
            let wanted = RegisterAgent {
                name: format!("{mode}"),
                protocol: None,
                routing_tags: Vec::new(),
                execution_mode: Some(mode),
                capacity: Some(2),
                worker_id: None,
                playbook_id: None,
                heartbeat_interval_seconds: None,
                protocol_version: None,
                issue_api_key: None,
                tools: None,
                acp: None,
                profile: None,
                metadata: None,
                request_id: None,
            };
            t.admin().register_agent(&wanted).await.unwrap().id
        };
        let claim = async |agent_id| {
            let template = t.worker("template").await.claim_request();
            let claim = ClaimTask {
                agent_id,
                routing_tags: vec!["orchestrator".to_owned()],
                ..template
            };
            let claimed = t.admin().claim_task(&claim).await.unwrap();
            claimed.map(|task| task.id)
        };
        let steering = t
            .create_with("steer", |task| task.is_orchestrator_task = Some(true))
            .await
            .id;
        let plain = t.create("plain").await.id;
        assert_eq!(
            claim(agent(ExecutionMode::Specialist).await).await,
            Some(plain)
        );
        let orchestrator = agent(ExecutionMode::Orchestrator).await;
        assert_eq!(claim(orchestrator).await, Some(steering));
        t.create("plain").await;
        assert_eq!(claim(orchestrator).await, None);
    });
}

#[test]
fn handed_back_work_goes_first_within_its_priority() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let first = t.create("first").await.id;
        t.create("second").await;
        let claimed = worker.claim_one().await;
        assert_eq!(claimed.id, first);
        t.create("third").await;
        worker.release(&claimed).await.unwrap();
        assert_eq!(worker.claim_one().await.id, first);
    });
}

#[test]
fn work_handed_back_on_one_replica_goes_first_on_another() {
    test(async |t| {
        let replica = t.replica().await;
        let here = t.worker("w1").capacity(10).await;
        let there = t.worker("w2").capacity(10).await.at(&replica);
        for number in 0..6 {
            t.create(&format!("task {number}")).await;
        }
        let first = here.claim_one().await;
        for _ in 0..3 {
            there.claim_one().await;
        }
        here.release(&first).await.unwrap();
        let mut got = Vec::new();
        while let Some(task) = there.claim().await {
            got.push(task.id);
        }
        assert!(
            got.contains(&first.id),
            "the task that was handed back is found"
        );
        assert_eq!(got.len(), 3);
    });
}

#[test]
fn a_claim_may_start_the_task_at_once() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await;
        let begun = worker.begin().await;
        assert_eq!(begun.state, TaskState::InProgress);
        assert!(begun.started_at.is_some());
        assert_eq!(t.reasons(task.id).await, ["create", "claim", "start"]);
    });
}

#[test]
fn a_claim_may_leave_the_context_out() {
    test(async |t| {
        let worker = t.worker("w1").capacity(2).await;
        t.create("one").await;
        t.create("two").await;
        assert!(worker.claim_one().await.context.is_some());
        let bare = worker
            .claim_with(|claim| claim.include_context = Some(false))
            .await
            .unwrap();
        assert!(bare.unwrap().context.is_none());
    });
}

#[test]
fn a_lease_is_three_heartbeats_long_and_thirty_seconds_at_least() {
    test(async |t| {
        for (interval, expected) in [(5, 30), (10, 30), (60, 180)] {
            let worker = t.worker("w").beats_every(interval).await;
            t.create("paint").await;
            assert_eq!(worker.claim_one().await.lease_seconds, expected);
        }
    });
}

#[test]
fn a_claim_may_ask_for_another_length_of_lease() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let claimed = worker
            .claim_with(|claim| claim.lease_seconds = Some(777))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(claimed.lease_seconds, 777);
        let length = claimed.lease_expires_at.utc() - claimed.claimed_at.utc();
        assert_eq!(length.num_seconds(), 777);
    });
}

#[test]
fn a_claim_outside_its_limits_is_refused() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let refuse = async |change: fn(&mut ClaimTask)| {
            refused(
                worker.claim_with(change).await,
                ErrorCode::SchemaValidationFailed,
            );
        };
        refuse(|claim| claim.wait_seconds = Some(26)).await;
        refuse(|claim| claim.lease_seconds = Some(1)).await;
        refuse(|claim| claim.lease_seconds = Some(86_401)).await;
        refuse(|claim| claim.routing_tags = vec![String::new()]).await;
        refuse(|claim| claim.routing_tags = vec!["x".repeat(256)]).await;
        refuse(|claim| claim.routing_tags = vec!["x".to_owned(); 101]).await;
    });
}

#[test]
fn a_holder_claims_no_more_than_its_capacity() {
    test(async |t| {
        let worker = t.worker("w1").capacity(2).await;
        for _ in 0..3 {
            t.create("paint").await;
        }
        let first = worker.begin().await;
        worker.claim_one().await;
        assert!(worker.claim().await.is_none());
        worker.complete(&first, json!(1)).await.unwrap();
        assert!(worker.claim().await.is_some());
    });
}

#[test]
fn a_workers_capacity_bounds_its_agents_together() {
    test(async |t| {
        let worker = t.worker("w1").capacity(2).agent_capacity(5).await;
        for _ in 0..3 {
            t.create("paint").await;
        }
        worker.claim_one().await;
        worker.claim_one().await;
        assert!(worker.claim().await.is_none());
    });
}

#[test]
fn a_holder_of_capacity_1_gets_its_task_back_as_a_new_attempt() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("one").await.id;
        t.create("two").await;
        let first = worker.claim_one().await;
        let second = worker.claim_one().await;
        assert_eq!((second.id, second.attempt), (task, first.attempt + 1));
        assert_eq!(second.abandon_count, 0);
        let refusal = refused_because(worker.start(&first).await, ReasonCode::LeaseLost);
        assert_eq!(refusal.details.unwrap().current_attempt, Some(2));
    });
}

#[test]
fn a_repeated_claim_gets_the_same_attempt() {
    test(async |t| {
        let worker = t.worker("w1").capacity(2).await;
        t.create("one").await;
        t.create("two").await;
        let claim = async || {
            worker
                .claim_with(|claim| claim.request_id = Some("c1".to_owned()))
                .await
                .unwrap()
                .unwrap()
        };
        let (first, second) = (claim().await, claim().await);
        assert_eq!((first.id, first.attempt), (second.id, second.attempt));
    });
}

#[test]
fn a_repeated_claim_says_that_it_is_a_replay() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("one").await;
        let body = json!({"agent_id": worker.agent_id, "request_id": "c1"});
        let path = "/api/v1/tasks/claim";
        assert!(!t.post(path, &worker.agent_key, &body).await.is_replay());
        assert!(t.post(path, &worker.agent_key, &body).await.is_replay());
    });
}

#[test]
fn a_claim_repeated_after_its_attempt_ended_is_told_so() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("one").await;
        let claim = async || {
            worker
                .claim_with(|claim| claim.request_id = Some("c1".to_owned()))
                .await
        };
        let first = claim().await.unwrap().unwrap();
        worker.release(&first).await.unwrap();
        refused_because(claim().await, ReasonCode::LeaseLost);
    });
}

#[test]
fn a_claim_that_found_nothing_is_not_remembered() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let claim = async || {
            worker
                .claim_with(|claim| claim.request_id = Some("c1".to_owned()))
                .await
                .unwrap()
        };
        assert!(claim().await.is_none());
        t.create("one").await;
        assert!(claim().await.is_some());
    });
}

#[test]
fn twin_claims_get_one_attempt() {
    test(async |t| {
        let worker = t.worker("w1").capacity(4).await;
        t.create("one").await;
        t.create("two").await;
        let claim = async || {
            worker
                .claim_with(|claim| claim.request_id = Some("twin".to_owned()))
                .await
                .unwrap()
                .unwrap()
        };
        let (one, other) = tokio::join!(claim(), claim());
        assert_eq!((one.id, one.attempt), (other.id, other.attempt));
    });
}

#[test]
fn twin_claims_on_two_replicas_get_one_attempt() {
    test(async |t| {
        let replica = t.replica().await;
        let here = t.worker("w1").capacity(40).await;
        let there = here.at(&replica);
        for number in 0..10 {
            t.create("one").await;
            t.create("two").await;
            let claim = async |worker: &TestWorker| {
                worker
                    .claim_with(|claim| claim.request_id = Some(format!("twin {number}")))
                    .await
                    .unwrap()
                    .unwrap()
            };
            let (one, other) = tokio::join!(claim(&here), claim(&there));
            assert_eq!((one.id, one.attempt), (other.id, other.attempt));
        }
    });
}

#[test]
fn an_agent_cannot_claim_for_another_one() {
    test(async |t| {
        let (one, other) = (t.worker("w1").await, t.worker("w2").await);
        let claim = one.claim_request();
        refused_because(
            other.agent.claim_task(&claim).await,
            ReasonCode::OtherIdentity,
        );
        refused_because(
            other.worker.claim_task(&claim).await,
            ReasonCode::OtherIdentity,
        );
    });
}

#[test]
fn a_worker_may_claim_for_its_agents() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let claimed = worker.worker.claim_task(&worker.claim_request()).await;
        assert_eq!(claimed.unwrap().unwrap().assigned_agent_id, worker.agent_id);
    });
}

#[test]
fn a_claim_for_an_agent_that_does_not_exist_is_refused() {
    test(async |t| {
        let mut claim = t.worker("w1").await.claim_request();
        claim.agent_id = Uuid::new_v4().into();
        refused(t.admin().claim_task(&claim).await, ErrorCode::NotFound);
    });
}

#[test]
fn a_claim_gets_no_task_of_another_tenant() {
    test(async |t| {
        let other = t.other_tenant().await;
        other.create_task(&new_task("theirs")).await.unwrap();
        let ours = t.worker("ours").await;
        assert!(ours.claim().await.is_none());
        let theirs = t.worker_of(&other, "theirs").await;
        assert_eq!(theirs.claim_one().await.title, "theirs");
    });
}

#[test]
fn a_draining_worker_gets_nothing_new() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        t.admin().drain_worker(worker.worker_id).await.unwrap();
        assert!(worker.claim().await.is_none());
    });
}

#[test]
fn a_deleted_agent_cannot_claim() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let claim = worker.claim_request();
        t.admin().delete_agent(worker.agent_id).await.unwrap();
        refused(t.admin().claim_task(&claim).await, ErrorCode::NotFound);
    });
}

#[test]
fn a_claim_for_a_playbook_or_workflow_finds_no_other_task() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("paint").await;
        let playbook = worker
            .claim_with(|claim| claim.playbook_id = Some(Uuid::new_v4()))
            .await;
        assert!(playbook.unwrap().is_none());
        let workflow = worker
            .claim_with(|claim| claim.workflow_id = Some(Uuid::new_v4().into()))
            .await;
        assert!(workflow.unwrap().is_none());
        assert!(worker.claim().await.is_some());
    });
}
