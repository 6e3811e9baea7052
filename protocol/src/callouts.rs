//! Callouts: what is to be said truthfully of something that ends.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A risk that remains.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResidualRisk {
    /// Names it, for programs.
    pub code: String,
    /// What it is.
    pub summary: String,
    /// Where it shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence_refs: Vec<String>,
}

/// Something that was wished for and not reached.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnmetExpectation {
    /// Names it, for programs.
    pub code: String,
    /// What it is.
    pub summary: String,
}

/// A step that was left out.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WaivedStep {
    /// Names it, for programs.
    pub code: String,
    /// Why it was left out.
    pub reason: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Who would have done it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// Something that somebody advised, and nobody settled.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnresolvedItem {
    /// What kind of thing.
    pub kind: String,
    /// Which one.
    pub id: String,
    /// What it is.
    pub summary: String,
}

/// What is to be said truthfully of something that ends.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompletionCallouts {
    /// Risks that remain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub residual_risks: Vec<ResidualRisk>,
    /// What was wished for and not reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmet_preferred_expectations: Vec<UnmetExpectation>,
    /// What was left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waived_steps: Vec<WaivedStep>,
    /// What nobody settled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unresolved_advisory_items: Vec<UnresolvedItem>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_notes: Option<String>,
}
