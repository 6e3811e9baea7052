//! Metering: what work has used, as those report it who do it; and what that means for the budget of its run.
//!
//! ```text
//! POST /metering/events ──► an event of a task ──► the sum of its run ──► GET …/budget
//!                                                        │ a limit comes near, or is passed
//!                                                        ▼
//!                            event budget.warning, or budget.exceeded, which also wakes the orchestrator
//! ```
//!
//! A budget is told, and stops nothing: what it means is for the orchestrator and for people to decide. Each limit
//! is told once when it comes near and once when it is passed, because the sum of a run only ever grows, and its
//! row is locked while it does. How long a run takes is known without reports, and told by `GET …/budget` alone.

mod meter;
mod routes;
mod store;

pub use routes::routes;
