//! A step: what every kind of it has in common.

use std::collections::BTreeSet;

use protocol::{OnStepFailure, StepKind};
use serde_json::Value;

use super::fields::Fields;
use super::kinds::Body;
use super::language::{Condition, Read, Template};
use super::read;

/// A step of a graph.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name in the graph.
    pub id: String,
    /// For people; its name unless given.
    pub title: Option<Template>,
    /// The stage of the run it belongs to.
    pub stage: Option<String>,
    /// The steps that must have ended: those that `needs` lists and those that templates name, in order.
    pub needs: Vec<String>,
    /// What must hold for it to run; otherwise it is skipped.
    pub when: Option<Condition>,
    /// What its failure means for those that need it. With `continue` they run as if it had ended well, and
    /// can read its `state` and `error`.
    pub on_failure: OnStepFailure,
    /// What is special about its kind.
    pub body: Body,
    /// The needs that were listed, for the check.
    pub(super) listed: Vec<String>,
}

impl Step {
    /// Reads a step and notes every mistake.
    pub(super) fn read(id: &str, mut fields: Fields<'_>) -> Option<Self> {
        let kind = fields
            .required("kind")
            .and_then(|_| fields.word::<StepKind>("kind"));
        let title = read::template(&mut fields, "title");
        let stage = fields.text("stage", 1..=120).map(str::to_owned);
        let listed = fields.texts(
            "needs",
            0..=super::STEPS_MAX,
            1..=super::STEP_NAME_CHARS_MAX,
        );
        let when = read::condition(&mut fields, "when");
        let on_failure = fields.word("on_failure").unwrap_or(OnStepFailure::Fail);
        // Without its kind nobody knows which other fields it may have.
        let body = Body::read(kind?, &mut fields);
        fields.finish();
        let mut step = Self {
            id: id.to_owned(),
            title,
            stage,
            needs: vec![],
            when,
            on_failure,
            body: body?,
            listed,
        };
        let mut needs: BTreeSet<String> = step.listed.iter().cloned().collect();
        step.each_use("", &mut |found| {
            needs.extend(found.reads.iter().filter_map(Read::step).map(str::to_owned));
        });
        step.needs = needs.into_iter().collect();
        Some(step)
    }

    /// Which kind of step it is.
    pub fn kind(&self) -> StepKind {
        self.body.kind()
    }

    /// Every template and condition of the step, with the path that leads to it.
    pub(super) fn each_use(&self, path: &str, visit: &mut dyn FnMut(read::Use<'_>)) {
        if let Some(title) = &self.title {
            visit(read::Use::text(format!("{path}.title"), title));
        }
        if let Some(when) = &self.when {
            visit(read::Use::condition(format!("{path}.when"), when));
        }
        self.body.each_use(path, visit);
    }
}

/// Whether a value may be the name of a step.
pub(super) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let begins = bytes
        .next()
        .is_some_and(|first| first == b'_' || first.is_ascii_alphabetic());
    begins
        && name.len() <= super::STEP_NAME_CHARS_MAX
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

/// A condition that can never hold, such as `false`.
pub(super) fn never_holds(condition: &Condition) -> bool {
    condition.expression().constant() == Some(&Value::Bool(false))
}
