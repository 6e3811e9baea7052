//! What an expression can read, and how much it may.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Fault;

/// What is known in a run at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'v> {
    /// What the run was launched with: `input`.
    pub input: &'v Value,
    /// The run itself: `workflow.id`, `workflow.name` and so on.
    pub workflow: &'v Value,
    /// The steps that have ended, by name: an object with `state`, `output` and `error` each.
    pub steps: &'v BTreeMap<String, Value>,
    /// The item of a `for_each` and its place, from 0.
    pub item: Option<(&'v Value, usize)>,
}

/// How much one template, or one tree of them, may look at and build.
///
/// Time follows from it: every unit of work is a few instructions, and every byte is written once.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    work: usize,
    bytes: usize,
}

impl Budget {
    /// Values that may be looked at: some milliseconds.
    pub const WORK: usize = 1_000_000;
    /// Bytes that may be built: no more than a request may carry.
    pub const BYTES: usize = 1 << 20;

    /// A budget of one's own size.
    pub fn of(work: usize, bytes: usize) -> Self {
        Self { work, bytes }
    }

    /// Takes some work out of it.
    pub(super) fn work(&mut self, units: usize, at: usize) -> Result<(), Fault> {
        match self.work.checked_sub(units) {
            Some(left) => {
                self.work = left;
                Ok(())
            }
            None => Err(Fault::new(at, "the expression takes too much work")),
        }
    }

    /// Takes some built bytes out of it.
    pub(super) fn bytes(&mut self, bytes: usize, at: usize) -> Result<(), Fault> {
        match self.bytes.checked_sub(bytes) {
            Some(left) => {
                self.bytes = left;
                Ok(())
            }
            None => Err(Fault::new(at, "the result is too large")),
        }
    }

    /// Takes a value that is built or copied out of it.
    pub(super) fn value(&mut self, value: &Value, at: usize) -> Result<(), Fault> {
        self.work(1, at)?;
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => self.bytes(8, at),
            Value::String(text) => self.bytes(text.len() + 2, at),
            Value::Array(items) => {
                self.bytes(2, at)?;
                items.iter().try_for_each(|item| self.value(item, at))
            }
            Value::Object(members) => {
                self.bytes(2, at)?;
                members.iter().try_for_each(|(name, member)| {
                    self.bytes(name.len() + 4, at)?;
                    self.value(member, at)
                })
            }
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::of(Self::WORK, Self::BYTES)
    }
}
