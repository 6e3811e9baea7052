//! An agent is the identity that holds leases: by itself, or hosted by a worker.
//!
//! ```text
//! register ─► active ◄─► busy ── two intervals late ─► inactive ─► forgotten
//!               └────────── its worker goes offline ─► offline
//! ```
//!
//! None of these is stored: see `holders`. A hosted agent is heard through its worker's heartbeat as
//! well as through its own. An agent key acts for its own agent only; a worker key also for the agents
//! of its worker.

mod delete;
mod register;
pub mod routes;
mod store;

pub use register::{NewAgent, add};
pub(crate) use store::{forget, ids_of, statuses, tell_changed, touch};

/// How often an agent means to beat unless it says so.
const INTERVAL_SECONDS: i32 = 60;
