//! The inbox: one list of whatever waits for a person, and one way to decide.
//!
//! ```text
//! task awaits approval ─────┐
//! output to be assessed ────┤
//! holder asks for help ─────┼──► GET /approvals ──► POST /approvals/{id}
//! step of a graph asks ─────┤
//! gate of a stage ──────────┘
//! ```
//!
//! It has no table of its own: what waits is read where it lies (`waiting.sql` has a part for each place), and
//! a decision is the operation of the domain to which the thing belongs. A further place is a part in
//! `waiting.sql`, a [`Source`](store::Source), and a file like `tasks.rs` or `steps.rs` that shows and decides.

mod decide;
mod gates;
mod routes;
mod show;
mod steps;
mod store;
mod tasks;

pub use routes::routes;
