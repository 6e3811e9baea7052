//! The inbox: one list of whatever waits for a person, and one way to decide.

use serde_json::json;
use stint_protocol::{
    AgentEscalate, Approval, ApprovalAction, ApprovalKind, Bare, CreateKey, CreateTask,
    DecideApproval, ErrorCode, OnExpiry, ReasonCode, Scope, StepState, TaskId, TaskState,
    WorkflowId, WorkflowState, WorkspaceId,
};
use stint_tests::{
    TestPlatform, TestWorker, json as exactly, object, refused, refused_because, test,
};
use uuid::Uuid;

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
            .map(|one| (one.task_id.expect("a task"), one.kind))
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
        assert_eq!(page.expect("a page").data[0].task_id, Some(tasks[2]));
        let some = t.admin().list_approvals(&[("kind", "escalation")]).await;
        let some = some.expect("a list");
        assert_eq!((some.meta.total, some.data[0].task_id), (1, Some(tasks[2])));
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
        assert_eq!(done.expect("a decision").task_state, Some(TaskState::Ready));
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
        assert_eq!(
            done.expect("a decision").task_state,
            Some(TaskState::Completed)
        );
        assert_eq!(
            t.task(output).await.output,
            Some(stint_tests::json(json!({"n": 1})))
        );

        let told = with_feedback(ApprovalAction::Approve, "the light one");
        let done = t.admin().decide_approval(escalation.uuid(), &told).await;
        assert_eq!(done.expect("a decision").task_state, Some(TaskState::Ready));
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
        assert_eq!(
            done.expect("a decision").task_state,
            Some(TaskState::Failed)
        );
        let again = with_feedback(ApprovalAction::RequestChanges, "bluer");
        let done = t.admin().decide_approval(output.uuid(), &again).await;
        assert_eq!(done.expect("a decision").task_state, Some(TaskState::Ready));
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
            assert_eq!(done.expect("a decision").task_state, Some(TaskState::Ready));
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

/// A run whose only step asks, and another step that needs the answer.
async fn asking_run(t: &TestPlatform) -> WorkflowId {
    let steps = json!({
        "ask": { "kind": "approval", "title": "Publish?", "message": "Publish it as {{ 'this' }}?",
                 "fields": { "type": "object", "properties": { "title": { "type": "string" } } },
                 "values": { "title": "old" }, "expires_after_seconds": 3600, "on_expiry": "approve" },
        "go": { "kind": "task", "needs": ["ask"], "input": { "title": "{{ steps.ask.output.fields.title }}" } },
    });
    t.launch(steps).await.workflow.id
}

async fn inbox(t: &TestPlatform) -> Vec<Approval> {
    t.admin().list_approvals(&[]).await.expect("a list").data
}

#[test]
fn a_step_that_asks_is_in_the_inbox_and_is_decided_from_what_the_inbox_says() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let run = asking_run(t).await;
        let [asked] = &inbox(t).await[..] else {
            panic!("one thing waits")
        };
        assert_eq!(asked.kind, ApprovalKind::StepApproval);
        assert_eq!(
            (asked.task_id, asked.step_id.as_deref()),
            (None, Some("ask"))
        );
        assert_eq!(asked.workflow_id, Some(run));
        assert_eq!(asked.workflow_name.as_deref(), Some("Run"));
        assert_eq!(
            (asked.title.as_str(), asked.message.as_str()),
            ("Publish?", "Publish it as this?")
        );
        assert_eq!(asked.values, Some(exactly(json!({ "title": "old" }))));
        let schema = asked
            .fields
            .as_ref()
            .expect("fields can be edited")
            .members();
        assert_eq!(schema["properties"]["title"]["type"], "string");
        assert!(asked.expires_at.is_some());
        assert_eq!(asked.on_expiry, Some(OnExpiry::Approve));
        assert_eq!(
            asked.actions,
            [ApprovalAction::Approve, ApprovalAction::Reject]
        );
        assert_eq!(asked.actions_with_feedback, [ApprovalAction::Reject]);
        let one = t.admin().get_approval(asked.id).await.expect("one");
        assert_eq!(one.step_id, asked.step_id);

        // What it does not offer is refused, and changes nothing.
        let changes = with_feedback(ApprovalAction::RequestChanges, "bluer");
        let told = t.admin().decide_approval(asked.id, &changes).await;
        refused(told, ErrorCode::SchemaValidationFailed);
        let silent = decision(ApprovalAction::Reject);
        let told = t.admin().decide_approval(asked.id, &silent).await;
        refused(told, ErrorCode::SchemaValidationFailed);
        let mut yes = decision(ApprovalAction::Approve);
        yes.fields = Some(object(json!({ "title": 7 })));
        let told = t.admin().decide_approval(asked.id, &yes).await;
        refused(told, ErrorCode::SchemaValidationFailed);

        yes.fields = Some(object(json!({ "title": "new" })));
        let answer = t
            .post(
                &asked.decision_path,
                t.admin_key(),
                &serde_json::to_value(&yes).expect("JSON"),
            )
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.data()["step_state"], StepState::Completed.as_str());
        assert!(inbox(t).await.is_empty());
        refused(t.admin().get_approval(asked.id).await, ErrorCode::NotFound);
        refused_because(
            t.admin().decide_approval(asked.id, &yes).await,
            ReasonCode::StateChanged,
        );
        let go = worker.begin().await;
        assert_eq!(go.input, object(json!({ "title": "new" })));
    });
}

#[test]
fn tasks_and_steps_share_one_list_in_the_order_in_which_they_began_to_wait() {
    test(async |t| {
        let first = t.create_with("may it run", asks).await.id;
        let run = asking_run(t).await;
        let last = t.create_with("and this one", asks).await.id;
        let step = |one: &Approval| one.task_id.map_or(one.workflow_id == Some(run), |_| false);
        let seen = inbox(t).await;
        assert_eq!(seen.len(), 3);
        assert_eq!(
            (seen[0].task_id, step(&seen[1]), seen[2].task_id),
            (Some(first), true, Some(last))
        );
        for (at, one) in seen.iter().enumerate() {
            let page = (at + 1).to_string();
            let filters = [("per_page", "1"), ("page", page.as_str())];
            let page = t.admin().list_approvals(&filters).await.expect("a page");
            assert_eq!((page.meta.total, page.data[0].id), (3, one.id));
        }
        let behind = [("per_page", "1"), ("page", "4")];
        let behind = t.admin().list_approvals(&behind).await.expect("a page");
        assert_eq!((behind.meta.total, behind.data.len()), (3, 0));
        let steps = [("kind", "step_approval")];
        let steps = t.admin().list_approvals(&steps).await.expect("a list");
        assert_eq!((steps.meta.total, steps.data[0].id), (1, seen[1].id));
        let run = run.to_string();
        let of_run = [("workflow_id", run.as_str())];
        let of_run = t.admin().list_approvals(&of_run).await.expect("a list");
        assert_eq!((of_run.meta.total, of_run.data[0].id), (1, seen[1].id));
    });
}

#[test]
fn a_restricted_key_sees_and_decides_only_what_waits_in_its_workspaces() {
    test(async |t| {
        asking_run(t).await;
        let asked = inbox(t).await[0].id;
        let restricted = async |workspace| {
            let wanted = CreateKey {
                scope: Scope::Admin,
                owner_type: None,
                owner_id: None,
                label: None,
                expires_at: None,
                workspace_ids: vec![workspace],
                routing_tags: Vec::new(),
                request_id: None,
            };
            let key = t.admin().create_key(&wanted).await.expect("a key");
            t.first().client(&key.api_key)
        };
        let elsewhere = restricted(WorkspaceId::from(Uuid::new_v4())).await;
        let list = elsewhere.list_approvals(&[]).await.expect("a list");
        assert_eq!((list.meta.total, list.data.len()), (0, 0));
        refused(elsewhere.get_approval(asked).await, ErrorCode::NotFound);
        let yes = decision(ApprovalAction::Approve);
        refused(
            elsewhere.decide_approval(asked, &yes).await,
            ErrorCode::NotFound,
        );
        let here = restricted(t.workspace().await).await;
        let list = here.list_approvals(&[]).await.expect("a list");
        assert_eq!(list.data[0].id, asked);
        here.decide_approval(asked, &yes).await.expect("a decision");
    });
}

#[test]
fn a_paused_run_takes_decisions_and_goes_on_with_them_when_it_is_resumed() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let run = asking_run(t).await;
        let bare = Bare::default();
        t.admin().pause_workflow(run, &bare).await.expect("a pause");
        let asked = inbox(t).await.remove(0);
        assert_eq!(asked.expires_at, None, "its clock stands still");
        let yes = decision(ApprovalAction::Approve);
        t.admin()
            .decide_approval(asked.id, &yes)
            .await
            .expect("a decision");
        assert_eq!(t.run_state(run).await, WorkflowState::Paused);
        assert!(worker.claim().await.is_none(), "nothing begins");
        t.admin()
            .resume_workflow(run, &bare)
            .await
            .expect("it goes on");
        let go = worker.begin().await;
        assert_eq!(go.input, object(json!({ "title": "old" })));
    });
}

#[test]
fn what_can_be_edited_is_described_for_tasks_too() {
    test(async |t| {
        let worker = t.worker("w1").await;
        one_of_each(t, &worker).await;
        let [approval, output, escalation] = &inbox(t).await[..] else {
            panic!("three things wait")
        };
        assert_eq!(approval.values, Some(exactly(json!({}))));
        assert_eq!(approval.fields, Some(object(json!({ "type": "object" }))));
        let schema = output.fields.as_ref().expect("a schema").members();
        assert_eq!(schema["required"], json!(["n"]));
        assert_eq!(output.values, Some(exactly(json!({ "n": "one" }))));
        assert_eq!((&escalation.fields, &escalation.values), (&None, &None));
        assert_eq!(escalation.message, "which blue?");
        assert_eq!(escalation.actions_with_feedback, [ApprovalAction::Approve]);
    });
}
