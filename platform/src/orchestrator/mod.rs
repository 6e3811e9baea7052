//! What an orchestrator can do to its run, under the task that woke it.
//!
//! ```text
//! POST /orchestrator/tasks/{task_id}/…?attempt=N
//!        │
//!        ▼
//!   guard: locks the run, then the lease ─── not the holder, an older attempt, another task's turn ──► refused
//!        │
//!        ▼
//!   the operation that every other route calls ─┬─ done ─────► applied, committed
//!                                               └─ not yet ──► why, how things are, what to do next
//! ```
//!
//! The guard runs in the transaction of the change, and locks what a change of holder would have to lock
//! too: whatever a superseded orchestrator still asks for changes nothing, and it is told so.
//!
//! What cannot be done as things are is no error to a program that decides by itself: it is answered with 200,
//! a reason, a picture of the run, and suggestions ([`guide`]). Nothing is changed then, and nothing remembered:
//! the same request later is judged anew.

mod guard;
mod guide;
mod item_routes;
mod routes;
mod run_routes;
mod store;
mod task_routes;
mod waive;

pub use routes::routes;
