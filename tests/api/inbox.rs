//! The inbox: one list of whatever waits for a person, and one way to decide.

use serde_json::json;
use stint_protocol::{
    AgentEscalate, ApprovalAction, ApprovalKind, CreateTask, DecideApproval, ErrorCode, ReasonCode,
    TaskId, TaskState,
};
use stint_tests::{TestPlatform, TestWorker, object, refused, refused_because, test};

fn decision(action: ApprovalAction) -> DecideApproval {
    DecideApproval {
        action,
        feedback: None,
        fields: None,
        request_id: None,
    }
}

fn with_feedback(action: ApprovalAction, feedback: &str) -> DecideApproval {
    DecideApproval {
        feedback: Some(feedback.to_owned()),
        ..decision(action)
    }
}

fn asks(task: &mut CreateTask) {
    task.requires_approval = Some(true);
}

/// One of each kind: an approval, an output, an escalation.
async fn one_of_each(t: &TestPlatform, worker: &TestWorker) -> [TaskId; 3] {
    let approval = t.create_with("may it run", asks).await.id;
    let output = t
        .create_with("is it good", |task| {
            task.role_config = Some(object(json!({"output_schema": {
                "type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}},
            }})));
        })
        .await
        .id;
    let held = worker.begin().await;
    let done = worker.complete(&held, json!({"n": "one"})).await;
    assert_eq!(
        done.expect("an end").state,
        TaskState::OutputPendingAssessment
    );
    let escalation = t.create("how to go on").await.id;
    let held = worker.begin().await;
    let help = AgentEscalate {
        reason: "which blue?".to_owned(),
        attempt: Some(held.attempt),
        ..AgentEscalate::default()
    };
    let asked = worker.agent.agent_escalate_task(escalation, &help).await;
    asked.expect("a call for help");
    [approval, output, escalation]
}

#[test]
fn whatever_waits_for_a_person_is_in_one_list_with_what_there_is_to_know() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let tasks = one_of_each(t, &worker).await;
        let list = t.admin().list_approvals(&[]).await.expect("a list");
        assert_eq!(list.meta.total, 3);
        let seen: Vec<_> = list
            .data
            .iter()
            .map(|one| (one.task_id, one.kind))
            .collect();
        let kinds = [
            ApprovalKind::TaskApproval,
            ApprovalKind::OutputAssessment,
            ApprovalKind::Escalation,
        ];
        let expected: Vec<_> = tasks.into_iter().zip(kinds).collect();
        assert_eq!(seen, expected);
        assert!(list.data[1].verification.is_some() && list.data[1].output.is_some());
        let question = list.data[2].question.clone().expect("a question").members();
        assert_eq!(question["reason"], "which blue?");

        let page = t
            .admin()
            .list_approvals(&[("per_page", "2"), ("page", "2")])
            .await;
        assert_eq!(page.expect("a page").data[0].task_id, tasks[2]);
        let some = t.admin().list_approvals(&[("kind", "escalation")]).await;
        let some = some.expect("a list");
        assert_eq!((some.meta.total, some.data[0].task_id), (1, tasks[2]));
        let one = t.admin().get_approval(tasks[0].uuid()).await.expect("one");
        assert_eq!(one.kind, ApprovalKind::TaskApproval);

        let other = t.other_tenant().await;
        assert_eq!(
            other.list_approvals(&[]).await.expect("a list").meta.total,
            0
        );
        refused(
            other.get_approval(tasks[0].uuid()).await,
            ErrorCode::NotFound,
        );
    });
}

#[test]
fn an_approval_lets_it_go_on_with_what_was_edited() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let [approval, output, escalation] = one_of_each(t, &worker).await;
        let mut yes = decision(ApprovalAction::Approve);
        yes.fields = Some(object(json!({"colour": "blue"})));
        let done = t.admin().decide_approval(approval.uuid(), &yes).await;
        assert_eq!(done.expect("a decision").task_state, TaskState::Ready);
        assert_eq!(
            t.task(approval).await.input,
            object(json!({"colour": "blue"}))
        );

        // An edited output must fit the schema.
        refused(
            t.admin().decide_approval(output.uuid(), &yes).await,
            ErrorCode::SchemaValidationFailed,
        );
        yes.fields = Some(object(json!({"n": 1})));
        let done = t.admin().decide_approval(output.uuid(), &yes).await;
        assert_eq!(done.expect("a decision").task_state, TaskState::Completed);
        assert_eq!(
            t.task(output).await.output,
            Some(stint_tests::json(json!({"n": 1})))
        );

        let told = with_feedback(ApprovalAction::Approve, "the light one");
        let done = t.admin().decide_approval(escalation.uuid(), &told).await;
        assert_eq!(done.expect("a decision").task_state, TaskState::Ready);
        let list = t.admin().list_approvals(&[]).await.expect("a list");
        assert_eq!(list.meta.total, 0);
    });
}

#[test]
fn a_refusal_needs_its_reason() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let [approval, output, escalation] = one_of_each(t, &worker).await;
        for action in [ApprovalAction::Reject, ApprovalAction::RequestChanges] {
            let told = t
                .admin()
                .decide_approval(output.uuid(), &decision(action))
                .await;
            refused(told, ErrorCode::SchemaValidationFailed);
            let told = with_feedback(action, "no");
            let told = t.admin().decide_approval(escalation.uuid(), &told).await;
            refused(told, ErrorCode::SchemaValidationFailed);
        }
        let silent = decision(ApprovalAction::Approve);
        let told = t.admin().decide_approval(escalation.uuid(), &silent).await;
        refused(told, ErrorCode::SchemaValidationFailed);
        let mut edited = with_feedback(ApprovalAction::Reject, "no");
        edited.fields = Some(object(json!({})));
        let told = t.admin().decide_approval(approval.uuid(), &edited).await;
        refused(told, ErrorCode::SchemaValidationFailed);

        let no = with_feedback(ApprovalAction::Reject, "no");
        let done = t.admin().decide_approval(approval.uuid(), &no).await;
        assert_eq!(done.expect("a decision").task_state, TaskState::Failed);
        let again = with_feedback(ApprovalAction::RequestChanges, "bluer");
        let done = t.admin().decide_approval(output.uuid(), &again).await;
        assert_eq!(done.expect("a decision").task_state, TaskState::Ready);
    });
}

#[test]
fn what_was_decided_is_not_decided_again() {
    test(async |t| {
        let task = t.create_with("may it run", asks).await.id;
        let mut yes = decision(ApprovalAction::Approve);
        yes.request_id = Some("yes".to_owned());
        for _ in 0..2 {
            let done = t.admin().decide_approval(task.uuid(), &yes).await;
            assert_eq!(done.expect("a decision").task_state, TaskState::Ready);
        }
        let no = with_feedback(ApprovalAction::Reject, "no");
        refused_because(
            t.admin().decide_approval(task.uuid(), &no).await,
            ReasonCode::StateChanged,
        );
        refused(
            t.admin().get_approval(task.uuid()).await,
            ErrorCode::NotFound,
        );
        assert_eq!(t.state(task).await, TaskState::Ready);
    });
}
