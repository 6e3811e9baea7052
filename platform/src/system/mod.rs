//! How the platform itself is doing: whether it lives, whether it can work, and its numbers.
//!
//! ```text
//! /health         the process answers
//! /ready          the database answers within two seconds, with the migrations of this release
//! /metrics        counters.rs  what this process has counted, by the `metrics` macros anywhere
//!                 fleet.rs     what the database knows about the caller's tenant, read when asked
//! /openapi.json   the description of the API; /docs shows it to people, without the internet
//! ```
//!
//! Counters and histograms belong to the process: several replicas in one process share them, as in
//! tests. Numbers about queues and holders belong to a tenant, and are told to its own keys alone.

mod counters;
mod docs;
mod fleet;
mod readiness;
mod routes;
mod store;

pub use counters::install_metrics;
pub use docs::{description, docs_page};
pub use fleet::FleetGauges;
pub use routes::routes;

use crate::app::App;
use crate::error::Error;

/// Loop body: moves what histograms have gathered into their buckets, so that memory stays flat on a
/// platform whose metrics nobody reads.
///
/// # Errors
/// Never.
pub async fn drain_metrics(_app: App) -> Result<u64, Error> {
    counters::drain();
    Ok(0)
}
