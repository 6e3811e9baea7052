//! The language of templates and conditions: expressions over what is known in a run.
//!
//! ```text
//! {{ steps.fetch.output.url }}        what a step put out
//! {{ input.files | length }}          what the run was launched with
//! steps.check.output | where("ok", false) | length > 0
//! ```
//!
//! There are values as in JSON, paths, comparisons, `and`, `or`, `not`, arithmetic on numbers,
//! `a if b else c`, and the filters of [`FILTERS`]. There are no loops, no definitions and no calls, so every
//! expression ends, and a [`Budget`] bounds what it may look at and build. It is strict: what is not
//! there, or is of the wrong type, is a fault that says where. `default` is the one way around.
//!
//! A language of our own, small as it is, because those that exist build text of 100 MB from one
//! operator, and cannot say which outputs an expression reads before it runs.

mod evaluate;
mod filters;
mod infer;
mod parse;
mod scope;
mod template;
#[cfg(test)]
mod tests;
mod token;

pub use filters::FILTERS;
pub use infer::{Known, Wrong};
pub use parse::{EXPRESSION_CHARS_MAX, EXPRESSION_DEPTH_MAX, EXPRESSION_NODES_MAX};
pub use parse::{Expression, Read};
pub use scope::{Budget, Scope};
pub use template::{Condition, TEMPLATE_BYTES_MAX, Template, Tree};

/// Why an expression cannot be read, or has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// The expression or template it is in.
    pub source: String,
    /// The character at which it goes wrong, from 0.
    pub at: usize,
}

impl Fault {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            source: String::new(),
            at,
        }
    }

    /// The same fault, of a part that begins at a character of a longer source.
    fn within(mut self, source: &str, begins: usize) -> Self {
        self.at += begins;
        source.clone_into(&mut self.source);
        self
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        /// As much of a source as helps to find the place.
        const SHOWN_CHARS: usize = 60;
        let begins = self.at.saturating_sub(SHOWN_CHARS / 2);
        let shown: String = self.source.chars().skip(begins).take(SHOWN_CHARS).collect();
        write!(
            f,
            "{} (at character {} of the expression, near `{}`)",
            self.message,
            self.at + 1,
            shown.trim()
        )
    }
}

impl std::error::Error for Fault {}
