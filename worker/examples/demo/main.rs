//! The client of `scripts/demo`: makes keys, submits the job, follows it, checks it.
//!
//! ```text
//! files ─► one task each (role count) ─┐
//!                                      ├─► workers ─► events and log lines ─► the screen
//!          one task that needs them all┘                              └──► the check
//!          (role totals)
//! ```
//!
//! The script starts and stops processes, this program talks to the platform. It shows how to use
//! the client: every request that changes something carries a `request_id`, so that it can be
//! repeated blindly; streams are taken up again where they broke.
#![expect(
    clippy::print_stdout,
    reason = "what it prints is what it is there for"
)]

mod check;
mod follow;
mod job;
mod orchestrated;
mod screen;
mod workflow;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand};
use stint_protocol::client::{Client, ClientError};
use stint_protocol::{CreateKey, RegisterAgent, Scope, TaskState};
use tokio::time::sleep;
use uuid::Uuid;

/// How long a request is repeated while the platform is away.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before a request is repeated.
const PAUSE: Duration = Duration::from_millis(250);

/// The client of `scripts/demo`.
#[derive(Debug, Parser)]
struct Flags {
    /// Where the platform is
    #[arg(long)]
    url: String,
    /// A file with an admin key
    #[arg(long)]
    key_file: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Makes the keys of the workers and of the handler that reads, each in a file of its own
    Keys {
        /// Where the files go
        folder: PathBuf,
    },
    /// Submits the job and follows it to its end
    Run(Run),
    /// Launches a run of a playbook and follows it to its end
    Workflow(workflow::Workflow),
    /// Launches a run that an orchestrator leads and follows it to its end
    Orchestrated(orchestrated::Orchestrated),
}

/// What to do, and what to look at afterwards.
#[derive(Debug, Args)]
struct Run {
    /// The folder
    #[arg(long)]
    folder: PathBuf,
    /// A file with the paths in the folder, each ended by a NUL byte
    #[arg(long)]
    paths: PathBuf,
    /// Where the handlers note each line they print
    #[arg(long)]
    printed: PathBuf,
    /// A file to make when half of the tasks are completed
    #[arg(long)]
    half: Option<PathBuf>,
    /// Whether to check that everything happened exactly once
    #[arg(long)]
    check: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match act(Flags::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("The demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn act(flags: Flags) -> anyhow::Result<bool> {
    let key = std::fs::read_to_string(&flags.key_file)
        .with_context(|| format!("reading {}", flags.key_file.display()))?;
    let client = Client::new(&flags.url, key.trim())?;
    match flags.action {
        Action::Keys { folder } => make_keys(&client, &folder).await.map(|()| true),
        Action::Run(run) => run_job(&client, &run).await,
        Action::Workflow(wanted) => workflow::run(&client, &wanted).await,
        Action::Orchestrated(wanted) => orchestrated::run(&client, &wanted).await,
    }
}

/// Makes one key for the workers to register with, and one that only reads.
async fn make_keys(client: &Client, folder: &Path) -> anyhow::Result<()> {
    let key = CreateKey {
        scope: Scope::Admin,
        owner_type: None,
        owner_id: None,
        label: Some("demo: registers workers".to_owned()),
        expires_at: None,
        workspace_ids: Vec::new(),
        routing_tags: Vec::new(),
        request_id: Some(format!("demo-key-{}", Uuid::now_v7())),
    };
    let workers = patiently(|| client.create_key(&key)).await?;
    let agent = RegisterAgent {
        name: "demo-reader".to_owned(),
        protocol: None,
        routing_tags: Vec::new(),
        execution_mode: None,
        capacity: None,
        worker_id: None,
        playbook_id: None,
        heartbeat_interval_seconds: Some(3600),
        protocol_version: None,
        issue_api_key: Some(true),
        tools: None,
        acp: None,
        profile: None,
        metadata: None,
        request_id: Some(format!("demo-agent-{}", Uuid::now_v7())),
    };
    let reader = patiently(|| client.register_agent(&agent)).await?;
    let reader_key = reader.api_key.context("the agent was given no key")?;
    write_private(&folder.join("worker.key"), &workers.api_key)?;
    write_private(&folder.join("reader.key"), &reader_key)
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))
}

async fn run_job(client: &Client, run: &Run) -> anyhow::Result<bool> {
    let files = job::text_files(&run.folder, &run.paths)?;
    ensure!(
        !files.is_empty(),
        "there is no text file in {}",
        run.folder.display()
    );
    // What happens from here on is ours to see.
    let begin = patiently(|| client.list_events(&[("after", "latest")])).await?;
    let begin = begin.meta.next_after.context("events have no end")?;
    let board = follow::Board::new(files.len() + 1);
    let _events = follow::events(client, &board, begin.clone());
    let _lines = follow::lines(client, &board);

    println!("Submitting {} files, one task each.", files.len());
    let start = Instant::now();
    let screen = screen::Screen::open(&board, run.half.clone());
    let job = job::submit(client, &run.folder, &files, &board).await?;
    let end = follow::wait_for_end(client, &board, &job).await;
    screen.close().await;
    end?;

    let seconds = start.elapsed().as_secs_f64();
    let tasks = job.tasks.len();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = tasks as f64 / seconds;
    let totals = patiently(|| client.get_task(job.totals)).await?;
    println!("\n{tasks} tasks in {seconds:.1} s, {rate:.0} a second.");
    println!("{}", screen::result(&totals));
    let is_complete = totals.state == TaskState::Completed;
    if run.check {
        return check::check(client, &job.tasks, &begin, &run.printed).await;
    }
    Ok(is_complete)
}

/// Sends a request that is safe to repeat until it is answered, for a minute at most.
async fn patiently<T, F: Future<Output = Result<T, ClientError>>>(
    request: impl Fn() -> F,
) -> Result<T, ClientError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match request().await {
            Err(error) if error.is_safe_to_repeat() && Instant::now() < deadline => {
                sleep(error.retry_after().unwrap_or(PAUSE)).await;
            }
            answer => return answer,
        }
    }
}
