//! What is left when every signal is lost: the database, and loops that look.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stint_platform::app::RunLoops;
use stint_protocol::{
    ActivationState, AddInputPacket, ClaimedTask, CreateActivation, RecordIntervention,
    SteerWorkflow, WorkflowId, WorkflowState,
};
use stint_tests::{Setup, TestPlatform, TestWorker, test, until};

use crate::led::{done, item, task};

/// What an orchestrator was told: the id of each thing, and its kind.
type Told = Vec<(String, String)>;

fn told(task: &ClaimedTask) -> Told {
    let input = Value::Object(task.input.members());
    let events = input["events"].as_array().expect("events are told");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let event = |event: &Value| (text(&event["queue_id"]), text(&event["type"]));
    events.iter().map(event).collect()
}

/// The next task, which comes as soon as somebody has looked for it.
async fn next(holder: &TestWorker, what: &str) -> ClaimedTask {
    let mut found = None;
    until(what, async || {
        let claim = holder.claim_with(|claim| {
            claim.start = Some(true);
            claim.wait_seconds = Some(1);
        });
        found = claim.await.expect("the claim is accepted");
        found.is_some()
    })
    .await;
    found.expect("it was waited for")
}

/// The ids of all that was to wake the orchestrator of a run, in order.
async fn queued(t: &TestPlatform, run: WorkflowId) -> Vec<String> {
    sqlx::query_scalar("select id::text from activations where workflow_id = $1 order by seq")
        .bind(run.uuid())
        .fetch_all(t.sql())
        .await
        .expect("activations can be read")
}

/// Everything that only time makes due is due.
async fn let_time_pass(t: &TestPlatform) {
    t.execute(
        "update activations set due_at = due_at - interval '1 hour';
         update activation_batches set look_at = look_at - interval '1 hour' where state = 'retrying'",
    )
    .await;
}

#[test]
fn an_orchestrated_run_of_two_replicas_ends_and_loses_nothing_though_every_signal_is_lost() {
    Setup::new().with_loops().patient(2).test(async |t| {
        let other = t.replica_with(RunLoops::Yes).await;
        let conductor = t.worker("conductor").tags(&["orchestrator"]).await;
        let builder = t.worker("builder").tags(&["role:builder"]).await;
        let (here, there) = (conductor.clone(), conductor.at(&other));
        // All of them have found nothing once, and remember it.
        for waiting in [&here, &there, &builder, &builder.at(&other)] {
            assert!(waiting.claim().await.is_none());
        }
        t.app().bus.fall_silent();
        other.app().bus.fall_silent();
        let signals = (
            t.app().bus.events_appended(),
            other.app().bus.events_appended(),
        );

        let definition = json!({ "stages": [{ "name": "build", "goal": "Build" }] });
        let run = t.launch_with(definition, json!({})).await.workflow.id;
        let first = next(&there, "the launch wakes the orchestrator").await;
        let mut heard = told(&first);
        let steer = there.agent.steering(first.id, Some(first.attempt));
        let made = done(steer.plan_work_item(&item("Wall")).await.unwrap());
        for title in ["one", "two", "three"] {
            done(steer.plan_task(&task(&made, title)).await.unwrap());
        }
        // While it works, operators speak up on both replicas, and a worker ends a task.
        let words = SteerWorkflow {
            request: "hurry".to_owned(),
            ..SteerWorkflow::default()
        };
        t.admin().steer_workflow(run, &words).await.unwrap();
        let step = RecordIntervention {
            kind: "note".to_owned(),
            summary: "opened the gate".to_owned(),
            ..RecordIntervention::default()
        };
        other.admin().record_intervention(run, &step).await.unwrap();
        let part = next(&builder, "a task of the orchestrator is found").await;
        builder.complete(&part, json!({})).await.unwrap();
        there.complete(&first, json!({})).await.unwrap();

        // It fails, and is tried again by whoever looks.
        let second = next(&here, "what happened meanwhile wakes it").await;
        here.fail(&second, "broken").await.unwrap();
        let packet = AddInputPacket {
            packet_kind: "supplemental".to_owned(),
            ..AddInputPacket::default()
        };
        t.admin().add_input_packet(run, &packet).await.unwrap();
        let_time_pass(t).await;
        let third = next(&there, "it is tried again").await;
        let again = told(&third);
        assert!(again.starts_with(&told(&second)), "{again:?}");
        heard.extend(again);
        there.complete(&third, json!({})).await.unwrap();

        // Nobody is at work when the last tasks end, and when something comes up that waits for company.
        for _ in 0..2 {
            let builder = builder.at(&other);
            let part = next(&builder, "the other tasks are found").await;
            builder.complete(&part, json!({})).await.unwrap();
        }
        let tidied = CreateActivation {
            reason: "somebody tidied up".to_owned(),
            event_type: "board.tidied".to_owned(),
            payload: None,
            request_id: None,
        };
        other.admin().create_activation(run, &tidied).await.unwrap();
        let_time_pass(t).await;
        let mut last = next(&here, "the end of the tasks wakes it").await;
        heard.extend(told(&last));
        while !heard.iter().any(|(_, kind)| kind == "board.tidied") {
            here.complete(&last, json!({})).await.unwrap();
            last = next(&here, "what waited for company wakes it").await;
            heard.extend(told(&last));
        }
        let steer = here.agent.steering(last.id, Some(last.attempt));
        let nothing = serde_json::from_value(json!({})).unwrap();
        done(steer.complete_work_item(made.id, &nothing).await.unwrap());
        let end = serde_json::from_value(json!({ "summary": "built" })).unwrap();
        done(steer.complete_run(&end).await.unwrap());
        here.complete(&last, json!({})).await.unwrap();

        assert_eq!(t.run_state(run).await, WorkflowState::Completed);
        let ids: Vec<String> = heard.iter().map(|(id, _)| id.clone()).collect();
        assert_eq!(ids, queued(t, run).await, "each once, in order");
        let kinds: BTreeSet<&str> = heard.iter().map(|(_, kind)| kind.as_str()).collect();
        let expected = [
            "board.tidied",
            "operator.input_packet",
            "operator.intervention",
            "operator.steering",
            "task.completed",
            "workflow.created",
        ];
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
        until("everything is settled", async || {
            let activations = t.admin().list_activations(run, &[]).await.expect("a list");
            let mut states = activations.data.iter().map(|one| one.state);
            states.all(|state| state == ActivationState::Completed)
        })
        .await;
        assert!(
            !signals.0.has_changed().unwrap() && !signals.1.has_changed().unwrap(),
            "no signal came through"
        );
    });
}

#[test]
fn a_silent_replica_remembers_that_there_is_nothing_until_it_looks() {
    test(async |t| {
        let worker = t.worker("worker").await;
        assert!(worker.claim().await.is_none());
        t.app().bus.fall_silent();
        t.create("unheard of").await;
        assert!(
            worker.claim().await.is_none(),
            "nobody has told it of the task"
        );
        t.run_loop("look_for_work").await;
        worker.claim_one().await;
    });
}
