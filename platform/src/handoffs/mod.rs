//! Handoffs: what the holder of a task leaves to whoever goes on.
//!
//! ```text
//! holder ── submit, under its attempt ──► one handoff for each time that the task was sent back
//!              again while it holds the task: written anew
//!                                              │
//!                                              ├──► the orchestrator of the run is woken
//!                                              ▼
//!                 predecessor: whoever claims next finds it ── with GET, and in the context of the task
//! ```
//!
//! Nothing waits for a handoff: a task is claimed and completed without one. It is fenced like a report, so what a
//! superseded attempt leaves changes nothing; and once the task waits for a judgement of its output, what its holder
//! left stands.

mod predecessor;
mod routes;
mod store;
mod submit;

pub(crate) use predecessor::predecessor_of;
pub use routes::routes;
pub(crate) use store::{latest_of_item, latest_of_task, list_of_item};
