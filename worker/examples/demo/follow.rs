//! Follows what happens: moves of tasks and log lines, as two streams.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use futures_util::StreamExt as _;
use stint_protocol::client::Client;
use stint_protocol::{Event, LogEntry, TaskId, TaskState};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::job::Job;
use crate::{PAUSE, patiently};

/// How long nothing may move before the job is given up.
const STILL_MAX: Duration = Duration::from_secs(120);

/// What is known about the job so far.
pub(crate) struct Board(Mutex<Facts>);

struct Facts {
    wanted: usize,
    ours: HashSet<TaskId>,
    states: HashMap<TaskId, TaskState>,
    lines: VecDeque<String>,
    moved_at: Instant,
}

/// How many tasks are where.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) wanted: usize,
    pub(crate) running: usize,
    pub(crate) completed: usize,
    pub(crate) lost: usize,
}

impl Board {
    pub(crate) fn new(wanted: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Facts {
            wanted,
            ours: HashSet::new(),
            states: HashMap::new(),
            lines: VecDeque::new(),
            moved_at: Instant::now(),
        })))
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a task is part of the job.
    pub(crate) fn add(&self, id: TaskId) {
        self.facts().ours.insert(id);
    }

    pub(crate) fn counts(&self) -> Counts {
        let facts = self.facts();
        let mut counts = Counts {
            wanted: facts.wanted,
            ..Counts::default()
        };
        for (id, state) in &facts.states {
            if !facts.ours.contains(id) {
                continue;
            }
            match state {
                TaskState::Claimed | TaskState::InProgress => counts.running += 1,
                TaskState::Completed => counts.completed += 1,
                TaskState::Failed | TaskState::Cancelled => counts.lost += 1,
                TaskState::Pending
                | TaskState::Ready
                | TaskState::AwaitingApproval
                | TaskState::OutputPendingAssessment
                | TaskState::Escalated => {}
            }
        }
        counts
    }

    /// Log lines that were not shown yet.
    pub(crate) fn new_lines(&self) -> VecDeque<String> {
        std::mem::take(&mut self.facts().lines)
    }

    fn see_event(&self, event: &Event) {
        let data = event.data.members();
        let state = data.get("to_state").and_then(|state| state.as_str());
        if let Some(state) = state.and_then(|state| state.parse().ok()) {
            let mut facts = self.facts();
            facts.states.insert(TaskId::of(event.entity_id), state);
            facts.moved_at = Instant::now();
        }
    }

    fn see_line(&self, entry: &LogEntry) {
        let (Some(payload), Some(attempt)) = (&entry.payload, entry.attempt) else {
            return;
        };
        if let Some(line) = payload.members().get("line").and_then(|line| line.as_str()) {
            let again = if attempt > 1 {
                format!("attempt {attempt}: ")
            } else {
                String::new()
            };
            self.facts().lines.push_back(format!("{again}{line}"));
        }
    }

    fn unfinished(&self, job: &Job) -> Option<TaskId> {
        let facts = self.facts();
        let is_over = |id: &TaskId| facts.states.get(id).is_some_and(|state| state.is_final());
        job.tasks.iter().find(|id| !is_over(id)).copied()
    }
}

/// Follows the moves of tasks from a place on, through any number of broken connections.
pub(crate) fn events(
    client: &Client,
    board: &Arc<Board>,
    mut place: String,
) -> AbortOnDropHandle<()> {
    let (client, board) = (client.clone(), Arc::clone(board));
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            let stream = client
                .stream_events(&[("entity_type", "task")], Some(&place))
                .await;
            if let Ok(mut stream) = stream {
                while let Some(Ok(event)) = stream.next().await {
                    board.see_event(&event.entry);
                    place = event.id.unwrap_or(place);
                }
            }
            sleep(PAUSE).await;
        }
    }))
}

/// Follows what the handlers print, from now on, through any number of broken connections.
pub(crate) fn lines(client: &Client, board: &Arc<Board>) -> AbortOnDropHandle<()> {
    let (client, board) = (client.clone(), Arc::clone(board));
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut place: Option<String> = None;
        loop {
            let stream = client
                .stream_logs(&[("operation", "command.output")], place.as_deref())
                .await;
            if let Ok(mut stream) = stream {
                while let Some(Ok(entry)) = stream.next().await {
                    board.see_line(&entry.entry);
                    place = entry.id.or(place);
                }
            }
            sleep(PAUSE).await;
        }
    }))
}

/// Waits until every task is final.
///
/// # Errors
/// When nothing has moved for long: says why the platform thinks so.
pub(crate) async fn wait_for_end(client: &Client, board: &Board, job: &Job) -> anyhow::Result<()> {
    while let Some(task) = board.unfinished(job) {
        if board.facts().moved_at.elapsed() > STILL_MAX {
            let why = patiently(|| client.explain_task(task)).await?;
            bail!(
                "nothing has moved for {} seconds; task {task}: {}",
                STILL_MAX.as_secs(),
                serde_json::to_string(&why)?
            );
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
