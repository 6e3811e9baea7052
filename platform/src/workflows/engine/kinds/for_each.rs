//! `for_each`: a task for every item of a list, so many at once at most.
//!
//! Every item becomes a member at the start; the first ones get their tasks at once, the others as those
//! before them end. The step puts out the list of what the tasks put out.

use protocol::{OnStepFailure, StepState};
use serde_json::Value;
use uuid::Uuid;

use super::super::hand_out::NewMember;
use super::super::pass::{Ended, error_text};
use super::super::start::{Place, number};
use super::{Started, task};
use crate::graph::{Budget, FOR_EACH_ITEMS_MAX, ForEachStep, Scope, TaskStep};
use crate::queue::NewTask;

/// How many tasks are open at once unless the step says: a run should not fill the queue of all others.
const PARALLEL_DEFAULT: i32 = 1_000;
/// Bytes of a list: what its items are stored with.
const LIST_BYTES_MAX: usize = 16 << 20;

/// Makes the members, and the tasks of the first ones.
pub(super) fn start(
    place: &Place<'_>,
    step: &ForEachStep,
    scope: &Scope<'_>,
) -> Result<Started, String> {
    let id = &place.step.id;
    let mut budget = Budget::of(Budget::WORK, LIST_BYTES_MAX);
    let items = match step.items.render(scope, &mut budget) {
        Ok(Value::Array(items)) => items,
        Ok(_) => return Err(format!("steps.{id}.items: it is no list")),
        Err(fault) => return Err(format!("steps.{id}.items: {fault}")),
    };
    if items.len() > FOR_EACH_ITEMS_MAX {
        return Err(format!(
            "steps.{id}.items: there are {} of them, more than {FOR_EACH_ITEMS_MAX}",
            items.len()
        ));
    }
    if items.is_empty() {
        return Ok(Started::Ended(Ended {
            output: Some("[]".to_owned()),
            ..Ended::bare(place.run.id, id, StepState::Completed)
        }));
    }
    let max_parallel = step.max_parallel.unwrap_or(PARALLEL_DEFAULT);
    let mut members = Vec::with_capacity(items.len());
    let (mut open, mut has_lost) = (0, false);
    for (position, item) in items.iter().enumerate() {
        let gives_up = has_lost && step.on_item_failure == OnStepFailure::Fail;
        if open < max_parallel && !gives_up {
            let (member, task) = make_member(place, &step.task, item, position, scope);
            open += number(usize::from(task.is_some()));
            has_lost |= task.is_none();
            members.push((member, task));
        } else {
            let member = NewMember {
                item: Some(item.to_string()),
                ..bare(place, position, "pending")
            };
            members.push((member, None));
        }
    }
    if open > 0 {
        return Ok(Started::Tasks {
            members,
            max_parallel,
        });
    }
    // Not one task could be made.
    if step.on_item_failure == OnStepFailure::Fail {
        let message = members
            .iter()
            .find_map(|(member, _)| member.error.as_deref())
            .and_then(|error| serde_json::from_str::<protocol::TaskError>(error).ok())
            .map_or_else(String::new, |error| error.message);
        return Err(message);
    }
    let nothing = vec![Value::Null; items.len()];
    Ok(Started::Ended(Ended {
        output: Some(Value::Array(nothing).to_string()),
        ..Ended::bare(place.run.id, id, StepState::Completed)
    }))
}

/// Makes a member with its task, or with the reason why there is none.
pub(super) fn make_member(
    place: &Place<'_>,
    step: &TaskStep,
    item: &Value,
    position: usize,
    scope: &Scope<'_>,
) -> (NewMember, Option<NewTask>) {
    let scope = Scope {
        item: Some((item, position)),
        ..*scope
    };
    let title = format!("{} {position}", place.step.id);
    match task::make(place, step, &title, &scope) {
        Ok(task) => {
            let id: Uuid = task.id.uuid();
            let member = NewMember {
                task: Some(id),
                ..bare(place, position, "open")
            };
            (member, Some(task))
        }
        Err(fault) => lost_member(place, position, &fault),
    }
}

/// A member that failed before it had a task.
pub(super) fn lost_member(
    place: &Place<'_>,
    position: usize,
    fault: &str,
) -> (NewMember, Option<NewTask>) {
    let member = NewMember {
        error: Some(error_text("template_failed", fault)),
        ..bare(place, position, "failed")
    };
    (member, None)
}

fn bare(place: &Place<'_>, position: usize, state: &'static str) -> NewMember {
    NewMember {
        run: place.run.id,
        step: place.step.id.clone(),
        position: number(position),
        item: None,
        task: None,
        state,
        error: None,
    }
}
