//! Briefs and updates: what agents tell people about their work.
//!
//! ```text
//! agent ──► POST …/operator-briefs    what came of a piece of work ──┐
//!       └─► POST …/operator-updates   what is going on ──────────────┤
//!                                                                    ▼
//!                     author: holds the task that it speaks of, or was the last to hold it
//!                                                                    │ the row of the run is locked
//!                                                                    ▼
//!                              numbered per run, without gaps; the last ones are kept; an event tells
//! ```
//!
//! Nothing waits for a brief: no task needs one to be claimed or completed, and no orchestrator is woken by one.
//! Briefs may still be written when the run has ended, for the last thing that an orchestrator does is to end it.
//!
//! An update says which runs show it. Those about a single turn of an agent are shown in runs that show
//! everything (`enhanced`), and appear in a run that is switched to it.

mod author;
mod record;
mod routes;
mod store;

pub use routes::routes;
