//! A graph playbook: steps and what they need, as data. Pure code: it reads, checks and computes, and
//! knows neither the database nor the engine that follows it.
//!
//! ```text
//! definition (JSON) ── Fields ──► Graph ── check ──► mistakes, each with its path
//!                                   │
//!                steps ── needs ────┤  order, dependants: what may start when something ended
//!                kinds/<kind>.rs ───┤  one file per kind of step
//!                language/ ─────────┘  templates and conditions over input, steps and items
//! ```
//!
//! A step starts when every step it needs has ended well; naming a step in a template is needing it. A
//! step whose `when` does not hold is skipped: its output is null, and those that need it go on, unless
//! all that they need was skipped. A step that failed stops those that need it, unless its `on_failure` is
//! `continue`.
//!
//! A new kind of step is a file in `kinds`, a variant of [`Body`] and of `StepKind`, and a file beside the
//! engine that runs it.

mod check;
pub mod fields;
pub mod kinds;
pub mod language;
mod order;
mod read;
mod step;
#[cfg(test)]
mod tests;
mod types;

use std::collections::BTreeMap;

use serde_json::Value;

pub use kinds::{ApprovalStep, Body, FOR_EACH_ITEMS_MAX, ForEachStep, TaskStep};
pub use language::{Budget, Condition, Fault, Read, Scope, Template, Tree};
pub use read::schema;
pub use step::Step;
pub use types::Type;

use fields::{Fields, Mistakes};

/// Steps of one graph.
pub const STEPS_MAX: usize = 2_000;
/// Characters of a step's name.
pub const STEP_NAME_CHARS_MAX: usize = 64;

/// The steps of a playbook, and what follows from what.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The steps by name.
    pub steps: BTreeMap<String, Step>,
    /// What the run puts out when it has ended.
    pub output: Option<Tree>,
    /// Who needs a step: the steps to look at when it has ended.
    dependants: BTreeMap<String, Vec<String>>,
}

impl Graph {
    /// Reads `steps` and `output` of a definition, notes every mistake, and gives the graph when there is none.
    ///
    /// `stages` are the names of its stages, and `input` is what is known of its parameters.
    pub fn read(
        fields: &mut Fields<'_>,
        stages: &[String],
        input: &Type,
        mistakes: &Mistakes,
    ) -> Option<Self> {
        let steps = read::steps(fields);
        let output = read::tree(fields, "output");
        let output_path = fields.at("output");
        let steps_path = fields.at("steps");
        let graph = Self {
            dependants: order::dependants(&steps),
            steps,
            output,
        };
        check::check(&graph, &steps_path, &output_path, stages, input, mistakes);
        mistakes.is_empty().then_some(graph)
    }

    /// The steps that need nothing: those a run starts with.
    pub fn first_steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.values().filter(|step| step.needs.is_empty())
    }

    /// The steps that need a step.
    pub fn dependants(&self, step: &str) -> &[String] {
        self.dependants.get(step).map_or(&[], Vec::as_slice)
    }
}

/// A scope for what a step's templates may read, put together by the engine.
///
/// `state` is how a step ended, in its word; a skipped or failed step has null for an output.
pub fn ended_step(state: &str, output: Value, error: Value) -> Value {
    serde_json::json!({ "state": state, "output": output, "error": error })
}
