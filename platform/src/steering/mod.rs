//! Steering: operators tell the orchestrator of a run what to do, or to know.
//!
//! ```text
//! POST …/steering-requests ──► an entry of a conversation ──► activation `operator.steering` ──► orchestrator
//! ```
//!
//! What is said is kept in conversations, and wakes the orchestrator at once, also one that has failed too
//! often. It finds the words in its `input.events`.

mod request;
mod routes;
mod store;

pub use routes::routes;
