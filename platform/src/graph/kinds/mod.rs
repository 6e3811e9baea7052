//! The kinds of steps, one file each: what may stand in a definition, which templates it has, and what
//! is known about its output.

mod approval;
mod for_each;
mod task;

use protocol::StepKind;

pub use approval::ApprovalStep;
pub use for_each::{FOR_EACH_ITEMS_MAX, ForEachStep};
pub use task::TaskStep;

use super::fields::Fields;
use super::read::Use;
use super::types::Type;

/// What is special about the kind of a step.
#[derive(Clone, Debug)]
pub enum Body {
    /// One task, for whoever claims it.
    Task(Box<TaskStep>),
    /// A person's decision. It holds no worker.
    Approval(Box<ApprovalStep>),
    /// A task for every item of a list.
    ForEach(Box<ForEachStep>),
}

impl Body {
    pub(super) fn read(kind: StepKind, fields: &mut Fields<'_>) -> Option<Self> {
        Some(match kind {
            StepKind::Task => Self::Task(Box::new(TaskStep::read(fields)?)),
            StepKind::Approval => Self::Approval(Box::new(ApprovalStep::read(fields)?)),
            StepKind::ForEach => Self::ForEach(Box::new(ForEachStep::read(fields)?)),
        })
    }

    /// Which kind it is.
    pub fn kind(&self) -> StepKind {
        match self {
            Self::Task(_) => StepKind::Task,
            Self::Approval(_) => StepKind::Approval,
            Self::ForEach(_) => StepKind::ForEach,
        }
    }

    /// Every template of it with the path that leads to it.
    pub(super) fn each_use(&self, path: &str, visit: &mut dyn FnMut(Use<'_>)) {
        match self {
            Self::Task(step) => step.each_use(path, visit),
            Self::Approval(step) => step.each_use(path, visit),
            Self::ForEach(step) => step.each_use(path, visit),
        }
    }

    /// What is known about its output.
    pub(super) fn output(&self) -> Type {
        match self {
            Self::Task(step) => step.output(),
            Self::Approval(step) => step.output(),
            Self::ForEach(step) => step.output(),
        }
    }
}
