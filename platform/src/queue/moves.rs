//! Every move off the hot path.

use protocol::{TaskId, TaskState, TenantId};
use uuid::Uuid;

use super::gates::Run;
use super::store;
use crate::db::{Note, Touch, Tx};
use crate::error::Error;

/// How often a move is tried again when its task moved in the same moment.
const TRIES: usize = 3;

/// One move that is wanted.
#[derive(Clone, Debug)]
pub struct Order {
    /// The task.
    pub task: TaskId,
    /// From which states it may move.
    pub from: Vec<TaskState>,
    /// The attempt it must have; none for any.
    pub attempt: Option<i32>,
    /// Where it goes.
    pub to: Destination,
    /// Retries to add.
    pub retries: i32,
    /// Abandons to add.
    pub abandons: i32,
    /// Reworks to add.
    pub reworks: i32,
    /// What came of it. What is none is kept from before, unless `forgets_outcome`.
    pub outcome: Outcome,
    /// Whether holder, output and error of before are forgotten.
    pub forgets_outcome: bool,
    /// The operation, for the event.
    pub reason: &'static str,
    /// What kind of caller wants it.
    pub actor_type: &'static str,
    /// Which caller wants it.
    pub actor: Option<Uuid>,
    /// What else the event tells, as a JSON object's text.
    pub event_data: Option<String>,
}

/// Where a task goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Destination {
    /// Into the queue, at its old place or at the end of its priority.
    Ready {
        /// Whether it keeps its place.
        keeps_place: bool,
    },
    /// Waits this long.
    Waiting {
        /// Seconds until it is due.
        seconds: f64,
    },
    /// Waits for a person, in this state.
    Parked(TaskState),
    /// Has ended, in this state.
    Ended(TaskState),
}

impl Destination {
    /// The state that it is.
    pub fn state(self) -> TaskState {
        match self {
            Self::Ready { .. } => TaskState::Ready,
            Self::Waiting { .. } => TaskState::Pending,
            Self::Parked(state) | Self::Ended(state) => state,
        }
    }
}

/// What came of a task, as JSON texts.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "named like the columns they are written to")]
pub struct Outcome {
    pub output: Option<String>,
    pub error: Option<String>,
    pub metrics: Option<String>,
    pub git_info: Option<String>,
    pub verification: Option<String>,
    pub progress: Option<String>,
    pub question: Option<String>,
}

impl Order {
    /// A move by the platform itself; the rest is at its simplest.
    pub fn by_system(
        task: TaskId,
        from: Vec<TaskState>,
        to: Destination,
        reason: &'static str,
    ) -> Self {
        Self {
            task,
            from,
            attempt: None,
            to,
            retries: 0,
            abandons: 0,
            reworks: 0,
            outcome: Outcome::default(),
            forgets_outcome: false,
            reason,
            actor_type: "system",
            actor: None,
            event_data: None,
        }
    }
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq)]
pub enum Moved {
    /// It was carried out.
    Yes {
        /// Where the task was.
        from: TaskState,
        /// The attempt it had.
        attempt: i32,
        /// Whether its end concerns others.
        has_dependants: bool,
        /// The agent that held it.
        agent: Option<Uuid>,
        /// That agent's worker.
        worker: Option<Uuid>,
        /// The run it belongs to.
        run: Option<Run>,
    },
    /// The task is in this state, or has another attempt: it was left alone.
    Elsewhere {
        /// Where it is.
        state: TaskState,
        /// The attempt it has.
        attempt: i32,
        /// Its error, as JSON text.
        error: Option<String>,
        /// Its output, as JSON text.
        output: Option<String>,
    },
    /// There is no such task.
    Absent,
}

/// Moves tasks: one answer per order, in their order. No two orders name the same task.
///
/// A task that moved from one drawer to another while the statement ran is seen in neither; it is looked
/// for again before it is called absent.
///
/// # Errors
/// Those of the database.
pub async fn move_tasks(
    tx: &mut Tx,
    tenant: TenantId,
    orders: &[Order],
) -> Result<Vec<Moved>, Error> {
    let mut answers = vec![Moved::Absent; orders.len()];
    let mut open: Vec<usize> = (0..orders.len()).collect();
    for _ in 0..TRIES {
        if open.is_empty() {
            break;
        }
        let wanted: Vec<&Order> = open.iter().map(|place| &orders[*place]).collect();
        let rows = store::move_tasks(tx.conn(), tenant, &wanted).await?;
        let mut absent = Vec::new();
        for (place, row) in open.into_iter().zip(rows) {
            if row.verdict == "absent" {
                absent.push(place);
                continue;
            }
            if row.verdict == "moved"
                && let Some(run) = row.run()
            {
                let touch = match orders[place].to {
                    Destination::Ended(_) => Touch::Freed,
                    _ if row.is_held => Touch::Held,
                    Destination::Ready { .. }
                    | Destination::Waiting { .. }
                    | Destination::Parked(_) => Touch::Queued,
                };
                tx.unsettle(tenant, run.workflow, run.work_item, touch);
            }
            if row.verdict == "moved"
                && !row.is_held
                && let (Destination::Ready { keeps_place }, Some(lane)) =
                    (orders[place].to, &row.lane)
            {
                tx.note(Note::WorkReady {
                    tenant,
                    lane: lane.clone(),
                    tasks: 1,
                    at_old_place: keeps_place,
                });
            }
            answers[place] = row.answer()?;
        }
        open = absent;
        if !open.is_empty() {
            let ids: Vec<Uuid> = open
                .iter()
                .map(|place| orders[*place].task.uuid())
                .collect();
            let existing = store::existing(tx.conn(), tenant, &ids).await?;
            open.retain(|place| existing.contains(&orders[*place].task.uuid()));
        }
    }
    if orders
        .iter()
        .any(|order| matches!(order.to, Destination::Waiting { .. }))
    {
        tx.note(Note::DueSooner {
            name: "release_due".to_owned(),
        });
    }
    tx.note(Note::EventsAppended);
    Ok(answers)
}

/// Tasks have ended as their dependants need: counts them off, and queues whoever waits for nothing else.
///
/// `policies` restricts to dependants with one of these policies about failed dependencies; none: all.
///
/// # Errors
/// Those of the database.
pub async fn unblock(
    tx: &mut Tx,
    tenant: TenantId,
    ended: &[TaskId],
    policies: Option<&[&str]>,
) -> Result<(), Error> {
    for unblocked in store::unblock(tx.conn(), tenant, ended, policies).await? {
        if let Some(run) = unblocked.run {
            let touch = if unblocked.is_held {
                Touch::Held
            } else {
                Touch::Queued
            };
            tx.unsettle(tenant, run.workflow, run.work_item, touch);
        }
        if unblocked.is_held {
            continue;
        }
        let (lane, tasks) = (unblocked.lane, unblocked.tasks);
        tx.note(Note::WorkReady {
            tenant,
            lane,
            tasks,
            at_old_place: false,
        });
    }
    tx.note(Note::DueSooner {
        name: "release_due".to_owned(),
    });
    Ok(())
}

/// The columns of orders, for `move_tasks.sql`.
pub(super) struct Columns<'a> {
    pub(super) tasks: Vec<Uuid>,
    pub(super) from: Vec<String>,
    pub(super) attempts: Vec<Option<i32>>,
    pub(super) to: Vec<&'a str>,
    pub(super) delays: Vec<Option<f64>>,
    pub(super) keeps_place: Vec<bool>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(orders: &[&'a Order]) -> Self {
        let words = |states: &[TaskState]| {
            let words: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
            format!("{{{}}}", words.join(","))
        };
        Self {
            tasks: orders.iter().map(|order| order.task.uuid()).collect(),
            from: orders.iter().map(|order| words(&order.from)).collect(),
            attempts: orders.iter().map(|order| order.attempt).collect(),
            to: orders
                .iter()
                .map(|order| order.to.state().as_str())
                .collect(),
            delays: orders
                .iter()
                .map(|order| match order.to {
                    Destination::Waiting { seconds } => Some(seconds),
                    Destination::Ready { .. } | Destination::Parked(_) | Destination::Ended(_) => {
                        None
                    }
                })
                .collect(),
            keeps_place: orders
                .iter()
                .map(|order| matches!(order.to, Destination::Ready { keeps_place: true }))
                .collect(),
        }
    }
}
