//! Execution logs: what happened while tasks ran, line by line.
//!
//! ```text
//! POST /logs/ingest ─► check.rs     what no entry may be (422 for the batch)
//!                   ─► lane.rs      batches of many callers, one transaction
//!                      ─► judge.rs  entry by entry: may this caller log for this attempt, now?
//!                      ─► sequence.rs  repetitions and gaps, by the heads of the attempts
//!                   ─► store/       rows in, heads on, leases renewed
//! ```
//!
//! An attempt numbers its entries from 1. What has a number that was already taken is a repetition:
//! counted as taken, not stored again; so a worker repeats a batch until it is answered. What jumps is
//! stored, and the gap is told to the sender and written into the log as `log.gap`, for readers to see.
//!
//! A batch is committed synchronously. An entry that was acknowledged survives a crash, and readers'
//! places stay true (see `events/mod.rs`). That is cheap, because a batch gathers for a moment and
//! pays one flush for the entries of many callers.
//!
//! The time of arrival decides the partition; the sender's clock is only kept, as `occurred_at`.

mod check;
mod judge;
mod lane;
mod query;
mod routes;
mod sequence;
mod store;
mod wire;

pub use lane::LogLane;
pub use routes::routes;

use crate::app::App;
use crate::error::Error;
use crate::http::Followed;

/// How the log stream is followed.
pub static FOLLOWED: Followed = Followed {
    name: "log entries",
    tails: |app| &app.log_tails,
    appended: |app| app.bus.logs_appended(),
    newest: |app: App, tenant| {
        Box::pin(async move {
            let mut db = app.db.reader().await?;
            store::newest(&mut db, tenant).await
        })
    },
};

/// Loop body: forgets how far the logs of attempts came that are long over.
pub async fn forget_log_heads(app: App) -> Result<u64, Error> {
    let mut db = app.db.internal().await?;
    Ok(store::forget_heads(&mut db).await?)
}
