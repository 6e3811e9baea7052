//! A worker is a process that hosts agents, registers once, and beats for all of them.
//!
//! ```text
//! register ─► online ◄─► busy ── late ─► degraded ─► disconnected ─► offline ─► forgotten
//!                │                                                      ▲
//!                └─ drain ─► draining ─── says good-bye ────────────────┘
//! ```
//!
//! None of these is stored: see `holders`. A worker that comes back after a restart registers anew; the
//! old one goes silent and its tasks come back when their leases run out. Deleting a worker ends its
//! agents and all their keys, and its tasks come back at once.
//!
//! A signal is what an operator asks of a worker. It is in every heartbeat answer until the worker has
//! acknowledged it. Draining is also a fact here: claims of a draining worker's agents answer 204,
//! whether or not the worker has listened.

mod delete;
mod register;
pub mod routes;
mod signal;
mod signal_store;
mod store;

pub use signal::forget_signals;
pub(crate) use signal_store::pending as pending_signals;
pub(crate) use store::{Beat, forget, statuses, tell_changed, touch};

/// How often a worker means to beat unless it says so.
const INTERVAL_SECONDS: i32 = 30;
