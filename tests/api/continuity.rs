//! How an orchestrator goes on: what it notes, waives, runs again, and takes from owners that are gone.

use serde_json::json;
use stint_protocol::{
    Bare, CompleteWorkItem, CorrectBrief, NextAction, NotYetReason, NoteContinuity, ReasonCode,
    ReassignTask, RecoveryClass, SubmitHandoff, TaskState, UpdateWorkItem, WaivePreferredStep,
};
use stint_tests::{TestPlatform, TestWorker, object, refused_because, status_of, test};

use crate::led::{Led, done, not_yet};

async fn builder(t: &TestPlatform) -> TestWorker {
    t.worker("builder")
        .capacity(5)
        .tags(&["role:builder"])
        .await
}

fn waive(code: &str, reason: &str) -> WaivePreferredStep {
    WaivePreferredStep {
        code: code.to_owned(),
        reason: reason.to_owned(),
        role: Some("reviewer".to_owned()),
        ..WaivePreferredStep::default()
    }
}

fn correct(version: i32) -> CorrectBrief {
    CorrectBrief {
        corrected_input: object(json!({ "version": version })),
        request_id: None,
    }
}

fn stale(reason: &str) -> ReassignTask {
    serde_json::from_value(json!({ "reason": reason })).expect("a body")
}

#[test]
fn what_was_noted_of_a_work_item_is_found_again_with_what_its_tasks_left() {
    test(async |t| {
        let led = Led::of(t).await;
        let (one, two) = (led.item("One").await, led.item("Two").await);
        let note = |of, summary: &str| NoteContinuity {
            work_item_id: Some(of),
            next_expected_actor: Some("reviewer".to_owned()),
            next_expected_action: Some("review".to_owned()),
            status_summary: Some(summary.to_owned()),
            blocked_on: vec!["rain".to_owned()],
            ..NoteContinuity::default()
        };
        let steer = led.steer();
        done(steer.note_continuity(&note(one.id, "first")).await.unwrap());
        done(
            steer
                .note_continuity(&note(two.id, "second"))
                .await
                .unwrap(),
        );
        let part = led.task_in(&one, "part").await;
        let builder = builder(t).await;
        let held = builder.begin().await;
        let words = json!({ "attempt": held.attempt, "summary": "half", "completion": "blocked" });
        let words: SubmitHandoff = serde_json::from_value(words).unwrap();
        builder.agent.submit_handoff(held.id, &words).await.unwrap();
        let on = steer.get_work_item_continuity(one.id).await.unwrap();
        assert_eq!(on.next_expected_actor.as_deref(), Some("reviewer"));
        let noted = on.continuity.unwrap().members();
        assert_eq!(noted["status_summary"], "first");
        assert_eq!(noted["blocked_on"], json!(["rain"]));
        assert_eq!(on.open_task_ids, [part.id]);
        assert_eq!(on.latest_handoff.unwrap().summary, "half");
        let latest = steer.get_latest_managed_handoff(one.id).await.unwrap();
        assert_eq!(latest.unwrap().summary, "half");
        let of_run = steer.get_run_continuity().await.unwrap();
        let of_run = of_run.orchestration_state.members();
        assert_eq!(of_run["continuity"]["status_summary"], "second");
    });
}

#[test]
fn a_waived_step_is_waited_for_no_more_and_is_among_the_callouts_at_the_end() {
    test(async |t| {
        let led = Led::of(t).await;
        let item = led.item("One").await;
        let steer = led.steer();
        let expected = NoteContinuity {
            work_item_id: Some(item.id),
            next_expected_actor: Some("reviewer".to_owned()),
            ..NoteContinuity::default()
        };
        done(steer.note_continuity(&expected).await.unwrap());
        let review = |reason| waive("review", reason);
        let waived = steer
            .waive_preferred_step(item.id, &review("no time"))
            .await;
        assert_eq!(done(waived.unwrap()).next_expected_actor, None);
        let again = steer
            .waive_preferred_step(item.id, &review("no reviewer"))
            .await;
        done(again.unwrap());
        let on = steer.get_work_item_continuity(item.id).await.unwrap();
        assert_eq!(on.waived_steps.len(), 1);
        assert_eq!(on.waived_steps[0].reason, "no reviewer");
        let empty = steer.waive_preferred_step(item.id, &waive("", "x")).await;
        assert_eq!(status_of(empty), 422);
        let end = CompleteWorkItem::default();
        let ended = steer.complete_work_item(item.id, &end).await.unwrap();
        let callouts = done(ended).metadata.members()["completion_callouts"].clone();
        assert_eq!(callouts["waived_steps"][0]["code"], "review");
        let late = steer
            .waive_preferred_step(item.id, &waive("tests", "x"))
            .await;
        assert_eq!(not_yet(&late.unwrap()), NotYetReason::WorkItemNotReady);
    });
}

#[test]
fn a_task_runs_again_with_another_input_but_not_while_it_is_held() {
    test(async |t| {
        let led = Led::of(t).await;
        let item = led.item("One").await;
        let part = led.task_in(&item, "part").await;
        let steer = led.steer();
        let waiting = steer
            .rerun_managed_task(part.id, &correct(1))
            .await
            .unwrap();
        assert_eq!(done(waiting).state, TaskState::Ready);
        let builder = builder(t).await;
        let held = builder.begin().await;
        assert_eq!(held.input.members()["version"], 1);
        let busy = steer
            .rerun_managed_task(part.id, &correct(2))
            .await
            .unwrap();
        assert_eq!(not_yet(&busy), NotYetReason::SubjectTaskNotReady);
        assert_eq!(
            t.admin().get_task(part.id).await.unwrap().input.members()["version"],
            1,
            "nothing was changed"
        );
        builder.complete(&held, json!({})).await.unwrap();
        let again = steer
            .rerun_managed_task(part.id, &correct(2))
            .await
            .unwrap();
        assert_eq!(done(again).state, TaskState::Ready);
        let held = builder.begin().await;
        assert_eq!((held.id, held.attempt), (part.id, 2));
        assert_eq!(held.input.members()["version"], 2);
    });
}

#[test]
fn an_owner_that_is_heard_from_keeps_its_task_and_one_that_is_gone_does_not() {
    test(async |t| {
        let led = Led::of(t).await;
        let item = led.item("One").await;
        let part = led.task_in(&item, "part").await;
        let builder = builder(t).await;
        let held = builder.begin().await;
        let steer = led.steer();
        let kept = steer
            .replace_stale_owner(part.id, &stale("slow"))
            .await
            .unwrap();
        assert_eq!(not_yet(&kept), NotYetReason::OwnerNotStale);
        assert_eq!(kept.recovery_class, Some(RecoveryClass::WaitForTasks));
        let offered: Vec<_> = kept
            .suggested_next_actions
            .iter()
            .map(|one| one.action_code)
            .collect();
        assert_eq!(
            offered,
            [NextAction::FinishActivation, NextAction::ReassignTask]
        );
        t.age_leases(3_600.0).await;
        let replaced = steer
            .replace_stale_owner(part.id, &stale("gone"))
            .await
            .unwrap();
        assert_eq!(done(replaced).state, TaskState::Ready);
        refused_because(
            builder.complete(&held, json!({})).await,
            stint_protocol::ReasonCode::LeaseLost,
        );
        // What waits for an agent that is gone can be given to anyone.
        let pinned = ReassignTask {
            preferred_agent_id: Some(builder.agent_id),
            ..stale("yours")
        };
        done(steer.reassign_managed_task(part.id, &pinned).await.unwrap());
        let other = t.worker("other").tags(&["role:builder"]).await;
        assert!(other.claim().await.is_none());
        done(
            steer
                .replace_stale_owner(part.id, &stale("anyone's"))
                .await
                .unwrap(),
        );
        assert_eq!(other.begin().await.id, part.id);
    });
}

#[test]
fn a_long_lease_does_not_keep_the_task_of_an_owner_that_is_gone() {
    test(async |t| {
        let led = Led::of(t).await;
        let item = led.item("One").await;
        let part = led.task_in(&item, "part").await;
        let builder = builder(t).await;
        let held = builder
            .claim_with(|claim| claim.lease_seconds = Some(3_600))
            .await;
        assert_eq!(held.unwrap().map(|task| task.id), Some(part.id));
        let steer = led.steer();
        let replace = async |reason: &str| {
            let answer = steer.replace_stale_owner(part.id, &stale(reason)).await;
            answer.expect("it is answered")
        };
        assert_eq!(not_yet(&replace("slow").await), NotYetReason::OwnerNotStale);
        t.age_holders(3_000.0).await;
        assert_eq!(done(replace("gone").await).state, TaskState::Ready);
    });
}

#[test]
fn a_work_item_that_was_called_off_is_neither_completed_nor_reopened() {
    test(async |t| {
        let led = Led::of(t).await;
        let item = led.item("One").await;
        t.admin()
            .cancel_work_item(led.run, item.id, &Bare::default())
            .await
            .unwrap();
        let steer = led.steer();
        let completed = steer
            .complete_work_item(item.id, &CompleteWorkItem::default())
            .await;
        assert!(completed.is_err() || completed.unwrap().result.is_none());
        let reopen = serde_json::from_value(json!({ "reason": "after all" })).unwrap();
        let reopened = steer.reopen_work_item(item.id, &reopen).await;
        assert!(reopened.is_err() || reopened.unwrap().result.is_none());
        let change = UpdateWorkItem {
            column_id: Some("done".to_owned()),
            ..UpdateWorkItem::default()
        };
        let moved = t.admin().update_work_item(led.run, item.id, &change).await;
        refused_because(moved, ReasonCode::StateChanged);
        let found = t.admin().get_work_item(led.run, item.id, &[]).await;
        assert_eq!(found.unwrap().completed_at, None);
    });
}
