//! Operations of tasks by the work item to which they belong: the same as those of the task's own routes.

use serde_json::{Value, json};
use stint_protocol::client::TaskPlace;
use stint_protocol::{
    AgentEscalate, AnswerEscalation, ApproveOutput, ApproveTask, CancelTask, CreateTask,
    OverrideOutput, ReassignTask, RejectTask, RequestChanges, RetryTask, SkipTask, Task, TaskId,
    TaskState, WorkItem,
};
use stint_tests::{TestPlatform, TestWorker, json as exactly, object, status_of, test};

use super::{make, orchestrated, task_in};

/// The operations, each by the last part of its path.
const OPERATIONS: &[&str] = &[
    "approve",
    "approve-output",
    "reject",
    "request-changes",
    "retry",
    "skip",
    "cancel",
    "resolve-escalation",
    "reassign",
    "output-override",
    "agent-escalate",
];

/// A body that every operation takes, as far as it goes.
fn body_of(operation: &str) -> Value {
    match operation {
        "reject" | "request-changes" => json!({ "feedback": "no" }),
        "skip" | "reassign" => json!({ "reason": "no" }),
        "output-override" => json!({ "reason": "no", "output": {} }),
        "resolve-escalation" => json!({ "instructions": "go on" }),
        "agent-escalate" => json!({ "reason": "help", "attempt": 1 }),
        _ => json!({}),
    }
}

fn place(item: &WorkItem, task: TaskId) -> TaskPlace {
    (item.workflow_id, item.id, task)
}

async fn make_task(t: &TestPlatform, item: &WorkItem, with: impl FnOnce(&mut CreateTask)) -> Task {
    let mut wanted = task_in("work", item.id);
    with(&mut wanted);
    t.admin().create_task(&wanted).await.expect("a task")
}

fn strict(task: &mut CreateTask) {
    task.role_config = Some(object(json!({ "output_schema": { "type": "object" } })));
}

async fn hold_output(worker: &TestWorker) -> TaskId {
    let held = worker.begin().await;
    let done = worker.complete(&held, json!("no object")).await;
    assert_eq!(
        done.expect("an end").state,
        TaskState::OutputPendingAssessment
    );
    held.id
}

#[test]
fn a_task_that_is_not_of_the_work_item_does_not_exist_there() {
    test(async |t| {
        let run = orchestrated(t).await;
        let other = orchestrated(t).await;
        let (one, two) = (make(t, run, "One").await, make(t, run, "Two").await);
        let task = make_task(t, &one, |_| {}).await;
        let free = t.create("free").await;
        for operation in OPERATIONS {
            let places = [
                (run, two.id, task.id),
                (other, one.id, task.id),
                (run, one.id, free.id),
                (run, one.id, TaskId::new()),
            ];
            for (run, item, task) in places {
                let path =
                    format!("/api/v1/workflows/{run}/work-items/{item}/tasks/{task}/{operation}");
                let answer = t.post(&path, t.admin_key(), &body_of(operation)).await;
                assert_eq!(answer.status, 404, "{operation}: {}", answer.text);
            }
        }
        let path = format!("/api/v1/workflows/{other}/tasks/{}/agent-escalate", task.id);
        let answer = t
            .post(&path, t.admin_key(), &body_of("agent-escalate"))
            .await;
        assert_eq!(answer.status, 404, "{}", answer.text);
        assert_eq!(t.state(task.id).await, TaskState::Ready);
        assert_eq!(t.state(free.id).await, TaskState::Ready);
    });
}

#[test]
fn what_waits_is_approved_rejected_and_sent_back_by_its_work_item() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let admin = t.admin();
        let run = orchestrated(t).await;
        let item = make(t, run, "One").await;
        let asking = |task: &mut CreateTask| task.requires_approval = Some(true);

        let first = make_task(t, &item, asking).await;
        let yes = ApproveTask::default();
        let approved = admin.approve_work_item_task(place(&item, first.id), &yes);
        assert_eq!(approved.await.expect("it runs").state, TaskState::Ready);
        worker.work_off(|_| json!({})).await;

        let second = make_task(t, &item, asking).await;
        let no = RejectTask {
            feedback: "no".to_owned(),
            request_id: None,
        };
        let rejected = admin.reject_work_item_task(place(&item, second.id), &no);
        assert_eq!(rejected.await.expect("an end").state, TaskState::Failed);

        make_task(t, &item, strict).await;
        let held = hold_output(&worker).await;
        let again = RequestChanges {
            feedback: "an object".to_owned(),
            ..RequestChanges::default()
        };
        let changes = admin.request_work_item_task_changes(place(&item, held), &again);
        assert_eq!(changes.await.expect("a rework").state, TaskState::Ready);
        assert_eq!(hold_output(&worker).await, held);
        let yes = ApproveOutput::default();
        let done = admin.approve_work_item_task_output(place(&item, held), &yes);
        assert_eq!(done.await.expect("an end").state, TaskState::Completed);
    });
}

#[test]
fn tasks_are_retried_skipped_cancelled_reassigned_and_overridden_by_their_work_item() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let admin = t.admin();
        let run = orchestrated(t).await;
        let item = make(t, run, "One").await;
        let task = make_task(t, &item, |_| {}).await.id;
        let at = place(&item, task);
        let held = worker.begin().await;
        worker.fail(&held, "broken").await.expect("a failure");
        let retried = admin.retry_work_item_task(at, &RetryTask::default()).await;
        assert_eq!(retried.expect("a retry").state, TaskState::Ready);
        let given = ReassignTask {
            reason: "that one knows".to_owned(),
            preferred_worker_id: Some(worker.worker_id),
            ..ReassignTask::default()
        };
        let given = admin.reassign_work_item_task(at, &given).await;
        assert_eq!(
            given.expect("a task").preferred_worker_id,
            Some(worker.worker_id)
        );
        let cancelled = admin
            .cancel_work_item_task(at, &CancelTask::default())
            .await;
        assert_eq!(cancelled.expect("an end").state, TaskState::Cancelled);
        let skip = SkipTask {
            reason: "not needed".to_owned(),
            request_id: None,
        };
        let skipped = admin.skip_work_item_task(at, &skip).await;
        assert_eq!(skipped.expect("an end").state, TaskState::Completed);
        let by_hand = OverrideOutput {
            output: exactly(json!({ "n": 1 })),
            reason: "known".to_owned(),
            request_id: Some("by-hand".to_owned()),
        };
        for _ in 0..2 {
            let done = admin.override_work_item_task_output(at, &by_hand).await;
            assert_eq!(
                done.expect("an end").output,
                Some(exactly(json!({ "n": 1 })))
            );
        }
    });
}

#[test]
fn a_holder_asks_for_help_and_is_answered_by_the_work_item_or_by_the_run() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let admin = t.admin();
        let run = orchestrated(t).await;
        let item = make(t, run, "One").await;
        let task = make_task(t, &item, |_| {}).await.id;
        for of_run in [false, true] {
            let held = worker.begin().await;
            let help = AgentEscalate {
                reason: "which blue?".to_owned(),
                attempt: Some(held.attempt),
                ..AgentEscalate::default()
            };
            let agent = &worker.agent;
            let asked = match of_run {
                true => agent.agent_escalate_workflow_task(run, task, &help).await,
                false => {
                    agent
                        .agent_escalate_work_item_task(place(&item, task), &help)
                        .await
                }
            };
            assert_eq!(asked.expect("a call for help").state, TaskState::Escalated);
            let answer = AnswerEscalation {
                instructions: "the light one".to_owned(),
                ..AnswerEscalation::default()
            };
            let resolved = admin.resolve_work_item_task_escalation(place(&item, task), &answer);
            assert_eq!(resolved.await.expect("an answer").state, TaskState::Ready);
        }
        let yes = ApproveTask::default();
        let wrong = admin.approve_work_item_task(place(&item, task), &yes);
        assert_eq!(status_of(wrong.await), 409, "it waits for no approval");
    });
}
