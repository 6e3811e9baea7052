//! Runs tasks of a Stint platform.
//!
//! The binary `stint-worker` runs commands. With this library a Rust program runs its own
//! functions instead: register handlers, run, and the rest is taken care of.
//!
//! ```no_run
//! use stint_worker::{Failure, Match, Shutdown, TaskRun, Worker};
//!
//! async fn shout(run: TaskRun) -> Result<String, Failure> {
//!     let text: String = run.input::<serde_json::Value>()?["text"].to_string();
//!     run.log("clearing my throat");
//!     Ok(text.to_uppercase())
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let worker = Worker::builder("http://127.0.0.1:7000", "st_worker_…")
//!     .name("shouter")
//!     .capacity(4)
//!     .handler(Match::role("shout"), shout)
//!     .build()?;
//! let summary = worker.run(Shutdown::on_signals()?).await?;
//! # Ok(())
//! # }
//! ```
//!
//! What the worker promises:
//!
//! ```text
//!            claim (waits for work)        heartbeat (renews, tells progress, hears)
//!                  │                              │
//! slots ──► attempt: handler ──► log lines sent ──► report, repeated until heard
//!                  ▲
//!                  └─ stopped when the lease is lost, the task cancelled, or time is over
//! ```
//!
//! - Every slot that is free is in a claim, and every claim is safe to repeat.
//! - An attempt that is no longer held is stopped; by a clock that is never later than the
//!   platform's, also when the platform cannot be reached.
//! - The end of an attempt is reported until the platform has heard it, and a finished result
//!   outlives an outage.
//! - Draining finishes what runs, or hands it back with its progress.
//! - What orchestrators and operators say to an attempt is handed to its handler in order, each message once:
//!   [`TaskRun::next_message`].

mod attempt;
mod backoff;
mod claim;
pub mod command;
pub mod config;
mod handler;
mod heartbeat;
pub mod journal;
mod lease;
mod logs;
mod mask;
mod register;
#[cfg(test)]
mod rehearsal;
mod report;
mod shutdown;
mod worker;

pub use handler::{Failure, Handler, HandlerFuture, HandlerResult, Match, TaskRun};
pub use logs::{LINE_BYTES_MAX, LogSink, Stream};
pub use mask::{MASK_TEXT, Mask, SECRET_CHARACTERS_MIN, SecretTooShort};
pub use shutdown::Shutdown;
pub use worker::{
    DRAIN_GRACE_DEFAULT, HEARTBEAT_DEFAULT, Summary, Worker, WorkerBuilder, WorkerError,
};
