//! Events: what has happened, in an order that never skips.
//!
//! ```text
//! transactions      7 ──begin── insert ─────────────────────────── commit
//!                   8 ─────── begin ── insert ── commit
//! readers                                        see neither yet    see 7, then 8
//! ```
//!
//! An event is written in the transaction that causes it. Readers go forward by (transaction id, id) up
//! to the newest settled event: the last one whose transaction is older than every transaction still
//! open. So an event that commits late is read late, and never passed over. The price: a writer that
//! hangs holds readers up until its transaction is ended for it, a minute at most for our own.
//!
//! Events must be committed synchronously: a reader's place is a transaction id, and after a crash the
//! ids of transactions that were not yet on disk are given out again.
//!
//! Hot statements append their own rows, as plain columns; everything else calls [`append`]. What a
//! reader gets as `data` is put together in `wire.rs`.

mod of_run;
mod routes;
mod store;
mod tell;
mod wire;

pub use of_run::{RunEventQuery, last_of_item, list_of_run};
pub use routes::routes;
pub use store::{NewEvent, append, append_to_runs};
pub use tell::{tell_of_run, tell_of_task};

use crate::app::App;
use crate::http::Followed;

/// How the event stream is followed.
pub static FOLLOWED: Followed = Followed {
    name: "events",
    tails: |app| &app.event_tails,
    appended: |app| app.bus.events_appended(),
    newest: |app: App, tenant| {
        Box::pin(async move {
            let mut db = app.db.reader().await?;
            store::newest(&mut db, tenant).await
        })
    },
};
