//! An orchestrator steers its run, under its own task and attempt.

use serde_json::{Value, json};
use stint_protocol::{
    ActivationCheckpoint, AdvanceStage, ApproveOutput, Bare, CancelTask, CheckpointActivation,
    CompleteWorkItem, CompleteWorkflow, EscalateToHuman, NextAction, NotYetReason, NoteContinuity,
    ReasonCode, RecoveryClass, RememberForRun, ReopenWorkItem, ReplaceInput, RequestChanges,
    StageStatus, TaskState, UpdateWorkItem, WorkItemMaker, WorkflowState,
};
use stint_tests::{TestPlatform, TestWorker, object, refused_because, status_of, test};

use crate::led::{Led, done, item, not_yet, task};

fn the_end(summary: &str) -> CompleteWorkflow {
    CompleteWorkflow {
        summary: summary.to_owned(),
        ..CompleteWorkflow::default()
    }
}

async fn builder(t: &TestPlatform) -> TestWorker {
    t.worker("builder")
        .capacity(10)
        .tags(&["role:builder"])
        .await
}

#[test]
fn what_an_orchestrator_plans_is_worked_off_and_wakes_it_and_its_own_doings_do_not() {
    test(async |t| {
        let mut led = Led::of(t).await;
        let made = led.item("One").await;
        assert_eq!(
            (made.created_by, made.stage_name.as_deref()),
            (WorkItemMaker::Orchestrator, Some("build"))
        );
        let part = led.task_in(&made, "part").await;
        assert_eq!(
            (part.workflow_id, part.activation_id),
            (Some(led.run), led.task.activation_id)
        );
        assert_eq!(part.max_reworks, 2);
        let off = led.task_in(&made, "not needed").await;
        let cancel = CancelTask {
            reason: None,
            request_id: None,
        };
        let off = done(
            led.steer()
                .cancel_managed_task(off.id, &cancel)
                .await
                .unwrap(),
        );
        assert_eq!(off.state, TaskState::Cancelled);
        builder(t).await.work_off(|_| json!({})).await;
        assert_eq!(led.next().await, ["task.completed"]);
        assert_eq!(
            led.steer().get_managed_task(part.id).await.unwrap().state,
            TaskState::Completed
        );
    });
}

#[test]
fn a_late_call_of_a_superseded_orchestrator_changes_nothing_and_is_told_so() {
    test(async |t| {
        let mut led = Led::of(t).await;
        let late = led.steer();
        t.lose_lease(led.task.id).await;
        refused_because(
            late.plan_work_item(&item("late")).await,
            ReasonCode::LeaseLost,
        );
        led.task = led.conductor.begin().await;
        let refused = late.plan_work_item(&item("late")).await;
        assert_eq!(status_of(refused), 409);
        refused_because(
            late.complete_run(&the_end("late")).await,
            ReasonCode::LeaseLost,
        );
        refused_because(
            late.finish_activation(&Bare::default()).await,
            ReasonCode::LeaseLost,
        );
        // Its task fails, and another one takes its place: then the first is of the past, even when it is held again.
        led.conductor.fail(&led.task, "x").await.unwrap();
        let (first, second) = (led.task.clone(), {
            t.execute(
                "update activation_batches set look_at = clock_timestamp() - interval '1 second'",
            )
            .await;
            t.run_loop("dispatch_activations").await;
            led.conductor.begin().await
        });
        assert_ne!(first.id, second.id);
        t.admin()
            .retry_task(first.id, &Default::default())
            .await
            .unwrap();
        let other = t.worker("other").tags(&["orchestrator"]).await;
        let again = other.begin().await;
        assert_eq!(again.id, first.id);
        let stale = other.agent.steering(again.id, Some(again.attempt));
        refused_because(
            stale.plan_work_item(&item("late")).await,
            ReasonCode::Superseded,
        );
        assert!(t.run(led.run).await.work_items.is_empty());
        led.task = second;
        led.item("in time").await;
    });
}

#[test]
fn nobody_steers_with_the_task_of_another_or_without_its_attempt() {
    test(async |t| {
        let led = Led::of(t).await;
        let other = t.worker("other").tags(&["orchestrator"]).await;
        let foreign = other.agent.steering(led.task.id, Some(led.task.attempt));
        refused_because(
            foreign.plan_work_item(&item("x")).await,
            ReasonCode::NotHolder,
        );
        let admin = t.admin().steering(led.task.id, Some(led.task.attempt));
        refused_because(
            admin.plan_work_item(&item("x")).await,
            ReasonCode::NotHolder,
        );
        let blind = led.conductor.agent.steering(led.task.id, None);
        refused_because(
            blind.plan_work_item(&item("x")).await,
            ReasonCode::AttemptMissing,
        );
        // The worker of the agent may speak for it.
        let worker = led
            .conductor
            .worker
            .steering(led.task.id, Some(led.task.attempt));
        done(worker.plan_work_item(&item("x")).await.unwrap());
        // A task that is no orchestrator's steers nothing.
        let made = led.item("y").await;
        led.task_in(&made, "plain").await;
        let builder = builder(t).await;
        let plain = builder.begin().await;
        let steering = builder.agent.steering(plain.id, Some(plain.attempt));
        assert_eq!(status_of(steering.plan_work_item(&item("x")).await), 400);
        // And another run is out of reach.
        let elsewhere = t.create("elsewhere").await;
        let cancel = CancelTask {
            reason: None,
            request_id: None,
        };
        assert_eq!(
            status_of(led.steer().cancel_managed_task(elsewhere.id, &cancel).await),
            404
        );
    });
}

#[test]
fn what_cannot_be_done_yet_is_answered_with_what_to_do_and_can_be_done_later() {
    test(async |t| {
        let mut led = Led::of(t).await;
        let made = led.item("One").await;
        let part = led.task_in(&made, "part").await;
        let steer = led.steer();
        let end = CompleteWorkItem {
            request_id: Some("complete-one".to_owned()),
            ..CompleteWorkItem::default()
        };
        let early = steer.complete_work_item(made.id, &end).await.unwrap();
        assert_eq!(not_yet(&early), NotYetReason::WorkItemTasksNotReady);
        assert_eq!(early.recovery_class, Some(RecoveryClass::WaitForTasks));
        assert_eq!(
            early.suggested_next_actions[0].action_code,
            NextAction::FinishActivation
        );
        assert_eq!(early.state_snapshot.unwrap().open_task_ids, [part.id]);
        let early = steer
            .advance_stage("build", &AdvanceStage::default())
            .await
            .unwrap();
        assert_eq!(not_yet(&early), NotYetReason::WorkflowTasksNotReady);
        let early = steer.complete_run(&the_end("done")).await.unwrap();
        assert_eq!(not_yet(&early), NotYetReason::WorkflowTasksNotReady);
        let early = steer
            .approve_managed_output(part.id, &ApproveOutput::default())
            .await
            .unwrap();
        assert_eq!(not_yet(&early), NotYetReason::TaskNotAwaitingApproval);
        assert_eq!(
            early.suggested_next_actions[0].action_code,
            NextAction::InspectTask
        );
        let early = steer
            .advance_stage("ship", &AdvanceStage::default())
            .await
            .unwrap();
        assert_eq!(not_yet(&early), NotYetReason::StageNotCurrent);
        let wrong = AdvanceStage {
            to_stage_name: Some("build".to_owned()),
            ..AdvanceStage::default()
        };
        let early = steer.advance_stage("build", &wrong).await.unwrap();
        assert_eq!(not_yet(&early), NotYetReason::StageWrongSuccessor);
        builder(t).await.work_off(|_| json!({})).await;
        assert_eq!(led.next().await, ["task.completed"]);
        // The same request is judged anew: a refusal is not remembered.
        let ended = done(led.steer().complete_work_item(made.id, &end).await.unwrap());
        assert!(ended.completed_at.is_some());
        let early = led
            .steer()
            .complete_work_item(made.id, &CompleteWorkItem::default())
            .await
            .unwrap();
        done(early);
    });
}

#[test]
fn a_failed_task_is_sent_back_with_what_to_change() {
    test(async |t| {
        let mut led = Led::of(t).await;
        let made = led.item("One").await;
        let part = led.task_in(&made, "part").await;
        let worker = builder(t).await;
        let held = worker.begin().await;
        worker.fail(&held, "broken").await.unwrap();
        assert_eq!(led.next().await, ["task.failed"]);
        let event = Value::Object(led.task.input.members())["events"][0].clone();
        assert_eq!(event["payload"]["error"]["category"], "broken");
        assert_eq!(event["work_item_id"], json!(made.id));
        let changes = RequestChanges {
            feedback: "try harder".to_owned(),
            ..RequestChanges::default()
        };
        let back = done(
            led.steer()
                .rework_managed_task(part.id, &changes)
                .await
                .unwrap(),
        );
        assert_eq!(back.state, TaskState::Ready);
        let again = worker.begin().await;
        assert_eq!(
            again.context.as_ref().unwrap().members()["rework"]["feedback"],
            "try harder"
        );
        let early = led
            .steer()
            .rework_managed_task(part.id, &changes)
            .await
            .unwrap();
        assert_eq!(not_yet(&early), NotYetReason::TaskNotReadyForRework);
        worker.complete(&again, json!({})).await.unwrap();
        assert_eq!(led.next().await, ["task.completed"]);
    });
}

#[test]
fn a_planned_run_goes_from_stage_to_stage_and_ends_at_the_word_of_its_orchestrator() {
    test(async |t| {
        let mut led = Led::of(t).await;
        let one = led.item("One").await;
        let worker = builder(t).await;
        led.task_in(&one, "part").await;
        worker.work_off(|_| json!({})).await;
        led.next().await;
        let steer = led.steer();
        let advanced = done(
            steer
                .advance_stage("build", &AdvanceStage::default())
                .await
                .unwrap(),
        );
        assert_eq!(advanced.completed_stage.status, StageStatus::Completed);
        assert_eq!(advanced.next_stage.name, "ship");
        assert!(advanced.next_stage.started_at.is_some());
        let early = steer
            .advance_stage("ship", &AdvanceStage::default())
            .await
            .unwrap();
        assert_eq!(not_yet(&early), NotYetReason::FinalStageUseCompleteWorkflow);
        let two = led.item("Two").await;
        assert_eq!(two.stage_name.as_deref(), Some("ship"));
        let early = steer.complete_run(&the_end("all done")).await.unwrap();
        assert_eq!(not_yet(&early), NotYetReason::WorkflowIncompleteStage);
        assert_eq!(early.closure_still_possible, Some(true));
        let truth = CompleteWorkflow {
            completion_notes: Some("Two was not needed".to_owned()),
            final_artifacts: vec![stint_tests::json(json!({ "path": "a" }))],
            ..the_end("all done")
        };
        let ended = done(steer.close_run_with_callouts(&truth).await.unwrap());
        assert_eq!(ended.state, WorkflowState::Completed);
        let output = ended.output.unwrap().value();
        assert_eq!(output["summary"], "all done");
        assert_eq!(
            output["completion_callouts"]["completion_notes"],
            "Two was not needed"
        );
        // It has still to end its own task, and can do nothing else any more.
        let late = steer.plan_work_item(&item("more")).await.unwrap();
        assert_eq!(not_yet(&late), NotYetReason::WorkflowLifecycleNotClosable);
        led.conductor.complete(&led.task, json!({})).await.unwrap();
        let after = t.run(led.run).await;
        assert_eq!(after.workflow.state, WorkflowState::Completed);
        assert!(
            after
                .workflow_stages
                .iter()
                .all(|stage| stage.status == StageStatus::Completed)
        );
        assert!(
            after
                .work_items
                .iter()
                .all(|item| item.completed_at.is_some())
        );
    });
}

#[test]
fn a_run_is_not_completed_as_long_as_its_orchestrator_may_have_more_in_mind() {
    test(async |t| {
        let led = Led::with(t, json!([])).await;
        let one = led.item("One").await;
        done(
            led.steer()
                .complete_work_item(one.id, &CompleteWorkItem::default())
                .await
                .unwrap(),
        );
        assert_eq!(t.run_state(led.run).await, WorkflowState::Active);
        led.conductor.complete(&led.task, json!({})).await.unwrap();
        assert_eq!(t.run_state(led.run).await, WorkflowState::Completed);
        // With stages that have not ended, nothing open is not the end.
        let led = Led::of(t).await;
        let one = led.item("One").await;
        done(
            led.steer()
                .complete_work_item(one.id, &CompleteWorkItem::default())
                .await
                .unwrap(),
        );
        led.conductor.complete(&led.task, json!({})).await.unwrap();
        assert_eq!(t.run_state(led.run).await, WorkflowState::Pending);
    });
}

#[test]
fn an_orchestrator_finds_again_what_it_kept() {
    test(async |t| {
        let mut led = Led::of(t).await;
        let one = led.item("One").await;
        let steer = led.steer();
        let checkpoint = CheckpointActivation {
            activation_checkpoint: ActivationCheckpoint {
                current_working_state: Some("planned".to_owned()),
                ..ActivationCheckpoint::default()
            },
            request_id: None,
        };
        done(steer.checkpoint_activation(&checkpoint).await.unwrap());
        let note = NoteContinuity {
            work_item_id: Some(one.id),
            next_expected_actor: Some("builder".to_owned()),
            next_expected_action: Some("build".to_owned()),
            ..NoteContinuity::default()
        };
        done(steer.note_continuity(&note).await.unwrap());
        let shown = t.admin().get_work_item(led.run, one.id, &[]).await.unwrap();
        assert_eq!(shown.next_expected_actor.as_deref(), Some("builder"));
        let memory = RememberForRun {
            updates: Some(object(json!({ "a": 1, "b": 2 }))),
            ..RememberForRun::default()
        };
        assert_eq!(
            done(steer.remember_for_run(&memory).await.unwrap()).keys,
            ["a", "b"]
        );
        done(steer.forget_for_run("a").await.unwrap());
        assert_eq!(status_of(steer.forget_for_run("a").await), 404);
        assert_eq!(
            done(steer.finish_activation(&Bare::default()).await.unwrap()).id,
            led.task.activation_id.unwrap()
        );
        led.task_in(&one, "part").await;
        builder(t).await.work_off(|_| json!({})).await;
        led.next().await;
        let kept = led.task.context.as_ref().unwrap().members()["orchestration_state"].clone();
        assert_eq!(
            kept["activation_checkpoint"]["current_working_state"],
            "planned"
        );
        assert_eq!(kept["continuity"]["next_expected_action"], "build");
        let budget = led.steer().get_run_budget().await.unwrap();
        assert_eq!((budget.task_count, budget.orchestrator_activations), (1, 2));
    });
}

#[test]
fn work_is_given_to_roles_of_the_playbook_and_its_input_can_be_changed_until_somebody_has_it() {
    test(async |t| {
        let led = Led::of(t).await;
        let one = led.item("One").await;
        let mut wrong = task(&one, "x");
        wrong.role = "nobody".to_owned();
        assert_eq!(status_of(led.steer().plan_task(&wrong).await), 422);
        let mut wrong = task(&one, "x");
        wrong.stage_name = Some("ship".to_owned());
        let answer = led.steer().plan_task(&wrong).await.unwrap();
        assert_eq!(not_yet(&answer), NotYetReason::TaskStageMismatch);
        let part = led.task_in(&one, "part").await;
        let input = ReplaceInput {
            input: object(json!({ "n": 2 })),
            request_id: None,
        };
        let changed = done(
            led.steer()
                .replace_managed_input(part.id, &input)
                .await
                .unwrap(),
        );
        assert_eq!(changed.input, input.input);
        let worker = builder(t).await;
        let held = worker.begin().await;
        assert_eq!(held.input, input.input);
        let early = led
            .steer()
            .replace_managed_input(part.id, &input)
            .await
            .unwrap();
        assert_eq!(not_yet(&early), NotYetReason::SubjectTaskNotReady);
        let question = EscalateToHuman {
            reason: "which one?".to_owned(),
            recommendation: Some("the first".to_owned()),
            ..EscalateToHuman::default()
        };
        let asked = done(
            led.steer()
                .escalate_managed_task(part.id, &question)
                .await
                .unwrap(),
        );
        assert_eq!(asked.state, TaskState::Escalated);
        assert_eq!(
            asked.question.unwrap().members()["recommendation"],
            "the first"
        );
        let early = led
            .steer()
            .advance_stage("build", &AdvanceStage::default())
            .await
            .unwrap();
        assert_eq!(not_yet(&early), NotYetReason::WorkflowStageOpenEscalation);
        assert_eq!(early.recovery_class, Some(RecoveryClass::WaitForPerson));
    });
}

#[test]
fn a_work_item_is_closed_truthfully_and_opened_again() {
    test(async |t| {
        let led = Led::of(t).await;
        let one = led.item("One").await;
        let blocked = UpdateWorkItem {
            column_id: Some("blocked".to_owned()),
            ..UpdateWorkItem::default()
        };
        done(led.steer().steer_work_item(one.id, &blocked).await.unwrap());
        let early = led
            .steer()
            .complete_work_item(one.id, &CompleteWorkItem::default())
            .await
            .unwrap();
        assert_eq!(not_yet(&early), NotYetReason::WorkItemNotReady);
        assert_eq!(
            early.suggested_next_actions[0].action_code,
            NextAction::CloseWorkItemWithCallouts
        );
        let truth = CompleteWorkItem {
            completion_notes: Some("half of it".to_owned()),
            ..CompleteWorkItem::default()
        };
        let closed = done(
            led.steer()
                .close_work_item_with_callouts(one.id, &truth)
                .await
                .unwrap(),
        );
        assert!(closed.completed_at.is_some());
        assert_eq!(
            closed.metadata.members()["completion_callouts"]["completion_notes"],
            "half of it"
        );
        let reopen = ReopenWorkItem {
            reason: "the other half".to_owned(),
            request_id: None,
        };
        let open = done(led.steer().reopen_work_item(one.id, &reopen).await.unwrap());
        assert_eq!(
            (open.completed_at, open.column_id.as_str()),
            (None, "active")
        );
        let early = led.steer().reopen_work_item(one.id, &reopen).await.unwrap();
        assert_eq!(not_yet(&early), NotYetReason::WorkItemNotReady);
    });
}
