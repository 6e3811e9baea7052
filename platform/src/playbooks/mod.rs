//! A playbook says what a run does. Every version of it is a row with an id of its own.
//!
//! ```text
//! draft ──publish──► published, active ──a newer one is published──► published
//!   ▲ edited in place        │  ▲                                        │
//!   └────────────────────────┼──┼── a change makes the next version ─────┘
//!                     archive▼  │restore
//!                           archived
//! ```
//!
//! What was published never changes, so a run that names a version is frozen to it. Runs are launched from
//! the active version; there is one at most.

mod definition;
mod parameters;

pub use definition::{Board, Column, Definition, Limits, Plan, Stage};
pub use parameters::{Parameter, ParameterFault, Parameters, check_parameters};
