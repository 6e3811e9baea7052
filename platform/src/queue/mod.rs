//! placeholder
pub use hints::Hints;
mod hints;
mod renew;
mod renew_store;
pub use renew::{Holding, Renewal, cancelled_among, expire_leases_of, held_by, renew};
