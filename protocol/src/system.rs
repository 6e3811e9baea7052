//! How the platform itself is doing.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// The process answers.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    pub status: String,
}

/// Whether the platform can do its work.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// `ready`, or `not_ready`.
    pub status: String,
    /// Whether the database answers.
    pub database: bool,
    /// Whether the migrations of this build are applied.
    pub migrations: bool,
    /// The version of this build.
    pub version: String,
}

/// How one background loop is doing on this replica.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LoopReport {
    /// Names the loop.
    pub name: String,
    /// The longest it sleeps.
    pub longest_sleep_seconds: f64,
    /// How often it has run since the start.
    pub runs: u64,
    /// When it last ran.
    pub last_run: Option<Timestamp>,
    /// How long that took.
    pub took_ms: Option<f64>,
    /// How many things it changed.
    pub changed: u64,
    /// What went wrong with it, if something did.
    pub error: Option<String>,
}
