//! The database: which server we talk to, and in which shape.
//!
//! ```text
//! DATABASE_URL set ───────────────────────────┐
//! DATABASE_URL not set ── keeper::Keeper ─────┴─► admit ──► migrate ──► the rest of the platform
//!                         (a private server)
//! ```
//!
//! - [`keeper`] runs a private PostgreSQL server in the data folder, for those who set no
//!   `DATABASE_URL`.
//! - [`admit`] looks at the server before anything is written to it, and refuses one that
//!   could lose acknowledged work, naming the cure.
//! - [`migrate`] brings the schema up to this release, with several replicas starting at once.
//! - [`Pools`] says who owns which connections; a transaction is a [`Tx`]; a lane of the hot path keeps its
//!   own ([`LaneConnection`]), and its plans while they suit (`plans`).
//! - [`silence`] notices when the way to the database has fallen silent.
//! - [`bus`] tells this replica and the others what has happened.

pub mod admit;
pub mod bus;
pub mod keeper;
mod lanes;
pub mod migrate;
mod plans;
mod pools;
pub mod silence;

pub use bus::{Bus, Note};
pub use lanes::{LaneConnection, LaneDb};
pub use plans::review_plans;
pub use pools::{PoolUsage, Pools, Touch, Tx, Unsettled, unknown_outcome};

/// Oldest PostgreSQL the platform runs on.
pub const PG_MAJOR_MIN: u32 = 15;
