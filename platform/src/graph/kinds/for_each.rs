//! `for_each`: a task for every item of a list, so many at once at most.
//!
//! ```json
//! { "kind": "for_each", "items": "{{ steps.list.output.files }}", "max_parallel": 4,
//!   "task": { "role": "checker", "input": { "file": "{{ item }}", "place": "{{ index }}" } } }
//! ```
//!
//! Its output is the list of the outputs, in the order of the items; of an item that failed, null.

use protocol::{MistakeCode, OnStepFailure};

use super::task::TaskStep;
use crate::graph::fields::Fields;
use crate::graph::language::Template;
use crate::graph::read::{self, Use};
use crate::graph::types::Type;

/// Items of one list at most.
pub const FOR_EACH_ITEMS_MAX: usize = 10_000;

/// A task for every item of a list.
#[derive(Clone, Debug)]
pub struct ForEachStep {
    /// A template that is nothing but an expression, and yields the list.
    pub items: Template,
    /// The task of an item: its templates may read `item` and `index`.
    pub task: TaskStep,
    /// How many of the tasks may run at once; all unless given.
    pub max_parallel: Option<i32>,
    /// `fail`: after a failure no further item is started, and the step fails when those that run have
    /// ended. `continue`: the others go on, and the step ends well.
    pub on_item_failure: OnStepFailure,
}

impl ForEachStep {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let items = fields
            .required("items")
            .and_then(|_| read::template(fields, "items"));
        if let Some(items) = &items
            && items.sole_expression().is_none()
        {
            let message = "must be one expression that yields a list";
            let hint = "write it like {{ steps.list.output.files }}, with nothing around it";
            fields.mistake("items", MistakeCode::BadTemplate, message, hint);
        }
        let max_parallel = fields.number("max_parallel", 1..=10_000);
        let on_item_failure = fields.word("on_item_failure");
        fields.required("task");
        let task = fields.object("task").and_then(|mut fields| {
            let task = TaskStep::read(&mut fields);
            fields.finish();
            task
        });
        Some(Self {
            items: items?,
            task: task?,
            max_parallel,
            on_item_failure: on_item_failure.unwrap_or(OnStepFailure::Fail),
        })
    }

    pub(super) fn each_use(&self, path: &str, visit: &mut dyn FnMut(Use<'_>)) {
        let items = Use::any(format!("{path}.items"), &self.items);
        visit(Use {
            wanted: Type::list(),
            ..items
        });
        self.task.each_use(&format!("{path}.task"), &mut |found| {
            visit(found.with_item(Type::Any));
        });
    }

    pub(super) fn output(&self) -> Type {
        Type::List(Box::new(match self.on_item_failure {
            OnStepFailure::Fail => self.task.output(),
            OnStepFailure::Continue => Type::Any,
        }))
    }
}
