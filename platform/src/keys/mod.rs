//! API keys: `st_<scope>_<secret>`, shown once, stored as a hash, looked up in a cache.
//!
//! ```text
//! Authorization: Bearer st_agent_…  ─SHA-256─►  cache ─miss─► key_lookups ─► api_keys + tenants
//!                Bearer eyJ….….…   ─SHA-256─►  cache ─miss─► signature   ─► api_keys + tenants
//! ```
//!
//! The cache hears of revocation by a note on the bus, and looks again by itself after half a minute.
//! A token (see `auth`) stands for its key and is worth nothing without it.
//!
//! A key never makes or reveals a key that reaches further than itself: see [`create`]. Keys of agents
//! and workers are made when they register, by [`mint`], and end with them.

mod bootstrap;
mod create;
mod lookup;
mod mint;
mod rotate;
pub mod routes;
mod secret;
mod store;

pub use bootstrap::bootstrap;
pub use lookup::{KeyCache, forget_keys, is_still_valid, look_up, note_key_use};
pub use mint::{Expiry, Mint, mint, revoke_keys_of};
pub use secret::Secret;
pub use store::Valid;
