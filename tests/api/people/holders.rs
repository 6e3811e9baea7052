//! Who may begin, who goes on, and who asks for help.

use serde_json::json;

use super::*;

#[test]
fn a_task_that_requires_approval_is_not_handed_out_before_it_has_it() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let asks = |task: &mut stint_protocol::CreateTask| task.requires_approval = Some(true);
        let task = t.create_with("paint", asks).await;
        assert_eq!(task.state, TaskState::AwaitingApproval);
        let why = t.admin().explain_task(task.id).await.expect("a reason");
        assert_eq!(why.reason, WhyReason::WaitingForPerson);
        assert!(worker.claim().await.is_none());
        let approved = t
            .admin()
            .approve_task(task.id, &ApproveTask::default())
            .await;
        assert_eq!(approved.expect("an approval").state, TaskState::Ready);
        let held = worker.claim_one().await;
        // Handed back, it needs no other approval.
        let released = worker.release(&held).await.expect("a release");
        assert_eq!(released.state, TaskState::Ready);
        assert_eq!(
            t.reasons(task.id).await,
            ["create", "request_approval", "approve", "claim", "release"]
        );
    });
}

#[test]
fn approval_is_asked_for_when_nothing_else_keeps_a_task_from_running() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let needed = t.create("needed").await.id;
        let due = chrono::DateTime::from_timestamp(4_000_000_000, 0).expect("a moment");
        let blocked = t
            .create_with("blocked", |task| {
                task.requires_approval = Some(true);
                task.depends_on = vec![needed];
            })
            .await;
        let delayed = t
            .create_with("delayed", |task| {
                task.requires_approval = Some(true);
                task.run_at = Some(due.into());
            })
            .await;
        for task in [&blocked, &delayed] {
            assert_eq!(task.state, TaskState::Pending);
        }
        let held = worker.begin().await;
        worker.complete(&held, json!(1)).await.expect("an end");
        t.run_loop("release_due").await;
        assert_eq!(t.state(blocked.id).await, TaskState::AwaitingApproval);
        assert_eq!(t.state(delayed.id).await, TaskState::Pending);
        t.release_due().await;
        assert_eq!(t.state(delayed.id).await, TaskState::AwaitingApproval);
    });
}

#[test]
fn a_reassigned_task_goes_to_the_one_who_is_named() {
    test(async |t| {
        let first = t.worker("w1").await;
        let second = t.worker("w2").await;
        let task = t.create("paint").await.id;
        let held = first.begin().await;
        let mut wanted = reassignment();
        wanted.preferred_agent_id = Some(second.agent_id);
        let given = t
            .admin()
            .reassign_task(task, &wanted)
            .await
            .expect("it is given");
        assert_eq!(given.state, TaskState::Ready);
        assert_eq!(given.preferred_agent_id, Some(second.agent_id));

        let lease = LeaseRef {
            task_id: task,
            attempt: held.attempt,
        };
        let beat = AgentHeartbeat {
            leases: Some(vec![HeartbeatLease {
                task_id: task,
                attempt: held.attempt,
                progress: None,
            }]),
            ..AgentHeartbeat::default()
        };
        let told = first.agent.heartbeat_agent(first.agent_id, &beat).await;
        assert_eq!(told.expect("a heartbeat").lost, [lease]);
        refused_because(first.complete(&held, json!(1)).await, ReasonCode::LeaseLost);
        assert!(first.claim().await.is_none());
        assert_eq!(second.claim_one().await.id, task);

        // Nobody named: whoever serves it.
        t.admin()
            .reassign_task(task, &reassignment())
            .await
            .expect("it is given back");
        assert_eq!(first.claim_one().await.id, task);

        wanted.preferred_agent_id = Some(Uuid::new_v4().into());
        refused(
            t.admin().reassign_task(task, &wanted).await,
            ErrorCode::NotFound,
        );
        assert_eq!(t.state(task).await, TaskState::Claimed);
    });
}

#[test]
fn a_task_that_waits_is_reassigned_where_it_is() {
    test(async |t| {
        let second = t.worker("w2").await;
        let mut wanted = reassignment();
        wanted.preferred_worker_id = Some(second.worker_id);
        let task = t
            .create_with("paint", |task| task.requires_approval = Some(true))
            .await
            .id;
        let given = t
            .admin()
            .reassign_task(task, &wanted)
            .await
            .expect("it is given");
        assert_eq!(given.state, TaskState::AwaitingApproval);
        t.admin()
            .approve_task(task, &ApproveTask::default())
            .await
            .expect("an approval");
        let first = t.worker("w1").await;
        assert!(first.claim().await.is_none());
        assert_eq!(second.claim_one().await.id, task);
    });
}

#[test]
fn a_holder_asks_for_help_and_the_next_attempt_has_the_answer() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("paint").await.id;
        let held = worker.begin().await;
        let help = call_for_help(&held);
        for _ in 0..2 {
            let asked = worker.agent.agent_escalate_task(task, &help).await;
            let asked = asked.expect("a call for help");
            assert_eq!(asked.state, TaskState::Escalated);
            let question = asked.question.expect("a question").members();
            assert_eq!(question["reason"], "which blue?");
        }
        assert_eq!(
            t.reasons(task).await,
            ["create", "claim", "start", "escalate"]
        );
        refused_because(
            worker.complete(&held, json!(1)).await,
            ReasonCode::LeaseLost,
        );

        let told = t
            .admin()
            .answer_task_escalation(task, &answer("ask Ann"))
            .await;
        assert_eq!(told.expect("an answer").state, TaskState::Escalated);
        let mut last = answer("the light one");
        last.context = Some(object(json!({"code": 7})));
        let resolved = t.admin().resolve_task_escalation(task, &last).await;
        assert_eq!(resolved.expect("an answer").state, TaskState::Ready);
        let held = worker.claim_one().await;
        assert_eq!(held.attempt, 2);
        let told = held.context.expect("a context").members();
        assert_eq!(told["escalation"]["instructions"], "the light one");
        assert_eq!(told["escalation"]["context"], json!({"code": 7}));
        assert_eq!(told["escalation"]["question"]["work_so_far"], "the door");
    });
}

#[test]
fn only_the_holder_asks_for_help_and_only_with_its_attempt() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let other = t.worker("w2").await;
        let task = t.create("paint").await.id;
        let held = worker.begin().await;
        let help = call_for_help(&held);
        refused_because(
            other.agent.agent_escalate_task(task, &help).await,
            ReasonCode::NotHolder,
        );
        let mut unfenced = help.clone();
        unfenced.attempt = None;
        refused_because(
            worker.agent.agent_escalate_task(task, &unfenced).await,
            ReasonCode::AttemptMissing,
        );
        let mut stale = help.clone();
        stale.attempt = Some(held.attempt - 1);
        refused_because(
            worker.agent.agent_escalate_task(task, &stale).await,
            ReasonCode::LeaseLost,
        );
        assert_eq!(t.state(task).await, TaskState::InProgress);
    });
}

#[test]
fn an_answer_to_nobody_is_refused() {
    test(async |t| {
        let task = t.create("paint").await.id;
        refused(
            t.admin().answer_task_escalation(task, &answer("do")).await,
            ErrorCode::InvalidStateTransition,
        );
    });
}
