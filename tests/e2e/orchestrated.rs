//! The worked example of an orchestrator runs to its end with real processes, also when they are killed.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stint_protocol::client::Client;
use stint_protocol::{
    ActivationState, CreatePlaybook, CreateWorkflow, DecideGate, GateAction, GateStatus, TaskState,
    WorkflowDetail, WorkflowId, WorkflowState,
};

use stint_tests::place::until;
use stint_tests::processes::{ExampleProcess, Stage, Tenant, WorkerProcess};

/// The titles of the chapters; every other one is too short at first.
const CHAPTERS: [&str; 6] = ["Leaves", "Roots", "Bark", "Seeds", "Rings", "Sap"];

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/orchestrated")
        .join(name)
}

/// A worker with the programs of the example. Chapters after the second wait for the gate `open` first.
fn worker(stage: &Stage, tenant: &Tenant) -> WorkerProcess {
    let program = |name: &str| {
        let path = example(name).canonicalize().expect("the example has it");
        path.display().to_string()
    };
    let write = format!(
        "[ \"$(jq -r .number \"$STINT_TASK_INPUT_FILE\")\" -le 2 ] ||\n\
         while [ -d \"$GATE\" ] && [ ! -e \"$GATE/open\" ]; do sleep 0.05; done\n\
         exec {}",
        program("write")
    );
    stage
        .worker("writers", &tenant.url, &tenant.key)
        .with("capacity = 8\nlease_seconds = 10")
        .handler("writer", &write)
        .handler("binder", &format!("exec {}", program("bind")))
        .start()
}

fn orchestrator(stage: &Stage, tenant: &Tenant) -> ExampleProcess {
    let settings = [
        ("STINT_URL", tenant.url.as_str()),
        ("STINT_API_KEY", tenant.key.as_str()),
    ];
    stage.example("orchestrate", &settings)
}

async fn launch(client: &Client) -> WorkflowId {
    let playbook = std::fs::read_to_string(example("playbook.json")).expect("the example has it");
    let playbook: CreatePlaybook = serde_json::from_str(&playbook).expect("it is a playbook");
    let playbook = client
        .create_playbook(&playbook)
        .await
        .expect("it has no mistake");
    let workspace = serde_json::from_value(json!({ "name": "Place", "slug": "place" }));
    let workspace = client.create_workspace(&workspace.expect("a body")).await;
    let run: CreateWorkflow = serde_json::from_value(json!({
        "playbook_id": playbook.id, "workspace_id": workspace.expect("a workspace").id, "name": "Trees",
        "parameters": { "title": "Trees", "chapters": CHAPTERS.join(",") }, "request_id": "the-run",
    }))
    .expect("a body");
    client
        .create_workflow(&run)
        .await
        .expect("it fits")
        .workflow
        .id
}

/// The run, as soon as it is as wanted. The platform may be away meanwhile.
async fn once(
    client: &Client,
    id: WorkflowId,
    what: &str,
    is_so: impl Fn(&WorkflowDetail) -> bool,
) -> WorkflowDetail {
    let mut found = None;
    until(what, async || {
        found = client.get_workflow(id).await.ok();
        found.as_ref().is_some_and(&is_so)
    })
    .await;
    found.expect("it was waited for")
}

fn written(run: &WorkflowDetail) -> usize {
    let of_writers = run
        .tasks
        .iter()
        .filter(|task| task.role.as_deref() == Some("writer"));
    of_writers
        .filter(|task| task.state == TaskState::Completed)
        .count()
}

async fn approve(client: &Client, id: WorkflowId) {
    let gates = client.list_gates(id).await.expect("its gates");
    let asking = gates
        .iter()
        .filter(|gate| gate.status == GateStatus::AwaitingApproval && !gate.is_superseded);
    let asking: Vec<_> = asking.collect();
    assert_eq!(asking.len(), 1, "one question is asked once");
    let decision = DecideGate {
        action: GateAction::Approve,
        feedback: None,
        request_id: Some("the-decision".to_owned()),
    };
    client
        .decide_gate(id, asking[0].id, &decision)
        .await
        .expect("it is asked");
}

#[tokio::test]
async fn the_orchestrated_example_ends_though_orchestrator_workers_and_platform_are_killed_in_turn()
{
    let stage = Stage::new();
    let mut platform = stage.platform().await;
    let tenant = Tenant::first_of(&platform);
    let client = &tenant.client;
    let mut leader = orchestrator(&stage, &tenant);
    let mut workers = worker(&stage, &tenant);
    let id = launch(client).await;
    // Two chapters can be written, and one of them only when it was sent back.
    once(client, id, "the first chapters are written", |run| {
        written(run) >= 2
    })
    .await;
    leader.kill9();
    leader.start();
    workers.kill9();
    stage.open("open");
    let mut workers = workers.start();
    once(client, id, "some more chapters are written", |run| {
        written(run) >= 3
    })
    .await;
    platform.kill9();
    leader.kill9();
    platform.restart().await;
    leader.start();
    let run = once(client, id, "a person is asked", |run| {
        run.workflow.work_item_summary.awaiting_gate_count == 1
    })
    .await;
    assert_eq!(run.workflow.state, WorkflowState::Active);
    platform.kill9();
    platform.restart().await;
    approve(client, id).await;
    workers.kill9();
    let run = once(
        client,
        id,
        "the run has ended, and nobody is at work on it",
        |run| {
            let mut activations = run.activations.iter();
            run.workflow.state.is_final()
                && activations.all(|one| one.state == ActivationState::Completed)
        },
    )
    .await;
    assert_eq!(run.workflow.state, WorkflowState::Completed);
    let output = run
        .workflow
        .output
        .as_ref()
        .expect("the orchestrator said it")
        .value();
    let bound = &output["final_artifacts"][0];
    assert_eq!(
        (&bound["chapters"], &bound["words"]),
        (&json!(CHAPTERS.len()), &json!(CHAPTERS.len() * 40))
    );
    // Each thing was planned once, however often its orchestrator was killed while it planned.
    let titles: std::collections::BTreeSet<&str> = run
        .work_items
        .iter()
        .map(|item| item.title.as_str())
        .collect();
    assert_eq!(
        (run.work_items.len(), titles.len()),
        (CHAPTERS.len() + 1, CHAPTERS.len() + 1)
    );
    let of = |role: &str| {
        run.tasks
            .iter()
            .filter(|task| task.role.as_deref() == Some(role))
            .count()
    };
    assert_eq!((of("writer"), of("binder")), (CHAPTERS.len(), 1));
    assert_every_end_was_told(client, id, &run).await;
}

/// No end of a task was lost: each is among what an orchestrator was told, once.
async fn assert_every_end_was_told(client: &Client, id: WorkflowId, run: &WorkflowDetail) {
    let mut told = Vec::new();
    for activation in client
        .list_activations(id, &[("per_page", "100")])
        .await
        .expect("a list")
        .data
    {
        if activation.activation_id == Some(activation.id) {
            told.extend(
                client
                    .get_activation(id, activation.id)
                    .await
                    .expect("it is there")
                    .events,
            );
        }
    }
    let given = run
        .tasks
        .iter()
        .filter(|task| task.role.as_deref() != Some("orchestrator"));
    for task in given {
        let ends = told.iter().filter(|event| {
            let payload = event.payload.members();
            event.event_type == "task.completed"
                && payload.get("task_id") == Some(&Value::from(task.id.to_string()))
        });
        assert_eq!(ends.count(), 1, "{}", task.title);
    }
}
