//! The run of `scripts/demo --orchestrated`: the playbook of `examples/orchestrated`, led by
//! `worker/examples/orchestrate.rs`.
//!
//! It tells what the orchestrator was woken for and what became of the work it gave to others, and decides
//! about the gate: by itself, visibly, or as the person at the terminal says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::ensure;
use clap::Args;
use serde_json::{Value, json};
use stint_protocol::client::Client;
use stint_protocol::{
    Activation, ActivationState, DecideGate, GateAction, GateStatus, StageGate, TaskState,
    WorkflowDetail, WorkflowId, WorkflowState,
};
use tokio::time::sleep;

use crate::workflow::{ask, launch, publish};
use crate::{PAUSE, patiently};

/// What the booklet is about.
const CHAPTERS: &[&str] = &["Leaves", "Roots", "Bark", "Seeds", "Rings"];

/// What to run, and who decides.
#[derive(Debug, Args)]
pub(crate) struct Orchestrated {
    /// The playbook: a file with the body of a request to make it
    #[arg(long)]
    playbook: PathBuf,
    /// Ask at the terminal instead of approving
    #[arg(long)]
    ask: bool,
    /// A file to make when the first chapters are written
    #[arg(long)]
    half: Option<PathBuf>,
    /// Whether to check that everything happened as it should
    #[arg(long)]
    check: bool,
}

/// Launches a run and follows it to its end. False when it did not end well.
pub(crate) async fn run(client: &Client, wanted: &Orchestrated) -> anyhow::Result<bool> {
    let start = Instant::now();
    let playbook = publish(client, &wanted.playbook).await?;
    println!(
        "Playbook {:?}, version {}, is published.",
        playbook.name, playbook.version
    );
    let parameters = json!({ "title": "Trees", "chapters": CHAPTERS.join(", ") });
    let id = launch(client, &playbook, "Trees", parameters).await?;
    println!("Run {id} is launched.");
    let ended = follow(client, wanted, id).await?;
    println!(
        "\nThe run is {} after {:.1} s.",
        ended.workflow.state,
        start.elapsed().as_secs_f64()
    );
    let output = ended.workflow.output.as_ref().map(|output| output.value());
    let output = output.unwrap_or_default();
    println!("{}", output["summary"].as_str().unwrap_or_default());
    if wanted.check {
        return check(&ended, &output);
    }
    Ok(ended.workflow.state == WorkflowState::Completed)
}

/// Tells what happens until the run has ended, and decides what is asked.
async fn follow(
    client: &Client,
    wanted: &Orchestrated,
    id: WorkflowId,
) -> anyhow::Result<WorkflowDetail> {
    let mut told = BTreeMap::new();
    loop {
        let now = patiently(|| client.get_workflow(id)).await?;
        for (what, line) in lines(&now) {
            if told.get(&what) != Some(&line) {
                println!("  {line}");
                told.insert(what, line);
            }
        }
        let written = now.tasks.iter().filter(|task| {
            task.role.as_deref() == Some("writer") && task.state == TaskState::Completed
        });
        if let Some(half) = &wanted.half
            && written.count() >= 2
            && !half.exists()
        {
            std::fs::write(half, "")?;
        }
        for gate in patiently(|| client.list_gates(id)).await? {
            if gate.status == GateStatus::AwaitingApproval && !gate.is_superseded {
                decide(client, wanted.ask, id, &gate).await?;
            }
        }
        let is_awake = now
            .activations
            .iter()
            .any(|activation| activation.state != ActivationState::Completed);
        if now.workflow.state.is_final() && !is_awake {
            return Ok(now);
        }
        sleep(PAUSE).await;
    }
}

/// What there is to tell of a run, in the order in which it came about.
fn lines(now: &WorkflowDetail) -> Vec<(String, String)> {
    // Those that were told together are told of once.
    let stands_for_all = |one: &&Activation| one.activation_id == Some(one.id);
    let activations = now.activations.iter().rev().filter(stands_for_all);
    let activations = activations.map(|activation| {
        let kinds = activation.event_types.join(", ");
        let line = format!("orchestrator {}: {kinds}", activation.state);
        (activation.id.to_string(), line)
    });
    let tasks = now.tasks.iter().rev().filter_map(|task| {
        let role = task.role.as_deref()?;
        (role != "orchestrator").then(|| {
            let line = format!("{role:12} {}: {}", task.state, task.title);
            (task.id.to_string(), line)
        })
    });
    activations.chain(tasks).collect()
}

async fn decide(
    client: &Client,
    asks_person: bool,
    id: WorkflowId,
    gate: &StageGate,
) -> anyhow::Result<()> {
    println!("\n  ? {}", gate.request_summary);
    let (action, feedback) = if asks_person {
        match ask("  > yes, or what to change? ")?.as_str() {
            yes if yes.to_lowercase().starts_with('y') => (GateAction::Approve, None),
            changes => (GateAction::RequestChanges, Some(changes.to_owned())),
        }
    } else {
        println!("  > approved by the demo; --ask lets you decide\n");
        (GateAction::Approve, None)
    };
    let decision = DecideGate {
        action,
        feedback,
        request_id: Some(format!("demo-gate-{}", gate.id)),
    };
    patiently(|| client.decide_gate(id, gate.id, &decision)).await?;
    Ok(())
}

/// Whether every chapter is in the booklet, and what was too short was sent back once.
fn check(run: &WorkflowDetail, output: &Value) -> anyhow::Result<bool> {
    let state = run.workflow.state;
    ensure!(state == WorkflowState::Completed, "the run is {state}");
    let bound = &output["final_artifacts"][0];
    ensure!(
        bound["chapters"] == CHAPTERS.len(),
        "the booklet has {} chapters",
        bound["chapters"]
    );
    let of = |role: &str| {
        let tasks = run.tasks.iter();
        tasks
            .filter(move |task| task.role.as_deref() == Some(role))
            .count()
    };
    let (writers, binders) = (of("writer"), of("binder"));
    ensure!(
        (writers, binders) == (CHAPTERS.len(), 1),
        "there are {writers} tasks to write and {binders} to bind"
    );
    let open = run
        .tasks
        .iter()
        .filter(|task| !task.state.is_final())
        .count();
    ensure!(open == 0, "{open} tasks are open");
    println!("Checked: {writers} chapters, each written by one task, and bound once.");
    Ok(true)
}
