//! The worked example runs to its end with real processes, also when they are killed in the middle.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stint_protocol::client::Client;
use stint_protocol::{
    CreatePlaybook, CreateWorkflow, DecideStep, StepDecision, StepState, WorkflowDetail,
    WorkflowId, WorkflowState,
};

use stint_tests::place::until;
use stint_tests::processes::{Stage, Tenant, WorkerProcess};

/// Files that the run looks at.
const FILES: usize = 24;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/workflow")
        .join(name)
}

/// A worker with the programs of the example. Each check waits for the gate `open` first, but for some.
fn worker(stage: &Stage, tenant: &Tenant, name: &str) -> WorkerProcess {
    let program = |name: &str| {
        let path = example(name).canonicalize().expect("the example has it");
        path.display().to_string()
    };
    let check = format!(
        "case \"$(jq -r .file \"$STINT_TASK_INPUT_FILE\")\" in\n\
         f0[0-6]) ;;\n\
         *) touch \"$GATE/half\"; while [ -d \"$GATE\" ] && [ ! -e \"$GATE/open\" ]; do sleep 0.05; done ;;\n\
         esac\n\
         exec {}",
        program("check-file")
    );
    stage
        .worker(name, &tenant.url, &tenant.key)
        .with("capacity = 4\nlease_seconds = 10")
        .handler("list-files", &format!("exec {}", program("list-files")))
        .handler("check-file", &check)
        .handler("report", &format!("exec {}", program("report")))
        .start()
}

async fn launch(client: &Client, folder: &Path) -> WorkflowId {
    let playbook = std::fs::read_to_string(example("playbook.json")).expect("the example has it");
    let playbook: CreatePlaybook = serde_json::from_str(&playbook).expect("it is a playbook");
    let playbook = client
        .create_playbook(&playbook)
        .await
        .expect("it has no mistake");
    let workspace = serde_json::from_value(json!({ "name": "Place", "slug": "place" }));
    let workspace = client
        .create_workspace(&workspace.expect("a body"))
        .await
        .expect("a workspace");
    let run: CreateWorkflow = serde_json::from_value(json!({
        "playbook_id": playbook.id, "workspace_id": workspace.id, "name": "Check",
        "parameters": { "folder": folder }, "request_id": "the-run",
    }))
    .expect("a body");
    let first = client.create_workflow(&run).await.expect("it fits");
    let again = client.create_workflow(&run).await.expect("it is a replay");
    assert_eq!(first.workflow.id, again.workflow.id);
    first.workflow.id
}

/// The run, as soon as it is as wanted.
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

fn step_is(run: &WorkflowDetail, name: &str, state: StepState) -> bool {
    run.steps
        .iter()
        .any(|step| step.step_id == name && step.state == state)
}

#[tokio::test]
async fn the_example_ends_with_its_report_though_everything_is_killed_in_the_middle() {
    let stage = Stage::new();
    let mut platform = stage.platform().await;
    let tenant = Tenant::first_of(&platform);
    let folder = stage.file("files");
    std::fs::create_dir(&folder).expect("our own folder");
    for number in 0..FILES {
        let text = if number == 3 { "bad \n" } else { "good\n" };
        std::fs::write(folder.join(format!("f{number:02}")), text).expect("our own folder");
    }
    let mut one = worker(&stage, &tenant, "one");
    let _two = worker(&stage, &tenant, "two");
    let id = launch(&tenant.client, &folder).await;
    until("some files are checked and some are held", async || {
        let run = tenant.client.get_workflow(id).await.expect("it is there");
        let check = run.steps.iter().find(|step| step.step_id == "check");
        check.is_some_and(|check| check.tasks_completed >= 5) && stage.file("half").exists()
    })
    .await;
    one.kill9();
    platform.kill9();
    platform.restart().await;
    let _one = one.start();
    stage.open("open");
    let client = &tenant.client;
    let run = once(client, id, "a person is asked", |run| {
        step_is(run, "approve", StepState::Waiting)
    })
    .await;
    assert_eq!(run.workflow.state, WorkflowState::Active);
    let decision = DecideStep {
        action: StepDecision::Approve,
        fields: Some(serde_json::from_value(json!({ "title": "All of it" })).expect("an object")),
        comment: None,
        request_id: Some("the-decision".to_owned()),
    };
    client
        .decide_workflow_step(id, "approve", &decision)
        .await
        .expect("it is asked");
    let run = once(client, id, "the run has ended", |run| {
        run.workflow.state.is_final()
    })
    .await;
    assert_eq!(
        run.workflow.state,
        WorkflowState::Completed,
        "{:?}",
        run.workflow.error
    );
    let output = run.workflow.output.expect("it puts something out").value();
    assert_eq!(
        (&output["files"], &output["lines"]),
        (&json!(FILES), &json!(FILES))
    );
    assert_eq!(output["with_problems"], json!(["f03"]));
    let report = output["report"].as_str().expect("a text");
    assert!(
        report.starts_with("All of it\n") && report.contains("f03: blanks"),
        "{report}"
    );
    assert_eq!(
        run.workflow.task_counts.values().sum::<i64>(),
        i64::try_from(FILES + 2).expect("few")
    );
    let of_run = id.to_string();
    let filters = [("workflow_id", of_run.as_str()), ("per_page", "100")];
    for task in client.list_tasks(&filters).await.expect("its tasks").data {
        let entity = task.id.to_string();
        let events = client
            .list_events(&[("entity_id", entity.as_str())])
            .await
            .expect("its events");
        let completed = |event: &&stint_protocol::Event| {
            event.data.members().get("to_state") == Some(&Value::from("completed"))
        };
        assert_eq!(
            events.data.iter().filter(completed).count(),
            1,
            "{}",
            task.title
        );
    }
}
