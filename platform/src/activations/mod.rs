//! Activations wake the orchestrator of a run: what has happened becomes a task that an agent claims like
//! any other.
//!
//! ```text
//! something happens in the run       (in the same transaction)
//!        │ wake
//!        ▼
//!   activations ──────── advance ───────► batch ──► orchestrator task ──claim──► orchestrator
//!   queued, in order     no batch open?   all that is queued          │
//!        ▲               anything due?                                │ ended
//!        │                    ▲         completed: the next batch     │
//!        │                    ├───────────────────────────────────────┤
//!   time passes:              │         failed: again after a pause   │
//!   delays, pauses, ──────────┘         failed 5 times: a person      │
//!   silence (loops)                                                   ▼
//!                                          late calls of it change nothing
//! ```
//!
//! [`wake`] writes down what has happened, and [`advance`] takes the next step that is possible: it looks at
//! how things are, and does no harm when it is called once too often. Both run in the transaction of what
//! happened, with the row of the run locked. So no event is lost, there is no signal that could be, and
//! nobody leads: what only time changes is found by two loops, each turn of which is `advance` for the runs
//! that are due.
//!
//! **One at a time.** A unique index lets a run have one batch that is not completed, and a batch has one
//! task at a time. What happens meanwhile stays queued, and goes into one further batch, in order.
//!
//! **The task is an ordinary one**: leases, attempts, releases, timeouts and the retries after a silent
//! holder are those of the queue. A task that failed is followed by another one of the same batch, which also
//! takes in what was queued meanwhile, after a pause that doubles. After five failures in a row, or one
//! that says that it is not recoverable, the batch is stuck: events are queued on, and the orchestrator is
//! woken again when a person steps in, by steering, by an activation of their own, by retrying the task.
//!
//! **What an orchestrator does itself does not wake it**: it knows.
//!
//! A paused run queues, and its orchestrator is woken when it is resumed. In a run that has ended nothing
//! wakes anybody.

mod advance;
mod loops;
mod routes;
mod store;
mod wake;

pub(crate) use advance::{finish, run_ended};
pub use loops::{dispatch_activations, wake_idle_runs};
pub(crate) use routes::no_orchestrator;
pub use routes::routes;
pub(crate) use store::{
    ActivationFilter, batch_of_task, has_queued, list, open_batch, task_of_batch,
};
pub use wake::TaskWake;
pub(crate) use wake::{EndedChild, Wake, child_ended, event_of, wake, wake_for_tasks};
