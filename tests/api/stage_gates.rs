//! Stage gates: an orchestrator asks, a person decides, the orchestrator goes on.

use serde_json::json;
use stint_protocol::{
    AdvanceStage, ApprovalAction, DecideApproval, DecideGate, GateAction, GateEvent, GateStatus,
    NotYetReason, ReasonCode, RequestGate, RunWhyReason, StageGate, StageStatus, WorkflowState,
};
use stint_tests::{object, refused_because, status_of, test};

use crate::led::{Led, done, not_yet};

fn request(summary: &str) -> RequestGate {
    RequestGate {
        summary: summary.to_owned(),
        concerns: vec!["it is new".to_owned()],
        ..RequestGate::default()
    }
}

fn decision(action: GateAction) -> DecideGate {
    DecideGate {
        action,
        feedback: Some("because".to_owned()),
        request_id: None,
    }
}

async fn ask(led: &Led, summary: &str) -> StageGate {
    done(
        led.steer()
            .request_gate("build", &request(summary))
            .await
            .expect("a gate"),
    )
}

#[test]
fn a_gate_keeps_the_stage_until_a_person_approves_and_the_decision_wakes_the_orchestrator() {
    test(async |t| {
        let mut led = Led::of(t).await;
        let gate = ask(&led, "look").await;
        assert_eq!(
            (gate.status, gate.requested_by_task_id),
            (GateStatus::AwaitingApproval, Some(led.task.id))
        );
        assert_eq!(
            ask(&led, "look").await.id,
            gate.id,
            "the same words are the same request"
        );
        let early = led
            .steer()
            .advance_stage("build", &AdvanceStage::default())
            .await
            .unwrap();
        assert_eq!(not_yet(&early), NotYetReason::StageWaitingForGateApproval);
        assert_eq!(early.state_snapshot.unwrap().gated_stages, ["build"]);
        led.conductor.complete(&led.task, json!({})).await.unwrap();
        assert_eq!(t.run_state(led.run).await, WorkflowState::Active);
        let why = t.admin().explain_workflow(led.run).await.unwrap();
        assert_eq!(why.reason, RunWhyReason::WaitingForPerson);
        assert_eq!(
            t.run(led.run)
                .await
                .workflow
                .work_item_summary
                .awaiting_gate_count,
            1
        );
        let approve = DecideGate {
            feedback: None,
            ..decision(GateAction::Approve)
        };
        let decided = t
            .admin()
            .decide_gate(led.run, gate.id, &approve)
            .await
            .unwrap();
        assert_eq!(
            (decided.status, decided.human_decision),
            (GateStatus::Approved, Some(GateAction::Approve))
        );
        let again = t
            .admin()
            .decide_gate(led.run, gate.id, &approve)
            .await
            .unwrap();
        assert_eq!(
            again.decided_at, decided.decided_at,
            "the same decision once more changes nothing"
        );
        refused_because(
            t.admin()
                .decide_gate(led.run, gate.id, &decision(GateAction::Reject))
                .await,
            ReasonCode::StateChanged,
        );
        led.task = led.conductor.begin().await;
        let event = serde_json::Value::Object(led.task.input.members())["events"][0].clone();
        assert_eq!(
            (event["type"].as_str(), event["stage_name"].as_str()),
            (Some("stage.gate.approve"), Some("build"))
        );
        done(
            led.steer()
                .advance_stage("build", &AdvanceStage::default())
                .await
                .unwrap(),
        );
    });
}

#[test]
fn what_was_sent_back_is_asked_for_again_and_the_history_tells_all_of_it() {
    test(async |t| {
        let mut led = Led::of(t).await;
        let first = ask(&led, "look").await;
        let missing = DecideGate {
            feedback: None,
            ..decision(GateAction::RequestChanges)
        };
        assert_eq!(
            status_of(t.admin().decide_gate(led.run, first.id, &missing).await),
            422
        );
        t.admin()
            .decide_gate(led.run, first.id, &decision(GateAction::RequestChanges))
            .await
            .unwrap();
        assert_eq!(led.next().await, ["stage.gate.request_changes"]);
        let stage = &t.run(led.run).await.workflow_stages[0];
        assert_eq!(
            (stage.gate_status, stage.iteration_count),
            (GateStatus::ChangesRequested, 1)
        );
        let second = ask(&led, "look again").await;
        refused_because(
            t.admin()
                .decide_gate(led.run, first.id, &decision(GateAction::Approve))
                .await,
            ReasonCode::Superseded,
        );
        t.admin()
            .decide_gate(led.run, second.id, &decision(GateAction::RequestChanges))
            .await
            .unwrap();
        let approved = t
            .admin()
            .decide_gate(led.run, second.id, &decision(GateAction::Approve))
            .await
            .unwrap();
        let told: Vec<GateEvent> = approved
            .decision_history
            .iter()
            .map(|entry| entry.action)
            .collect();
        assert_eq!(
            told,
            [
                GateEvent::Requested,
                GateEvent::RequestChanges,
                GateEvent::Approve
            ]
        );
        let all = t.admin().list_gates(led.run).await.unwrap();
        let first = &all[1];
        assert_eq!(
            (first.is_superseded, first.superseded_by),
            (true, Some(second.id))
        );
        let told: Vec<GateEvent> = first
            .decision_history
            .iter()
            .map(|entry| entry.action)
            .collect();
        assert_eq!(
            told,
            [
                GateEvent::Requested,
                GateEvent::RequestChanges,
                GateEvent::Superseded
            ]
        );
    });
}

#[test]
fn a_rejected_or_blocked_stage_cannot_be_left_and_its_items_are_blocked() {
    test(async |t| {
        for action in [GateAction::Reject, GateAction::Block] {
            let mut led = Led::of(t).await;
            let item = led.item("One").await;
            let gate = ask(&led, "look").await;
            let gate = t
                .admin()
                .decide_gate(led.run, gate.id, &decision(action))
                .await
                .unwrap();
            let stage = &t.run(led.run).await.workflow_stages[0];
            assert_eq!(
                (stage.status, stage.gate_status),
                (StageStatus::Blocked, gate.status)
            );
            led.next().await;
            let early = led
                .steer()
                .advance_stage("build", &AdvanceStage::default())
                .await
                .unwrap();
            assert_eq!(not_yet(&early), NotYetReason::StageWaitingForGateApproval);
            let item = t
                .admin()
                .get_work_item(led.run, item.id, &[])
                .await
                .unwrap();
            assert_eq!(item.blocked_state.is_some(), action == GateAction::Block);
            t.admin()
                .cancel_workflow(led.run, &Default::default())
                .await
                .unwrap();
            led.conductor.complete(&led.task, json!({})).await.unwrap();
        }
    });
}

#[test]
fn tasks_that_a_gate_names_are_done_again_when_changes_are_asked_for() {
    test(async |t| {
        let mut led = Led::of(t).await;
        let item = led.item("One").await;
        let plan = serde_json::from_value(
            json!({ "title": "part", "work_item_id": item.id, "role": "builder" }),
        );
        let part = done(led.steer().plan_task(&plan.unwrap()).await.unwrap());
        let worker = t
            .worker("builder")
            .capacity(9)
            .tags(&["role:builder"])
            .await;
        worker.work_off(|_| json!({})).await;
        led.next().await;
        let mut wanted = request("look");
        wanted.key_artifacts = vec![object(json!({ "task_id": part.id }))];
        let gate = done(led.steer().request_gate("build", &wanted).await.unwrap());
        t.admin()
            .decide_gate(led.run, gate.id, &decision(GateAction::RequestChanges))
            .await
            .unwrap();
        let again = worker.begin().await;
        assert_eq!(again.id, part.id);
        assert_eq!(
            again.context.as_ref().unwrap().members()["rework"]["feedback"],
            "because"
        );
        assert_eq!(
            led.next().await,
            [
                "task.assessment_requested_changes",
                "stage.gate.request_changes"
            ]
        );
    });
}

#[test]
fn a_gate_of_a_stage_that_is_none_is_answered_with_advice() {
    test(async |t| {
        let led = Led::of(t).await;
        let answer = led
            .steer()
            .request_gate("nowhere", &request("look"))
            .await
            .unwrap();
        assert_eq!(not_yet(&answer), NotYetReason::ApprovalNotConfigured);
    });
}

#[test]
fn a_gate_is_in_the_inbox_until_it_is_decided_there() {
    test(async |t| {
        let mut led = Led::of(t).await;
        let gate = ask(&led, "look").await;
        let of_kind = [("kind", "stage_gate")];
        let inbox = t.admin().list_approvals(&of_kind).await.unwrap();
        let asked = &inbox.data[0];
        assert_eq!((inbox.data.len(), asked.id), (1, gate.id.uuid()));
        assert_eq!(
            (asked.message.as_str(), asked.workflow_id),
            ("look", Some(led.run))
        );
        assert_eq!(asked.actions.len(), 4);
        let id = asked.id.to_string();
        assert_eq!(
            t.admin()
                .get_approval(asked.id)
                .await
                .unwrap()
                .id
                .to_string(),
            id
        );
        let block = DecideApproval {
            action: ApprovalAction::Block,
            feedback: Some("the harbour is closed".to_owned()),
            fields: None,
            request_id: None,
        };
        let silent = DecideApproval {
            feedback: None,
            ..block.clone()
        };
        assert_eq!(
            status_of(t.admin().decide_approval(gate.id.uuid(), &silent).await),
            422
        );
        let decided = t
            .admin()
            .decide_approval(gate.id.uuid(), &block)
            .await
            .unwrap();
        assert_eq!(decided.gate_status, Some(GateStatus::Blocked));
        assert!(t.admin().list_approvals(&[]).await.unwrap().data.is_empty());
        assert_eq!(led.next().await, ["stage.gate.block"]);
    });
}

#[test]
fn numbers_tell_how_many_gates_wait_and_how_orchestrators_do() {
    test(async |t| {
        let led = Led::of(t).await;
        ask(&led, "look").await;
        t.execute("update stage_gates set requested_at = clock_timestamp() - interval '1 hour'")
            .await;
        let text = t.admin().get_metrics().await.expect("numbers");
        let number = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            value.unwrap_or_else(|| panic!("{name} is a number in {text}"))
        };
        assert_eq!(number("stint_gates_open "), 1.0);
        assert_eq!(number("stint_approvals_open "), 1.0);
        assert!(number("stint_gates_oldest_seconds ") >= 3600.0);
        assert_eq!(
            number("stint_orchestrators_woken{state=\"processing\"}"),
            1.0
        );
        assert_eq!(number("stint_orchestrators_woken{state=\"stuck\"}"), 0.0);
        // Counters are of the process, which other tests share.
        assert!(number("stint_gates_requested_total ") >= 1.0);
    });
}
