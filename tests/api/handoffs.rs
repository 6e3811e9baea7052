//! What holders leave to whoever goes on.

use serde_json::{Value, json};
use stint_protocol::{
    HandoffCompletion, HandoffResolution, ReasonCode, RequestChanges, SubmitHandoff, Task,
    TaskState, TaskType,
};
use stint_tests::{TestPlatform, TestWorker, object, refused_because, status_of, test};

use crate::led::{Led, task};

fn handoff(attempt: i32, summary: &str) -> SubmitHandoff {
    let body = json!({ "attempt": attempt, "summary": summary, "completion": "full" });
    serde_json::from_value(body).expect("a body")
}

async fn builder(t: &TestPlatform) -> TestWorker {
    t.worker("builder")
        .capacity(5)
        .tags(&["role:builder"])
        .await
}

async fn state(t: &TestPlatform, of: &Task) -> TaskState {
    t.admin().get_task(of.id).await.expect("a task").state
}

#[test]
fn a_handoff_is_written_anew_while_its_task_is_held_and_wakes_the_orchestrator() {
    test(async |t| {
        let mut led = Led::of(t).await;
        let item = led.item("One").await;
        led.task_in(&item, "part").await;
        let builder = builder(t).await;
        let held = builder.begin().await;
        let mut words = handoff(held.attempt, "Half of it");
        words.known_risks = vec!["rain".to_owned()];
        words.role_data = Some(object(json!({ "b": 1, "a": 2 })));
        let first = builder.agent.submit_handoff(held.id, &words).await.unwrap();
        assert_eq!((first.revision, first.task_rework_count), (1, 0));
        assert_eq!(first.completion_state, HandoffCompletion::Full);
        assert_eq!(first.work_item_id, Some(item.id));
        let second = handoff(held.attempt, "All of it");
        let second = builder
            .agent
            .submit_handoff(held.id, &second)
            .await
            .unwrap();
        assert_eq!((second.id, second.revision), (first.id, 2));
        assert!(second.known_risks.is_empty());
        let same = handoff(held.attempt, "All of it");
        let same = builder.agent.submit_handoff(held.id, &same).await.unwrap();
        assert_eq!(same.revision, 2, "the same words again are no news");
        let listed = t.admin().list_handoffs(led.run, item.id).await.unwrap();
        assert_eq!(listed.len(), 1);
        let latest = t
            .admin()
            .get_latest_handoff(led.run, item.id)
            .await
            .unwrap();
        assert_eq!(latest.unwrap().summary, "All of it");
        let read = t.admin().get_task(held.id).await.unwrap();
        assert_eq!(read.latest_handoff.unwrap().id, first.id);
        assert_eq!(
            led.next().await,
            ["task.handoff_submitted", "task.handoff_submitted"]
        );
        let event = Value::Object(led.task.input.members())["events"][0].clone();
        assert_eq!(event["payload"]["summary"], "Half of it");
    });
}

#[test]
fn no_handoff_is_needed_to_complete_a_task_and_none_is_there_then() {
    test(async |t| {
        let led = Led::of(t).await;
        let item = led.item("One").await;
        let part = led.task_in(&item, "part").await;
        let builder = builder(t).await;
        let held = builder.begin().await;
        builder.complete(&held, json!({})).await.unwrap();
        assert_eq!(state(t, &part).await, TaskState::Completed);
        let latest = t
            .admin()
            .get_latest_handoff(led.run, item.id)
            .await
            .unwrap();
        assert!(latest.is_none());
        let late = handoff(held.attempt, "late");
        assert_eq!(
            status_of(builder.agent.submit_handoff(held.id, &late).await),
            409
        );
    });
}

#[test]
fn a_superseded_attempt_leaves_nothing_and_its_successor_finds_what_it_left_in_time() {
    test(async |t| {
        let plain = t.create_with("alone", |task| {
            task.role = Some("builder".to_owned());
        });
        let plain = plain.await;
        let first = builder(t).await;
        let held = first.begin().await;
        let in_time = handoff(held.attempt, "in time");
        first.agent.submit_handoff(held.id, &in_time).await.unwrap();
        // What it left itself is not what it goes on from.
        let own = first.agent.get_predecessor_handoff(held.id).await.unwrap();
        assert!(own.is_none());
        t.lose_lease(held.id).await;
        let late = handoff(held.attempt, "late");
        refused_because(
            first.agent.submit_handoff(held.id, &late).await,
            ReasonCode::LeaseLost,
        );
        let second = t.worker("second").tags(&["role:builder"]).await;
        let again = second.begin().await;
        assert_eq!(again.id, plain.id);
        refused_because(
            first.agent.submit_handoff(held.id, &late).await,
            ReasonCode::LeaseLost,
        );
        let left = second
            .agent
            .get_predecessor_handoff(again.id)
            .await
            .unwrap();
        assert_eq!(left.unwrap().summary, "in time");
        let context = t
            .get(
                &format!("/api/v1/tasks/{}/context", again.id),
                &second.agent_key,
            )
            .await;
        let told = &context.data()["task"]["predecessor_handoff"];
        assert_eq!(told["summary"], "in time");
        refused_because(
            t.admin().submit_handoff(again.id, &late).await,
            ReasonCode::NotHolder,
        );
        let mut blind = handoff(again.attempt, "blind");
        blind.attempt = None;
        refused_because(
            second.agent.submit_handoff(again.id, &blind).await,
            ReasonCode::AttemptMissing,
        );
    });
}

#[test]
fn a_task_has_one_handoff_for_each_time_that_it_was_sent_back() {
    test(async |t| {
        let led = Led::of(t).await;
        let item = led.item("One").await;
        let part = led.task_in(&item, "part").await;
        let builder = builder(t).await;
        let held = builder.begin().await;
        let first = handoff(held.attempt, "first");
        builder.agent.submit_handoff(held.id, &first).await.unwrap();
        builder.complete(&held, json!({})).await.unwrap();
        let changes = RequestChanges {
            feedback: "more".to_owned(),
            ..RequestChanges::default()
        };
        let sent_back = led.steer().rework_managed_task(part.id, &changes).await;
        sent_back.unwrap();
        let again = builder.begin().await;
        let before = builder
            .agent
            .get_predecessor_handoff(again.id)
            .await
            .unwrap();
        assert_eq!(before.unwrap().summary, "first");
        let mut second = handoff(again.attempt, "second");
        second.task_rework_count = Some(0);
        refused_because(
            builder.agent.submit_handoff(again.id, &second).await,
            ReasonCode::StateChanged,
        );
        second.task_rework_count = Some(1);
        let second = builder
            .agent
            .submit_handoff(again.id, &second)
            .await
            .unwrap();
        assert_eq!((second.revision, second.task_rework_count), (1, 1));
        let listed = led.steer().list_managed_handoffs(item.id).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|left| left.summary.as_str()).collect();
        assert_eq!(listed, ["second", "first"]);
    });
}

#[test]
fn once_an_output_waits_for_a_judgement_the_handoff_stands() {
    test(async |t| {
        let schema = json!({ "output_schema": { "type": "object", "required": ["answer"] } });
        t.create_with("judged", |task| {
            task.role = Some("builder".to_owned());
            task.role_config = Some(object(schema));
        })
        .await;
        let builder = builder(t).await;
        let held = builder.begin().await;
        builder.complete(&held, json!({ "odd": 1 })).await.unwrap();
        let read = t.admin().get_task(held.id).await.unwrap();
        assert_eq!(read.state, TaskState::OutputPendingAssessment);
        let words = handoff(held.attempt, "a first one is taken");
        let first = builder.agent.submit_handoff(held.id, &words).await.unwrap();
        let again = builder.agent.submit_handoff(held.id, &words).await.unwrap();
        assert_eq!((again.id, again.revision), (first.id, 1));
        let other = handoff(held.attempt, "another");
        refused_because(
            builder.agent.submit_handoff(held.id, &other).await,
            ReasonCode::SubmitHandoffReplayConflict,
        );
    });
}

#[test]
fn what_a_task_goes_on_from_is_looked_for_near_it_first() {
    test(async |t| {
        let led = Led::of(t).await;
        let item = led.item("One").await;
        let builder = builder(t).await;
        let leave = async |title: &str| {
            let made = led.task_in(&item, title).await;
            let held = builder.begin().await;
            assert_eq!(held.id, made.id);
            let words = handoff(held.attempt, title);
            builder.agent.submit_handoff(held.id, &words).await.unwrap();
            builder.complete(&held, json!({})).await.unwrap();
            made
        };
        let judged = leave("judged").await;
        let needed = leave("needed").await;
        leave("beside").await;
        let found = async |change: &dyn Fn(&mut stint_protocol::PlanTask)| {
            let mut plan = task(&item, "next");
            change(&mut plan);
            let next = led.steer().plan_task(&plan).await.unwrap().result.unwrap();
            let left = t.admin().get_predecessor_handoff(next.id).await.unwrap();
            left.unwrap().summary
        };
        assert_eq!(found(&|_| {}).await, "beside");
        assert_eq!(
            found(&|plan| plan.depends_on = vec![needed.id]).await,
            "needed"
        );
        let both = |plan: &mut stint_protocol::PlanTask| {
            plan.depends_on = vec![needed.id];
            plan.subject_task_id = Some(judged.id);
        };
        assert_eq!(found(&both).await, "judged");
        let mut part = crate::led::item("Part of one");
        part.parent_work_item_id = Some(item.id);
        let part = led.steer().plan_work_item(&part).await.unwrap();
        let first = led
            .task_in(&part.result.unwrap(), "first of the part")
            .await;
        let left = t.admin().get_predecessor_handoff(first.id).await.unwrap();
        assert_eq!(left.unwrap().summary, "beside");
    });
}

#[test]
fn a_resolution_is_taken_from_assessors_alone() {
    test(async |t| {
        let led = Led::of(t).await;
        let item = led.item("One").await;
        led.task_in(&item, "part").await;
        let builder = builder(t).await;
        let held = builder.begin().await;
        let mut verdict = handoff(held.attempt, "good");
        verdict.resolution = Some(HandoffResolution::Approved);
        let refused = builder.agent.submit_handoff(held.id, &verdict).await;
        assert_eq!(status_of(refused), 422);
        let mut plan = task(&item, "judge");
        plan.task_type = Some(TaskType::Assessment);
        led.steer().plan_task(&plan).await.unwrap();
        let held = builder.begin().await;
        verdict.attempt = Some(held.attempt);
        let left = builder
            .agent
            .submit_handoff(held.id, &verdict)
            .await
            .unwrap();
        assert_eq!(left.resolution, Some(HandoffResolution::Approved));
    });
}

#[test]
fn an_orchestrator_hands_off_without_waking_itself() {
    test(async |t| {
        let led = Led::of(t).await;
        let words = handoff(led.task.attempt, "for the next of me");
        let conductor = &led.conductor.agent;
        conductor.submit_handoff(led.task.id, &words).await.unwrap();
        led.conductor.complete(&led.task, json!({})).await.unwrap();
        assert!(led.conductor.claim().await.is_none());
    });
}

#[test]
fn a_handoff_is_written_a_hundred_times_at_most() {
    test(async |t| {
        let led = Led::of(t).await;
        let item = led.item("One").await;
        led.task_in(&item, "part").await;
        let builder = builder(t).await;
        let held = builder.begin().await;
        let words = handoff(held.attempt, "Half of it");
        builder.agent.submit_handoff(held.id, &words).await.unwrap();
        t.execute("update task_handoffs set revision = 99").await;
        let words = handoff(held.attempt, "More of it");
        let last = builder.agent.submit_handoff(held.id, &words).await.unwrap();
        assert_eq!(last.revision, 100);
        let words = handoff(held.attempt, "All of it");
        let refused = builder.agent.submit_handoff(held.id, &words).await;
        refused_because(refused, ReasonCode::LimitReached);
        let stands = t.admin().get_latest_handoff(led.run, item.id).await;
        assert_eq!(stands.unwrap().unwrap().summary, "More of it");
    });
}
