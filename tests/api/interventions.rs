//! What operators do about a run, and what they give it to work with: it is kept, and wakes the orchestrator.

use serde_json::{Value, json};
use stint_protocol::{
    AddInputPacket, Bare, ClaimedTask, CreateWorkItem, InitialInputPacket, InputPacketId,
    RecordIntervention, SteerWorkflow, SteeringSessionId, WorkflowId,
};
use stint_tests::{TestPlatform, TestWorker, object, older_copies, status_of, test};

use crate::led::Led;

fn intervention(summary: &str) -> RecordIntervention {
    RecordIntervention {
        kind: "pause_trade".to_owned(),
        summary: summary.to_owned(),
        structured_action: Some(object(json!({ "action": "close_valve", "valve": 7 }))),
        ..RecordIntervention::default()
    }
}

fn packet(summary: &str) -> AddInputPacket {
    AddInputPacket {
        packet_kind: "supplemental".to_owned(),
        summary: Some(summary.to_owned()),
        structured_inputs: Some(object(json!({ "budget": 12 }))),
        ..AddInputPacket::default()
    }
}

/// What the orchestrator is told.
fn events(task: &ClaimedTask) -> Vec<Value> {
    let input = Value::Object(task.input.members());
    input["events"].as_array().expect("events").clone()
}

fn types(task: &ClaimedTask) -> Vec<String> {
    let types = events(task).into_iter().map(|event| event["type"].clone());
    types
        .map(|kind| kind.as_str().expect("a type").to_owned())
        .collect()
}

/// The orchestrator of the run gives up for good: only a person gets it going again.
async fn give_up(led: &Led) {
    let mut hopeless = TestWorker::failure(&led.task, "broken");
    hopeless.error.recoverable = Some(false);
    let failed = led.conductor.agent.fail_task(led.task.id, &hopeless).await;
    failed.expect("it holds its task");
}

async fn happened(t: &TestPlatform, run: WorkflowId, event_type: &str) -> i64 {
    sqlx::query_scalar("select count(*) from events where workflow_id = $1 and event_type = $2")
        .bind(run.uuid())
        .bind(event_type)
        .fetch_one(t.sql())
        .await
        .expect("events can be read")
}

#[test]
fn an_intervention_is_kept_and_wakes_the_orchestrator_with_its_words_even_when_it_was_given_up() {
    test(async |t| {
        let led = Led::of(t).await;
        let item = led.item("valves").await;
        give_up(&led).await;
        assert!(led.conductor.claim().await.is_none());
        let wanted = RecordIntervention {
            work_item_id: Some(item.id),
            note: Some("the water is cold".to_owned()),
            request_id: Some("once".to_owned()),
            ..intervention("closed a valve")
        };
        let made = t.admin().record_intervention(led.run, &wanted).await;
        let made = made.unwrap();
        assert_eq!(
            (made.origin.as_str(), made.status.as_str()),
            ("operator", "applied")
        );
        let again = t.admin().record_intervention(led.run, &wanted).await;
        assert_eq!(again.unwrap().id, made.id);
        let task = led.conductor.begin().await;
        let told = events(&task);
        assert_eq!(types(&task), ["workflow.created", "operator.intervention"]);
        assert_eq!(told[1]["queue_id"], json!(made.activation_id.unwrap()));
        assert_eq!(told[1]["work_item_id"], json!(item.id));
        let payload = &told[1]["payload"];
        assert_eq!(payload["intervention_id"], json!(made.id));
        assert_eq!(payload["summary"], "closed a valve");
        assert_eq!(payload["note"], "the water is cold");
        assert_eq!(payload["structured_action"]["valve"], 7);
        t.admin()
            .record_intervention(led.run, &intervention("and another"))
            .await
            .unwrap();
        let listed = t.admin().list_interventions(led.run, &[]).await.unwrap();
        let listed: Vec<&str> = listed.data.iter().map(|one| one.summary.as_str()).collect();
        assert_eq!(listed, ["and another", "closed a valve"]);
        let read = t.admin().get_intervention(led.run, made.id).await.unwrap();
        assert_eq!(read.request_id.as_deref(), Some("once"));
        assert_eq!(
            happened(t, led.run, "workflow.intervention_recorded").await,
            2
        );
    });
}

#[test]
fn an_input_packet_is_kept_and_wakes_the_orchestrator_with_what_is_in_it() {
    test(async |t| {
        let led = Led::of(t).await;
        give_up(&led).await;
        let wanted = AddInputPacket {
            request_id: Some("once".to_owned()),
            ..packet("the new budget")
        };
        let added = t.admin().add_input_packet(led.run, &wanted).await.unwrap();
        let again = t.admin().add_input_packet(led.run, &wanted).await.unwrap();
        assert_eq!(again.id, added.id);
        let task = led.conductor.begin().await;
        assert_eq!(types(&task), ["workflow.created", "operator.input_packet"]);
        let payload = &events(&task)[1]["payload"];
        assert_eq!(payload["input_packet_id"], json!(added.id));
        assert_eq!(payload["structured_inputs"]["budget"], 12);
        assert_eq!(happened(t, led.run, "workflow.input_packet_added").await, 1);
        // Words can refer to it, and are an intervention themselves.
        let words = SteerWorkflow {
            request: "keep to the budget".to_owned(),
            linked_input_packet_ids: vec![added.id, added.id],
            ..SteerWorkflow::default()
        };
        let said = t.admin().steer_workflow(led.run, &words).await.unwrap();
        led.conductor.complete(&task, json!({})).await.unwrap();
        let task = led.conductor.begin().await;
        let payload = &events(&task)[0]["payload"];
        assert_eq!(payload["linked_input_packet_ids"], json!([added.id]));
        let known = t
            .admin()
            .get_intervention(led.run, said.intervention_id)
            .await
            .unwrap();
        assert_eq!(known.kind, "steering_request");
        assert_eq!(known.activation_id, Some(said.activation_id));
        let messages = t
            .admin()
            .list_steering_messages(led.run, said.steering_session_id)
            .await
            .unwrap();
        assert_eq!(messages[0].linked_input_packet_ids, [added.id]);
        let nothing = SteerWorkflow {
            linked_input_packet_ids: vec![InputPacketId::new()],
            ..words
        };
        assert_eq!(
            status_of(t.admin().steer_workflow(led.run, &nothing).await),
            422
        );
    });
}

#[test]
fn a_run_and_a_work_item_can_be_given_a_packet_from_the_beginning() {
    test(async |t| {
        let definition = json!({ "stages": [{ "name": "build", "goal": "Build" }] });
        let playbook = t.playbook(&definition).await;
        let mut launch = t.launch_request(playbook, json!({})).await;
        launch.initial_input_packet = Some(InitialInputPacket {
            summary: Some("a bridge".to_owned()),
            structured_inputs: Some(object(json!({ "metres": 40 }))),
        });
        let run = t.admin().create_workflow(&launch).await.unwrap();
        let run = run.workflow.id;
        let conductor = t.worker("conductor").tags(&["orchestrator"]).await;
        let task = conductor.begin().await;
        let told = &events(&task)[0]["payload"]["input_packet"];
        assert_eq!(told["summary"], "a bridge");
        assert_eq!(told["structured_inputs"]["metres"], 40);
        let item: CreateWorkItem = serde_json::from_value(json!({
            "title": "Pillar", "initial_input_packet": { "summary": "of stone" },
        }))
        .unwrap();
        let item = t.admin().create_work_item(run, &item).await.unwrap();
        conductor.complete(&task, json!({})).await.unwrap();
        let task = conductor.begin().await;
        assert_eq!(types(&task), ["work_item.created"]);
        let told = &events(&task)[0]["payload"]["input_packet"];
        assert_eq!(told["summary"], "of stone");
        let kept = t.admin().list_input_packets(run, &[]).await.unwrap().data;
        let kinds: Vec<&str> = kept.iter().map(|one| one.packet_kind.as_str()).collect();
        assert_eq!(kinds, ["plan_update", "launch"]);
        assert_eq!(kept[0].work_item_id, Some(item.id));
        assert!(kept.iter().all(|one| one.activation_id.is_some()));
        let first = t.admin().get_input_packet(run, kept[1].id).await.unwrap();
        assert_eq!(first.structured_inputs.members()["metres"], 40);
        let large = object(json!({ "text": "x".repeat(40_000) }));
        launch
            .initial_input_packet
            .as_mut()
            .unwrap()
            .structured_inputs = Some(large);
        let refused = t.admin().create_workflow(&launch).await;
        assert_eq!(status_of(refused), 422);
    });
}

#[test]
fn where_there_is_nobody_to_wake_it_is_kept_all_the_same() {
    test(async |t| {
        let graph = t
            .launch(json!({ "a": { "kind": "task", "title": "A" } }))
            .await;
        let ended = Led::of(t).await;
        t.admin()
            .cancel_workflow(ended.run, &Bare::default())
            .await
            .unwrap();
        for run in [graph.workflow.id, ended.run] {
            let before = t.run_state(run).await;
            let made = t
                .admin()
                .record_intervention(run, &intervention("late"))
                .await;
            assert_eq!(made.unwrap().activation_id, None);
            let added = t.admin().add_input_packet(run, &packet("late")).await;
            assert_eq!(added.unwrap().activation_id, None);
            let kept = t.admin().list_interventions(run, &[]).await.unwrap();
            assert_eq!(kept.data.len(), 1);
            assert_eq!(t.run_state(run).await, before);
        }
        // What belongs to another run is not there.
        let elsewhere = t.create("elsewhere").await;
        let foreign = RecordIntervention {
            task_id: Some(elsewhere.id),
            ..intervention("x")
        };
        let refused = t.admin().record_intervention(ended.run, &foreign).await;
        assert_eq!(status_of(refused), 404);
    });
}

#[test]
fn a_run_keeps_its_last_thousand_interventions_and_packets() {
    test(async |t| {
        let led = Led::of(t).await;
        let admin = t.admin();
        let intervene = async || {
            let wanted = intervention("Close it");
            let done = admin.record_intervention(led.run, &wanted).await;
            done.expect("it is kept").id
        };
        let pack = async || {
            let done = admin.add_input_packet(led.run, &packet("Prices")).await;
            done.expect("it is kept").id
        };
        let (intervened, packed) = (intervene().await, pack().await);
        for table in ["workflow_interventions", "workflow_input_packets"] {
            t.execute(&older_copies(table)).await;
        }
        intervene().await;
        pack().await;
        let kept = admin.list_interventions(led.run, &[]).await.unwrap();
        assert_eq!(kept.meta.total, 1_000);
        let kept = admin.list_input_packets(led.run, &[]).await.unwrap();
        assert_eq!(kept.meta.total, 1_000);
        let first = admin.get_intervention(led.run, intervened).await;
        first.expect("the oldest ones go first");
        let first = admin.get_input_packet(led.run, packed).await;
        first.expect("the oldest ones go first");
    });
}

#[test]
fn an_operator_steers_and_the_orchestrator_hears_the_words_even_when_it_was_given_up() {
    test(async |t| {
        let led = Led::of(t).await;
        let (run, conductor) = (led.run, &led.conductor);
        give_up(&led).await;
        assert!(conductor.claim().await.is_none());
        let words = SteerWorkflow {
            request: "leave the roof alone".to_owned(),
            ..SteerWorkflow::default()
        };
        let said = t.admin().steer_workflow(run, &words).await.unwrap();
        let task = conductor.begin().await;
        assert_eq!(types(&task), ["workflow.created", "operator.steering"]);
        assert_eq!(
            events(&task)[1]["payload"]["request"],
            "leave the roof alone"
        );
        let more = SteerWorkflow {
            session_id: Some(said.steering_session_id),
            request: "and the door".to_owned(),
            ..SteerWorkflow::default()
        };
        t.admin().steer_workflow(run, &more).await.unwrap();
        let sessions = t.admin().list_steering_sessions(run).await.unwrap();
        assert_eq!((sessions.len(), sessions[0].message_count), (1, 2));
        let messages = t
            .admin()
            .list_steering_messages(run, said.steering_session_id)
            .await
            .unwrap();
        assert_eq!(messages[0].activation_id, said.activation_id);
        assert_eq!(messages[1].body, "and the door");
        let nowhere = SteerWorkflow {
            session_id: Some(SteeringSessionId::new()),
            ..words.clone()
        };
        assert_eq!(
            status_of(t.admin().steer_workflow(run, &nowhere).await),
            404
        );
        conductor.complete(&task, json!({})).await.unwrap();
        t.admin()
            .cancel_workflow(run, &Bare::default())
            .await
            .unwrap();
        assert_eq!(status_of(t.admin().steer_workflow(run, &words).await), 409);
    });
}

#[test]
fn of_a_long_conversation_what_was_said_last_is_shown() {
    test(async |t| {
        let run = Led::of(t).await.run;
        let words = SteerWorkflow {
            request: "first".to_owned(),
            ..SteerWorkflow::default()
        };
        let said = t.admin().steer_workflow(run, &words).await.unwrap();
        t.execute(&older_copies("steering_messages")).await;
        let last = SteerWorkflow {
            session_id: Some(said.steering_session_id),
            request: "last".to_owned(),
            ..SteerWorkflow::default()
        };
        t.admin().steer_workflow(run, &last).await.unwrap();
        let shown = t
            .admin()
            .list_steering_messages(run, said.steering_session_id)
            .await
            .unwrap();
        assert_eq!(shown.len(), 1_000);
        assert_eq!(shown[999].body, "last");
    });
}
