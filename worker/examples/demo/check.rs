//! Checks that everything happened exactly once, from three independent records: the states of the
//! tasks, the events, and the log; and from what the handlers themselves noted.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use stint_protocol::client::Client;
use stint_protocol::{TaskId, TaskState};
use tokio::time::sleep;

use crate::patiently;

/// How long to look again before a difference counts: readers see what is settled.
const SETTLE: Duration = Duration::from_secs(10);

/// The lines of an attempt.
type Lines = BTreeMap<(TaskId, i32), Vec<String>>;

/// Tells what was found about these tasks since `begin`, and whether it is as it must be.
pub(crate) async fn check(
    client: &Client,
    tasks: &[TaskId],
    begin: &str,
    printed: &Path,
) -> anyhow::Result<bool> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let (faults, summary) = look(client, tasks, begin, printed).await?;
        if faults.is_empty() {
            println!("{summary}");
            println!("Check passed.");
            return Ok(true);
        }
        if Instant::now() > deadline {
            println!("{summary}");
            for fault in faults.iter().take(20) {
                println!("  {fault}");
            }
            println!("Check failed: {} faults.", faults.len());
            return Ok(false);
        }
        sleep(Duration::from_millis(500)).await;
    }
}

async fn look(
    client: &Client,
    tasks: &[TaskId],
    begin: &str,
    printed: &Path,
) -> anyhow::Result<(Vec<String>, String)> {
    let mut faults = Vec::new();
    let states = states(client).await?;
    let completions = completions(client, begin).await?;
    let mut printed = noted_lines(printed)?;
    let mut received = received_lines(client).await?;
    let ours: std::collections::HashSet<TaskId> = tasks.iter().copied().collect();
    printed.retain(|(task, _), _| ours.contains(task));
    received.retain(|(task, _), _| ours.contains(task));

    let (mut completed, mut accepted_lines, mut attempts_max) = (0, 0, 0);
    for id in tasks {
        match states.get(id) {
            Some(TaskState::Completed) => completed += 1,
            state => faults.push(format!("task {id} is {state:?}")),
        }
        let attempts = completions.get(id).map_or(&[][..], Vec::as_slice);
        let &[attempt] = attempts else {
            faults.push(format!("task {id} was completed by attempts {attempts:?}"));
            continue;
        };
        attempts_max = attempts_max.max(attempt);
        let (said, heard) = (printed.get(&(*id, attempt)), received.get(&(*id, attempt)));
        if said != heard || said.is_none() {
            faults.push(format!(
                "task {id}, attempt {attempt}: printed {said:?}, received {heard:?}"
            ));
        }
        accepted_lines += heard.map_or(0, Vec::len);
    }
    // Of an attempt that was killed some lines may be missing, but none may be invented or doubled.
    for (attempt, heard) in &received {
        let mut said = printed.get(attempt).into_iter().flatten();
        if !heard.iter().all(|line| said.any(|other| other == line)) {
            faults.push(format!(
                "{attempt:?}: received {heard:?}, which it did not print"
            ));
        }
    }
    let all_lines: usize = received.values().map(Vec::len).sum();
    let superseded = received
        .keys()
        .chain(printed.keys())
        .filter(|(task, attempt)| {
            completions
                .get(task)
                .is_some_and(|accepted| !accepted.contains(attempt))
        })
        .collect::<std::collections::HashSet<_>>()
        .len();
    let summary = format!(
        "{completed} of {} tasks are completed, each move seen once; {accepted_lines} log lines of accepted \
         attempts; {superseded} attempts that were lost on the way left {} lines; at most {attempts_max} \
         attempts a task.",
        tasks.len(),
        all_lines - accepted_lines,
    );
    Ok((faults, summary))
}

/// The state of every task that is kept.
async fn states(client: &Client) -> anyhow::Result<HashMap<TaskId, TaskState>> {
    let mut states = HashMap::new();
    for page in 1.. {
        let number = page.to_string();
        let filters = [("per_page", "100"), ("page", number.as_str())];
        let tasks = patiently(|| client.list_tasks(&filters)).await?;
        states.extend(tasks.data.iter().map(|task| (task.id, task.state)));
        if page >= tasks.meta.pages {
            break;
        }
    }
    Ok(states)
}

/// The attempts by which tasks were completed, by the events.
async fn completions(client: &Client, begin: &str) -> anyhow::Result<HashMap<TaskId, Vec<i32>>> {
    let mut completions: HashMap<TaskId, Vec<i32>> = HashMap::new();
    let mut after = begin.to_owned();
    loop {
        let filters = [("after", after.as_str()), ("entity_type", "task")];
        let events = patiently(|| client.list_events(&filters)).await?;
        for event in &events.data {
            let data = event.data.members();
            let is = |name: &str| data.get(name).and_then(|state| state.as_str());
            if is("to_state") == Some("completed") {
                let attempt = data.get("attempt").and_then(serde_json::Value::as_i64);
                let attempts = completions.entry(TaskId::of(event.entity_id)).or_default();
                attempts.push(
                    attempt
                        .and_then(|number| number.try_into().ok())
                        .unwrap_or(0),
                );
            }
        }
        if !events.meta.has_more {
            return Ok(completions);
        }
        after = events.meta.next_after.context("events go on nowhere")?;
    }
}

/// What the handlers have noted.
fn noted_lines(path: &Path) -> anyhow::Result<Lines> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut lines = Lines::new();
    for note in text.lines() {
        let mut parts = note.splitn(3, ' ');
        let (Some(task), Some(attempt), Some(line)) = (parts.next(), parts.next(), parts.next())
        else {
            // A handler was killed while it wrote.
            continue;
        };
        if let (Ok(task), Ok(attempt)) = (task.parse(), attempt.parse()) {
            lines
                .entry((task, attempt))
                .or_default()
                .push(line.to_owned());
        }
    }
    Ok(lines)
}

/// What the platform has of it.
async fn received_lines(client: &Client) -> anyhow::Result<Lines> {
    let mut entries: BTreeMap<(TaskId, i32), Vec<(i64, String)>> = BTreeMap::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut filters = vec![
            ("operation", "command.output"),
            ("order", "asc"),
            ("per_page", "500"),
        ];
        if let Some(cursor) = &cursor {
            filters.push(("cursor", cursor));
        }
        let page = patiently(|| client.list_logs(&filters)).await?;
        for entry in page.data {
            let line = entry
                .payload
                .as_ref()
                .and_then(|payload| payload.members().get("line")?.as_str().map(str::to_owned));
            if let (Some(task), Some(attempt), Some(line)) = (entry.task_id, entry.attempt, line) {
                let lines = entries.entry((task, attempt)).or_default();
                lines.push((entry.seq.unwrap_or(0), line));
            }
        }
        match page.pagination.next_cursor {
            Some(next) if page.pagination.has_more => cursor = Some(next),
            _ => break,
        }
    }
    let in_order = |mut lines: Vec<(i64, String)>| {
        lines.sort();
        lines.into_iter().map(|(_, line)| line).collect()
    };
    Ok(entries
        .into_iter()
        .map(|(attempt, lines)| (attempt, in_order(lines)))
        .collect())
}
