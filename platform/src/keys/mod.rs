//! API keys: `st_<scope>_<secret>`, shown once, stored as a hash, looked up in a cache.
//!
//! ```text
//! Authorization: Bearer st_agent_…  ─SHA-256─►  cache ─miss─► key_lookups ─► api_keys + tenants
//! ```
//!
//! The cache hears of revocation by a note on the bus, and looks again by itself after half a minute.

mod lookup;
mod recheck;
mod secret;
mod store;

pub use lookup::KeyCache;
pub use recheck::is_still_valid;
pub use secret::Secret;
