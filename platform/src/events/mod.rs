//! Events: what has happened, in an order that never skips.
//!
//! An event is written in the transaction that causes it. Readers go forward by (transaction id, id) and
//! see only rows older than every open transaction, so an event that commits late is read late, and never
//! passed over. Hot statements append their own rows; everything else calls [`append`].

mod store;

pub use store::{NewEvent, append};
