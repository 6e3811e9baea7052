//! The test kit: a platform of its own, on a real port and a database of its own, for every test.
//!
//! ```text
//! #[test]
//! fn a_created_task_can_be_claimed() {
//!     test(async |t| {
//!         let worker = t.worker("w1").await;
//!         let task = t.create("paint").await;
//!         assert_eq!(worker.claim_one().await.id, task.id);
//!     });
//! }
//! ```
//!
//! The first test of a process starts a private PostgreSQL (`server`), makes one migrated database, and
//! every test works on a clone of it (`database`). `Setup` changes what a test starts with. Loops are
//! off: a test steps them, and lets time pass by ageing rows (`ageing`). Nothing here sleeps to let
//! something happen; a test that hangs is ended by the deadline (`run`).
//!
//! Tests with real processes begin with a `Stage` instead (`processes`), or with a `Place` for a database alone.
//!
//! When a test has passed, the kit looks at what it left behind (`remains`): no answer that differed from
//! what the API description declares (`answers`), no error in the log, no open transaction, every task in
//! one drawer, its events without a gap.

mod ageing;
mod answers;
pub mod bless;
mod database;
mod document;
pub mod holder;
mod http;
mod log;
mod personas;
pub mod place;
mod platform;
pub mod processes;
mod refusals;
mod remains;
mod run;
mod runs;
mod server;
mod tasks;

pub use answers::misfits;
pub use document::{Document, Operation};
pub use http::Answer;
pub use personas::{NewWorker, TestWorker};
pub use platform::{Replica, TestPlatform};
pub use refusals::{refused, refused_because, status_of};
pub use run::{Setup, test, until, until_within};
pub use server::database_url;
pub use tasks::{Step, json, new_task, object, older_copies};
