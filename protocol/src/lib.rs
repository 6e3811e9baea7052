//! The wire contract of Stint as Rust types.
//!
//! Everything that crosses the wire between a client, a worker and the platform is defined here
//! once: requests, answers, enums, error codes. The types are data only. With the feature `client`
//! there is also [`client::Client`], which has one method per operation.
//!
//! Requests refuse unknown fields, so that a typing mistake is an error and not a silent default.
//! Answers tolerate unknown fields, so that an older client understands a newer platform.

mod activations;
mod agents;
mod approvals;
mod auth;
mod boards;
mod briefs;
mod budget;
mod callouts;
mod claims;
#[cfg(feature = "client")]
pub mod client;
mod enums;
mod envelope;
mod errors;
mod events;
mod gates;
mod guided;
mod handoffs;
mod ids;
mod interventions;
mod json;
mod keys;
mod logs;
mod looks;
mod messages;
mod orchestrator;
mod people;
mod playbooks;
mod relations;
mod reports;
mod steering;
mod system;
mod tasks;
mod tenants;
mod time;
mod why;
mod work_items;
mod workers;
mod workflows;
mod workspaces;

pub use activations::*;
pub use agents::*;
pub use approvals::*;
pub use auth::*;
pub use boards::*;
pub use briefs::*;
pub use budget::*;
pub use callouts::*;
pub use claims::*;
pub use enums::*;
pub use envelope::*;
pub use errors::*;
pub use events::*;
pub use gates::*;
pub use guided::*;
pub use handoffs::*;
pub use ids::*;
pub use interventions::*;
pub use json::*;
pub use keys::*;
pub use logs::*;
pub use looks::*;
pub use messages::*;
pub use orchestrator::*;
pub use people::*;
pub use playbooks::*;
pub use relations::*;
pub use reports::*;
pub use steering::*;
pub use system::*;
pub use tasks::*;
pub use tenants::*;
pub use time::*;
pub use why::*;
pub use work_items::*;
pub use workers::*;
pub use workflows::*;
pub use workspaces::*;

/// The version of the worker protocol that this build speaks.
///
/// A holder that registers with a `protocol_version` promises to name its attempt in every report.
pub const PROTOCOL_VERSION: u32 = 1;

/// The oldest worker protocol that this build still serves.
pub const PROTOCOL_VERSION_MIN: u32 = 1;
