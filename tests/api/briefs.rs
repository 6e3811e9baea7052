//! What agents tell people about their work: briefs and updates.

use serde_json::{Value, json};
use stint_protocol::{
    BriefScope, BriefSource, CompleteWorkflow, LiveVisibilityMode, ReasonCode, RecordBrief,
    RecordUpdate, TaskId, WorkflowState,
};
use stint_tests::{refused_because, status_of, test};

use crate::led::{Led, done};

fn brief(of: TaskId, attempt: i32, headline: &str) -> RecordBrief {
    let body = json!({
        "task_id": of, "attempt": attempt,
        "payload": {
            "short_brief": { "headline": headline },
            "detailed_brief_json": {
                "headline": headline, "status_kind": "in_progress",
                "sections": { "next_steps": ["b", "a"] },
            },
        },
    });
    serde_json::from_value(body).expect("a body")
}

fn update(of: TaskId, attempt: i32, payload: Value) -> RecordUpdate {
    let body = json!({ "task_id": of, "attempt": attempt, "payload": payload });
    serde_json::from_value(body).expect("a body")
}

#[test]
fn a_brief_is_numbered_told_as_an_event_and_listed_by_what_it_is_about() {
    test(async |t| {
        let led = Led::of(t).await;
        let item = led.item("One").await;
        let part = led.task_in(&item, "part").await;
        let builder = t.worker("builder").tags(&["role:builder"]).await;
        let held = builder.begin().await;
        assert_eq!(held.id, part.id);
        let conductor = &led.conductor.agent;
        let mut whole = brief(led.task.id, led.task.attempt, "It has begun");
        whole.task_id = None;
        whole.execution_context_id = led.task.activation_id.map(Into::into);
        let first = conductor.record_brief(led.run, &whole).await.unwrap();
        assert_eq!((first.sequence_number, first.deduped), (1, false));
        assert_eq!(first.record.source_kind, BriefSource::Orchestrator);
        assert_eq!(first.record.brief_scope, BriefScope::WorkflowTimeline);
        assert_eq!(first.record.task_id, led.task.id);
        assert_eq!(first.record.status_kind, "in_progress");
        let of_part = brief(held.id, held.attempt, "Half of it");
        let second = builder.agent.record_brief(led.run, &of_part).await.unwrap();
        assert_eq!(second.sequence_number, 2);
        assert_eq!(second.record.source_kind, BriefSource::Specialist);
        assert_eq!(second.record.source_role_name.as_deref(), Some("builder"));
        assert_eq!(second.record.brief_scope, BriefScope::WorkItemHandoff);
        assert_eq!(second.record.work_item_id, Some(item.id));
        let all = t.admin().list_briefs(led.run, &[]).await.unwrap();
        let numbers: Vec<i64> = all.iter().map(|brief| brief.sequence_number).collect();
        assert_eq!(numbers, [2, 1], "the newest first");
        let sections = all[0].detailed_brief_json.sections.clone().unwrap();
        assert_eq!(sections.text(), r#"{"next_steps":["b","a"]}"#);
        let item = item.id.to_string();
        let about = [("work_item_id", item.as_str()), ("limit", "5")];
        let about = t.admin().list_briefs(led.run, &about).await.unwrap();
        assert_eq!(about.len(), 1);
        let path = format!(
            "/api/v1/workflows/{}/events?types=workflow.brief_recorded",
            led.run
        );
        let events = t.get(&path, t.admin_key()).await;
        assert_eq!(events.data()[1]["data"]["headline"], "Half of it");
    });
}

#[test]
fn only_who_works_on_a_task_or_was_the_last_to_tells_of_it() {
    test(async |t| {
        let led = Led::of(t).await;
        let item = led.item("One").await;
        let part = led.task_in(&item, "part").await;
        let builder = t.worker("builder").tags(&["role:builder"]).await;
        let other = t.worker("other").tags(&["role:builder"]).await;
        let early = brief(part.id, 1, "early");
        // Nobody has claimed it.
        let refused = builder.agent.record_brief(led.run, &early).await;
        refused_because(refused, ReasonCode::LeaseLost);
        refused_because(
            t.admin().record_brief(led.run, &early).await,
            ReasonCode::StateChanged,
        );
        let held = builder.begin().await;
        let foreign = brief(held.id, held.attempt, "foreign");
        refused_because(
            other.agent.record_brief(led.run, &foreign).await,
            ReasonCode::NotHolder,
        );
        let mut blind = brief(held.id, held.attempt, "blind");
        blind.attempt = None;
        refused_because(
            builder.agent.record_brief(led.run, &blind).await,
            ReasonCode::AttemptMissing,
        );
        // Operators speak for anyone, and the worker for its agent.
        t.admin().record_brief(led.run, &foreign).await.unwrap();
        builder
            .worker
            .record_brief(led.run, &foreign)
            .await
            .unwrap();
        t.lose_lease(held.id).await;
        refused_because(
            builder.agent.record_brief(led.run, &foreign).await,
            ReasonCode::LeaseLost,
        );
        let again = other.begin().await;
        refused_because(
            builder.agent.record_brief(led.run, &foreign).await,
            ReasonCode::LeaseLost,
        );
        other.complete(&again, json!({})).await.unwrap();
        let late = brief(again.id, again.attempt, "late");
        other.agent.record_brief(led.run, &late).await.unwrap();
        refused_because(
            builder.agent.record_brief(led.run, &late).await,
            ReasonCode::NotHolder,
        );
        let heads = t.admin().list_briefs(led.run, &[]).await.unwrap();
        let heads: Vec<_> = heads
            .iter()
            .map(|b| b.short_brief.headline.as_str())
            .collect();
        assert_eq!(heads, ["late", "foreign", "foreign"]);
    });
}

#[test]
fn a_brief_is_recorded_once_for_a_request_also_when_its_answer_was_forgotten() {
    test(async |t| {
        let led = Led::of(t).await;
        let conductor = &led.conductor.agent;
        let mut told = brief(led.task.id, led.task.attempt, "Once");
        told.request_id = Some("brief-1".to_owned());
        let first = conductor.record_brief(led.run, &told).await.unwrap();
        let again = conductor.record_brief(led.run, &told).await.unwrap();
        assert_eq!(again.record_id, first.record_id);
        t.execute("delete from request_slots").await;
        let much_later = conductor.record_brief(led.run, &told).await.unwrap();
        assert!(much_later.deduped);
        assert_eq!(much_later.record_id, first.record_id);
        assert_eq!(t.admin().list_briefs(led.run, &[]).await.unwrap().len(), 1);
        let mut note = update(led.task.id, led.task.attempt, json!({ "headline": "Once" }));
        note.request_id = Some("update-1".to_owned());
        let first = conductor.record_update(led.run, &note).await.unwrap();
        t.execute("delete from request_slots").await;
        let later = conductor.record_update(led.run, &note).await.unwrap();
        assert_eq!((later.deduped, later.record_id), (true, first.record_id));
    });
}

#[test]
fn the_last_briefs_and_updates_are_kept_and_the_sequence_goes_on() {
    test(async |t| {
        let led = Led::of(t).await;
        let conductor = &led.conductor.agent;
        let told = brief(led.task.id, led.task.attempt, "x");
        conductor.record_brief(led.run, &told).await.unwrap();
        conductor.record_brief(led.run, &told).await.unwrap();
        t.execute("update operator_briefs set sequence_number = 1000 where sequence_number = 2")
            .await;
        let latest = conductor.record_brief(led.run, &told).await.unwrap();
        assert_eq!(latest.sequence_number, 1001);
        let kept = t.admin().list_briefs(led.run, &[]).await.unwrap();
        let kept: Vec<i64> = kept.iter().map(|brief| brief.sequence_number).collect();
        assert_eq!(kept, [1001, 1000]);
        let note = update(led.task.id, led.task.attempt, json!({ "headline": "x" }));
        conductor.record_update(led.run, &note).await.unwrap();
        t.execute("update operator_updates set sequence_number = 1000")
            .await;
        conductor.record_update(led.run, &note).await.unwrap();
        conductor.record_update(led.run, &note).await.unwrap();
        let kept = t.admin().list_updates(led.run, &[]).await.unwrap();
        let kept: Vec<i64> = kept.iter().map(|update| update.sequence_number).collect();
        assert_eq!(kept, [1002, 1001, 1000]);
    });
}

#[test]
fn a_run_that_shows_what_matters_hides_the_turns_of_its_agents() {
    test(async |t| {
        let led = Led::of(t).await;
        let conductor = &led.conductor.agent;
        let attempt = led.task.attempt;
        let turn = update(led.task.id, attempt, json!({ "headline": "Turn 1" }));
        let turn = conductor.record_update(led.run, &turn).await.unwrap();
        assert_eq!(turn.record.update_kind, "turn_update");
        assert_eq!(turn.record.visibility_mode, LiveVisibilityMode::Enhanced);
        let step = json!({ "headline": "Done with A", "update_kind": "step" });
        let step = update(led.task.id, attempt, step);
        conductor.record_update(led.run, &step).await.unwrap();
        let heads = async || {
            let shown = t.admin().list_updates(led.run, &[]).await.unwrap();
            let heads = shown.into_iter().map(|update| update.headline);
            heads.collect::<Vec<_>>()
        };
        assert_eq!(heads().await, ["Done with A", "Turn 1"]);
        for (mode, wanted) in [
            (json!("standard"), vec!["Done with A"]),
            (json!("enhanced"), vec!["Done with A", "Turn 1"]),
        ] {
            let now = t.admin().get_workflow_settings(led.run).await.unwrap();
            let change = json!({ "live_visibility_mode": mode, "settings_revision": now.revision });
            let change = serde_json::from_value(change).unwrap();
            t.admin()
                .update_workflow_settings(led.run, &change)
                .await
                .unwrap();
            assert_eq!(heads().await, wanted);
        }
    });
}

#[test]
fn a_run_that_has_ended_still_takes_the_brief_of_who_ended_it() {
    test(async |t| {
        let led = Led::of(t).await;
        let end = CompleteWorkflow {
            summary: "done".to_owned(),
            ..CompleteWorkflow::default()
        };
        done(led.steer().close_run_with_callouts(&end).await.unwrap());
        let conductor = &led.conductor.agent;
        let told = brief(led.task.id, led.task.attempt, "It is over");
        conductor.record_brief(led.run, &told).await.unwrap();
        led.conductor.complete(&led.task, json!({})).await.unwrap();
        assert_eq!(t.run_state(led.run).await, WorkflowState::Completed);
        conductor.record_brief(led.run, &told).await.unwrap();
    });
}

#[test]
fn what_does_not_fit_is_refused_and_says_where() {
    test(async |t| {
        let led = Led::of(t).await;
        let conductor = &led.conductor.agent;
        let good = brief(led.task.id, led.task.attempt, "x");
        let refuse = async |field: &str, change: &dyn Fn(&mut RecordBrief)| {
            let mut bad = good.clone();
            change(&mut bad);
            let refused = conductor.record_brief(led.run, &bad).await.unwrap_err();
            assert!(refused.to_string().contains(field), "{field}: {refused}");
        };
        refuse("execution_context_id", &|bad| bad.task_id = None).await;
        refuse("source_kind", &|bad| {
            bad.source_kind = Some(BriefSource::Specialist);
        })
        .await;
        refuse("workflow_id", &|bad| {
            bad.workflow_id = Some(stint_protocol::WorkflowId::new());
        })
        .await;
        refuse("short_brief.headline", &|bad| {
            bad.payload.short_brief.headline = String::new();
        })
        .await;
        refuse("linked_deliverables[0]", &|bad| {
            bad.payload.linked_deliverables = vec![Default::default()];
        })
        .await;
        refuse("65536 bytes", &|bad| {
            let much = json!({ "much": "x".repeat(70_000) });
            bad.payload.detailed_brief_json.sections = Some(stint_tests::object(much));
        })
        .await;
        for other in [t.create("of no run").await.id, TaskId::new()] {
            let mut foreign = good.clone();
            foreign.task_id = Some(other);
            let refused = conductor.record_brief(led.run, &foreign).await;
            assert_eq!(status_of(refused), 404);
        }
        let mut described = good.clone();
        described.payload.linked_deliverables =
            serde_json::from_value(json!([{ "label": "Report", "path": "out/report.md" }]))
                .unwrap();
        let recorded = conductor.record_brief(led.run, &described).await.unwrap();
        assert_eq!(recorded.record.brief_scope, BriefScope::DeliverableContext);
    });
}
