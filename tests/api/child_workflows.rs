//! Runs that other runs launch: told to their parents when they end, and called off with them.

use serde_json::json;
use stint_protocol::{
    Bare, ChainWorkflow, CompleteWorkflow, LaunchChild, NotYetReason, PlaybookId, ReasonCode,
    RunWhyReason, TaskState, WorkflowState,
};
use stint_tests::{TestPlatform, refused_because, status_of, test};

use crate::led::{Led, done, not_yet};

async fn one_step(t: &TestPlatform) -> PlaybookId {
    let steps = json!({ "work": { "kind": "task", "role": "builder" } });
    t.playbook(&json!({ "kind": "graph", "steps": steps }))
        .await
}

fn child(playbook: PlaybookId) -> LaunchChild {
    let child =
        json!({ "playbook_id": playbook, "name": "Part", "parent_context": "for the whole" });
    serde_json::from_value(child).expect("a body")
}

#[test]
fn the_end_of_a_child_wakes_the_orchestrator_of_its_parent_which_waits_for_it() {
    test(async |t| {
        let mut led = Led::of(t).await;
        let wanted = child(one_step(t).await);
        let launched = done(led.steer().launch_child(&wanted).await.unwrap());
        let launched = launched.workflow;
        assert_eq!(launched.parent_workflow_id, Some(led.run));
        assert_eq!(
            launched.metadata.members()["parent_context"],
            "for the whole"
        );
        assert_eq!(
            launched.workspace_id,
            t.run(led.run).await.workflow.workspace_id
        );
        let parent = t.run(led.run).await.workflow_relations;
        assert!(parent.parent.is_none());
        assert_eq!(parent.latest_child_workflow_id, Some(launched.id));
        assert_eq!(parent.child_status_counts.active, 1);
        let told = &parent.children[0];
        assert_eq!((told.workflow_id, told.is_terminal), (launched.id, false));
        let read = t.get(&told.link, t.admin_key()).await;
        assert_eq!(
            read.data()["workflow_relations"]["parent"]["workflow_id"],
            json!(led.run)
        );
        let end = CompleteWorkflow {
            summary: "done".to_owned(),
            ..CompleteWorkflow::default()
        };
        let early = led.steer().close_run_with_callouts(&end).await.unwrap();
        assert_eq!(not_yet(&early), NotYetReason::WorkflowChildrenNotReady);
        led.conductor.complete(&led.task, json!({})).await.unwrap();
        assert_eq!(
            t.run_state(led.run).await,
            WorkflowState::Active,
            "its child is open"
        );
        let why = t.admin().explain_workflow(led.run).await.unwrap();
        assert_eq!(why.reason, RunWhyReason::WaitingForChildren);
        let worker = t
            .worker("builder")
            .capacity(9)
            .tags(&["role:builder"])
            .await;
        worker.work_off(|_| json!({})).await;
        assert_eq!(t.run_state(launched.id).await, WorkflowState::Completed);
        let counts = t.run(led.run).await.workflow_relations.child_status_counts;
        assert_eq!((counts.total, counts.active, counts.completed), (1, 0, 1));
        t.run_loop("dispatch_activations").await;
        led.task = led.conductor.begin().await;
        let event = serde_json::Value::Object(led.task.input.members())["events"][0].clone();
        assert_eq!(event["type"], "child_workflow.completed");
        assert_eq!(event["payload"]["child_workflow_id"], json!(launched.id));
        done(led.steer().close_run_with_callouts(&end).await.unwrap());
        let of_parent = led.run.to_string();
        let listed = t
            .admin()
            .list_workflows(&[("parent_workflow_id", &of_parent)])
            .await
            .unwrap();
        assert_eq!((listed.data.len(), listed.data[0].id), (1, launched.id));
    });
}

#[test]
fn a_failed_child_is_told_of_too() {
    test(async |t| {
        let mut led = Led::of(t).await;
        let wanted = child(one_step(t).await);
        done(led.steer().launch_child(&wanted).await.unwrap());
        let worker = t.worker("builder").tags(&["role:builder"]).await;
        let held = worker.begin().await;
        worker.fail(&held, "broken").await.unwrap();
        assert_eq!(led.next().await, ["child_workflow.failed"]);
    });
}

#[test]
fn children_are_called_off_with_their_parent_and_theirs_with_them() {
    test(async |t| {
        let led = Led::of(t).await;
        let playbook = one_step(t).await;
        let launched = done(led.steer().launch_child(&child(playbook)).await.unwrap());
        let chain = ChainWorkflow {
            playbook_id: playbook,
            name: None,
            parameters: None,
            request_id: Some("chain-1".to_owned()),
        };
        let below = t
            .admin()
            .chain_workflow(launched.workflow.id, &chain)
            .await
            .unwrap();
        let again = t
            .admin()
            .chain_workflow(launched.workflow.id, &chain)
            .await
            .unwrap();
        assert_eq!(below.workflow.id, again.workflow.id);
        assert_eq!(
            below.workflow.name, "Part",
            "without a name it has that of its parent"
        );
        t.admin()
            .cancel_workflow(led.run, &Bare::default())
            .await
            .unwrap();
        for run in [led.run, launched.workflow.id, below.workflow.id] {
            assert_eq!(t.run_state(run).await, WorkflowState::Cancelled);
        }
        let left = t.run(below.workflow.id).await.tasks;
        assert!(left.iter().all(|task| task.state == TaskState::Cancelled));
        refused_because(
            t.admin()
                .chain_workflow(
                    led.run,
                    &ChainWorkflow {
                        request_id: None,
                        ..chain
                    },
                )
                .await,
            ReasonCode::StateChanged,
        );
        led.conductor.complete(&led.task, json!({})).await.unwrap();
        t.run_loop("dispatch_activations").await;
    });
}

#[test]
fn runs_are_nested_only_so_deep() {
    test(async |t| {
        let playbook = one_step(t).await;
        let request = t.launch_request(playbook, json!({})).await;
        let mut run = t
            .admin()
            .create_workflow(&request)
            .await
            .unwrap()
            .workflow
            .id;
        let chain = ChainWorkflow {
            playbook_id: playbook,
            name: None,
            parameters: None,
            request_id: None,
        };
        for _ in 0..5 {
            run = t
                .admin()
                .chain_workflow(run, &chain)
                .await
                .unwrap()
                .workflow
                .id;
        }
        refused_because(
            t.admin().chain_workflow(run, &chain).await,
            ReasonCode::LimitReached,
        );
        let nowhere = stint_protocol::WorkflowId::new();
        assert_eq!(
            status_of(t.admin().chain_workflow(nowhere, &chain).await),
            404
        );
    });
}
