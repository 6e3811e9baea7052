//! The inbox: one list of whatever waits for a person, and one way to decide.
//!
//! ```text
//! task awaits approval ─────┐
//! output to be assessed ────┼──► GET /approvals ──► POST /approvals/{id}
//! holder asks for help ─────┘
//! ```
//!
//! It has no table of its own: what waits is read where it lies, and a decision is the operation of the
//! task's own route.

mod decide;
mod routes;

pub use routes::routes;
