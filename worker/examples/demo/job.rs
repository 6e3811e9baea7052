//! The job: a task for each file, and one that depends on all of them.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use stint_protocol::client::Client;
use stint_protocol::{BackoffStrategy, CreateTask, JsonObject, RetryPolicy, TaskId, TaskType};
use uuid::Uuid;

use crate::follow::Board;
use crate::patiently;

/// How many requests are under way at once. The platform commits what arrives together as one.
const REQUESTS_MAX: usize = 32;

/// How many tasks one task may depend on.
const FILES_MAX: usize = 10_000;

/// How much of a file tells whether it is text.
const LOOK_BYTES: u64 = 8192;

/// What was submitted.
pub(crate) struct Job {
    /// All tasks, the last one adds up the others.
    pub(crate) tasks: Vec<TaskId>,
    pub(crate) totals: TaskId,
}

/// The text files among the listed paths.
pub(crate) fn text_files(folder: &Path, paths: &Path) -> anyhow::Result<Vec<String>> {
    let listed = std::fs::read(paths).with_context(|| format!("reading {}", paths.display()))?;
    let mut files = Vec::new();
    for path in listed
        .split(|byte| *byte == 0)
        .filter(|path| !path.is_empty())
    {
        match std::str::from_utf8(path) {
            Ok(path) if is_text(&folder.join(path)) => files.push(path.to_owned()),
            Ok(_) => {}
            Err(_) => println!(
                "Passed over, its name is not UTF-8: {}",
                String::from_utf8_lossy(path)
            ),
        }
    }
    ensure!(
        files.len() <= FILES_MAX,
        "there are {} text files, and a task may depend on {FILES_MAX} at most: choose a smaller folder",
        files.len()
    );
    Ok(files)
}

/// Whether it is a readable plain file that begins without a NUL byte.
fn is_text(path: &Path) -> bool {
    if !path.symlink_metadata().is_ok_and(|facts| facts.is_file()) {
        return false;
    }
    let mut start = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LOOK_BYTES).read_to_end(&mut start))
        .is_ok_and(|_| !start.contains(&0))
}

/// Creates the tasks, those of the files first: a task can only depend on what exists.
pub(crate) async fn submit(
    client: &Client,
    folder: &Path,
    files: &[String],
    board: &Arc<Board>,
) -> anyhow::Result<Job> {
    let run = Uuid::now_v7();
    let folder = folder.to_str().context("the folder's name is not UTF-8")?;
    let mut tasks: Vec<TaskId> = stream::iter(files.iter().enumerate())
        .map(|(number, path)| async move {
            let title: String = path.chars().take(500).collect();
            let input = serde_json::json!({"folder": folder, "path": path});
            let task = CreateTask {
                input: Some(JsonObject::from_text(input.to_string())?),
                ..task("count", title, format!("demo-{run}-{number}"))
            };
            let made = patiently(|| client.create_task(&task)).await?;
            board.add(made.id);
            anyhow::Ok(made.id)
        })
        .buffered(REQUESTS_MAX)
        .try_collect()
        .await?;
    let last = CreateTask {
        depends_on: tasks.clone(),
        ..task(
            "totals",
            format!("totals of {} files", files.len()),
            format!("demo-{run}-totals"),
        )
    };
    let totals = patiently(|| client.create_task(&last)).await?.id;
    board.add(totals);
    tasks.push(totals);
    Ok(Job { tasks, totals })
}

fn task(role: &str, title: String, request_id: String) -> CreateTask {
    CreateTask {
        title,
        task_type: TaskType::Custom,
        role: Some(role.to_owned()),
        request_id: Some(request_id),
        retry_policy: Some(RetryPolicy {
            max_attempts: 3,
            backoff_strategy: Some(BackoffStrategy::Exponential),
            initial_backoff_seconds: Some(1.0),
            jitter: None,
            retryable_categories: None,
        }),
        // A worker may be killed any number of times.
        max_abandons: Some(20),
        max_reworks: None,
        requires_approval: None,
        task_kind: None,
        description: None,
        priority: None,
        workflow_id: None,
        work_item_id: None,
        workspace_id: None,
        activation_id: None,
        parent_id: None,
        subject_task_id: None,
        subject_work_item_id: None,
        subject_handoff_id: None,
        subject_revision: None,
        assessment_prompt: None,
        stage_name: None,
        is_orchestrator_task: None,
        execution_backend: None,
        input: None,
        context: None,
        role_config: None,
        environment: None,
        metadata: None,
        resource_bindings: None,
        depends_on: Vec::new(),
        on_dependency_failure: None,
        run_at: None,
        timeout_minutes: Some(10),
        preferred_agent_id: None,
        preferred_worker_id: None,
        token_budget: None,
        cost_cap_usd: None,
        auto_retry: None,
        max_retries: None,
        max_iterations: None,
        llm_max_retries: None,
    }
}
