//! The run of `scripts/demo --workflow`: the playbook of `examples/workflow`, from launch to report.
//!
//! ```text
//! list ─► check, a task for every file ─► approve, a person ─► report
//! ```
//!
//! It looks at the run every now and then, tells what has changed, and decides what the run asks: by
//! itself, visibly, or as the person at the terminal says.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Map, Value, json};
use stint_protocol::client::Client;
use stint_protocol::{
    ApprovalAction, CreatePlaybook, CreateWorkflow, CreateWorkspace, DecideApproval, Json,
    JsonObject, Playbook, ReasonCode, StepState, TaskId, UpdatePlaybook, WorkflowDetail,
    WorkflowId, WorkflowState, WorkflowStep,
};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{PAUSE, check, patiently};

/// What to run, and who decides.
#[derive(Debug, Args)]
pub(crate) struct Workflow {
    /// The folder to look at
    #[arg(long)]
    folder: PathBuf,
    /// The playbook: a file with the body of a request to make it
    #[arg(long)]
    playbook: PathBuf,
    /// Ask at the terminal instead of approving
    #[arg(long)]
    ask: bool,
    /// Where the handlers note each line they print
    #[arg(long)]
    printed: PathBuf,
    /// A file to make when half of the files are checked
    #[arg(long)]
    half: Option<PathBuf>,
    /// Whether to check that everything happened exactly once
    #[arg(long)]
    check: bool,
}

/// Launches a run and follows it to its end. False when it did not end well.
pub(crate) async fn run(client: &Client, wanted: &Workflow) -> anyhow::Result<bool> {
    // What happens from here on is ours to see.
    let begin = patiently(|| client.list_events(&[("after", "latest")])).await?;
    let begin = begin.meta.next_after.context("events have no end")?;
    let start = Instant::now();
    let playbook = publish(client, &wanted.playbook).await?;
    println!(
        "Playbook {:?}, version {}, is published.",
        playbook.name, playbook.version
    );
    let folder = wanted.folder.to_str();
    let folder = folder.context("the folder's name is no text")?;
    let name = format!("Check {folder}");
    let id = launch(client, &playbook, &name, json!({ "folder": folder })).await?;
    println!("Run {id} is launched.");
    let ended = follow(client, wanted, id).await?;
    println!(
        "\nThe run is {} after {:.1} s.",
        ended.workflow.state,
        start.elapsed().as_secs_f64()
    );
    if let Some(error) = &ended.workflow.error {
        println!("{}", error.message);
    }
    let output = ended.workflow.output.as_ref().map(|output| output.value());
    let output = output.unwrap_or_default();
    if let Some(report) = output["report"].as_str() {
        println!("\n{report}");
    }
    if wanted.check {
        let tasks = tasks_of(client, &ended, &output).await?;
        return check::check(client, &tasks, &begin, &wanted.printed).await;
    }
    Ok(ended.workflow.state == WorkflowState::Completed)
}

/// Publishes the playbook; where there is one already, its next version.
pub(crate) async fn publish(client: &Client, path: &Path) -> anyhow::Result<Playbook> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let mut body: CreatePlaybook = serde_json::from_str(&text)?;
    body.request_id = Some(format!("demo-playbook-{}", Uuid::now_v7()));
    match patiently(|| client.create_playbook(&body)).await {
        Err(error) if error.reason() == Some(ReasonCode::NameTaken) => {}
        answer => return Ok(answer?),
    }
    let slug = body.slug.as_deref().context("the playbook has no slug")?;
    let filters = [("slug", slug)];
    let versions = patiently(|| client.list_playbooks(&filters)).await?;
    let latest = versions
        .data
        .first()
        .context("the playbook has no version")?;
    let next = UpdatePlaybook {
        name: Some(body.name.clone()),
        slug: body.slug.clone(),
        description: body.description.clone(),
        outcome: Some(body.outcome.clone()),
        lifecycle: body.lifecycle,
        definition: Some(body.definition.clone()),
        draft: None,
        changelog: Some("Published by the demo".to_owned()),
        request_id: body.request_id.clone(),
    };
    Ok(patiently(|| client.replace_playbook(latest.id, &next)).await?)
}

/// Launches a run in a workspace of its own.
pub(crate) async fn launch(
    client: &Client,
    playbook: &Playbook,
    name: &str,
    parameters: Value,
) -> anyhow::Result<WorkflowId> {
    let this = Uuid::now_v7();
    let workspace = CreateWorkspace {
        name: "Demo".to_owned(),
        slug: format!("demo-{this}"),
        description: None,
        repository_url: None,
        settings: None,
        memory: None,
        request_id: Some(format!("demo-workspace-{this}")),
    };
    let workspace = patiently(|| client.create_workspace(&workspace)).await?;
    let run = CreateWorkflow {
        playbook_id: playbook.id,
        workspace_id: workspace.id,
        name: name.chars().take(255).collect(),
        operator_note: None,
        initial_input_packet: None,
        parameters: Some(serde_json::from_value(parameters)?),
        metadata: None,
        config_overrides: None,
        instruction_config: None,
        budget: None,
        live_visibility_mode: None,
        request_id: Some(format!("demo-run-{this}")),
    };
    Ok(patiently(|| client.create_workflow(&run))
        .await?
        .workflow
        .id)
}

/// Tells what happens until the run has ended, and decides what it asks.
async fn follow(
    client: &Client,
    wanted: &Workflow,
    id: WorkflowId,
) -> anyhow::Result<WorkflowDetail> {
    let mut told = BTreeMap::new();
    let mut is_decided = false;
    loop {
        let now = patiently(|| client.get_workflow(id)).await?;
        for step in &now.steps {
            let line = describe(step);
            if told.get(&step.step_id) != Some(&line) {
                println!("  {line}");
                told.insert(step.step_id.clone(), line);
            }
        }
        if let Some(half) = &wanted.half
            && now.steps.iter().any(is_half_done)
            && !half.exists()
        {
            std::fs::write(half, "").with_context(|| format!("making {}", half.display()))?;
        }
        if !is_decided && now.steps.iter().any(is_asking) {
            decide(client, wanted.ask, id).await?;
            is_decided = true;
            continue;
        }
        if now.workflow.state.is_final() {
            return Ok(now);
        }
        sleep(PAUSE).await;
    }
}

fn describe(step: &WorkflowStep) -> String {
    let name = &step.step_id;
    if step.tasks_total > 1 {
        let (done, all) = (step.tasks_completed, step.tasks_total);
        return format!("{name:10} {} ({done} of {all} files)", step.state);
    }
    match &step.error {
        Some(error) => format!("{name:10} {}: {}", step.state, error.message),
        None => format!("{name:10} {}", step.state),
    }
}

fn is_half_done(step: &WorkflowStep) -> bool {
    step.tasks_total > 1 && step.tasks_completed * 2 >= step.tasks_total
}

fn is_asking(step: &WorkflowStep) -> bool {
    step.state == StepState::Waiting
}

/// Decides what the run asks, as the inbox tells it.
async fn decide(client: &Client, asks_person: bool, id: WorkflowId) -> anyhow::Result<()> {
    let run = id.to_string();
    let filters = [("workflow_id", run.as_str())];
    let inbox = patiently(|| client.list_approvals(&filters)).await?;
    let asked = inbox.data.first().context("the inbox has nothing of it")?;
    println!("\n  ? {}", asked.message);
    let values = asked.values.as_ref().map(Json::value);
    let (action, fields) = if asks_person {
        person_decides(values.as_ref().and_then(Value::as_object))?
    } else {
        println!("  > approved by the demo; --ask lets you decide");
        (ApprovalAction::Approve, None)
    };
    let is_refusal = action == ApprovalAction::Reject;
    let decision = DecideApproval {
        action,
        feedback: is_refusal.then(|| "refused at the terminal".to_owned()),
        fields,
        request_id: Some(format!("demo-decision-{id}")),
    };
    patiently(|| client.decide_approval(asked.id, &decision)).await?;
    println!();
    Ok(())
}

/// Asks at the terminal. Whoever says nothing says no.
fn person_decides(
    values: Option<&Map<String, Value>>,
) -> anyhow::Result<(ApprovalAction, Option<JsonObject>)> {
    let answer = ask("  > yes or no? ")?;
    if !answer.to_lowercase().starts_with('y') {
        return Ok((ApprovalAction::Reject, None));
    }
    let Some(values) = values else {
        return Ok((ApprovalAction::Approve, None));
    };
    let mut fields = values.clone();
    for (name, value) in values {
        let proposed = value.as_str().unwrap_or_default();
        let given = ask(&format!("  > {name} [{proposed}]: "))?;
        if !given.is_empty() {
            fields.insert(name.clone(), given.into());
        }
    }
    Ok((ApprovalAction::Approve, Some(fields.into())))
}

pub(crate) fn ask(prompt: &str) -> anyhow::Result<String> {
    print!("{prompt}");
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// The tasks of a run that has completed with a report on every file.
async fn tasks_of(
    client: &Client,
    run: &WorkflowDetail,
    output: &Value,
) -> anyhow::Result<Vec<TaskId>> {
    ensure!(
        run.workflow.state == WorkflowState::Completed,
        "the run is {}",
        run.workflow.state
    );
    let checked = run.steps.iter().find(|step| step.step_id == "check");
    let files = i64::from(checked.context("there is no step check")?.tasks_total);
    ensure!(
        output["files"] == files,
        "{files} files, but the output says {}",
        output["files"]
    );
    let run = run.workflow.id.to_string();
    let mut tasks = Vec::new();
    for page in 1.. {
        let number = page.to_string();
        let filters = [
            ("workflow_id", run.as_str()),
            ("per_page", "100"),
            ("page", number.as_str()),
        ];
        let found = patiently(|| client.list_tasks(&filters)).await?;
        tasks.extend(found.data.iter().map(|task| task.id));
        if page >= found.meta.pages {
            break;
        }
    }
    let wanted = usize::try_from(files)? + 2;
    let made = tasks.len();
    ensure!(
        made == wanted,
        "{wanted} tasks were wanted, {made} were made"
    );
    Ok(tasks)
}
