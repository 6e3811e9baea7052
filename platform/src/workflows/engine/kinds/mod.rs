//! The kinds of steps, one file each: how a step of the kind starts, and what its members are.

mod approval;
mod for_each;
mod task;

use protocol::{OnStepFailure, Priority};
use serde_json::Value;

use super::hand_out::NewMember;
use super::pass::Ended;
use super::start::Place;
use crate::graph::{Body, Scope};
use crate::queue::NewTask;

/// How a step has started.
pub(super) enum Started {
    /// It has made tasks, or will: its members in their order, and how many may be open at once.
    Tasks {
        members: Vec<(NewMember, Option<NewTask>)>,
        max_parallel: i32,
    },
    /// It asks a person.
    Asks {
        question: Value,
        expires_seconds: Option<f64>,
    },
    /// It has ended already.
    Ended(Ended),
}

/// Starts a step; or tells why it cannot.
pub(super) fn start(place: &Place<'_>, title: &str, scope: &Scope<'_>) -> Result<Started, String> {
    match &place.step.body {
        Body::Task(step) => task::start(place, step, title, scope),
        Body::Approval(step) => approval::start(place, step, title, scope),
        Body::ForEach(step) => for_each::start(place, step, scope),
    }
}

/// Makes a member of a step that makes several tasks.
pub(super) fn make_member(
    place: &Place<'_>,
    item: &Value,
    position: usize,
    scope: &Scope<'_>,
) -> (NewMember, Option<NewTask>) {
    let step = match &place.step.body {
        Body::ForEach(step) => &step.task,
        // A task that is made again is made like the first time; the others have no members.
        Body::Task(step) => step.as_ref(),
        Body::Approval(_) => return for_each::lost_member(place, position, "it makes no tasks"),
    };
    for_each::make_member(place, step, item, position, scope)
}

/// What the failure of one member means for its step.
pub(super) fn on_member_failure(body: &Body) -> OnStepFailure {
    match body {
        Body::ForEach(step) => step.on_item_failure,
        Body::Task(_) | Body::Approval(_) => OnStepFailure::Fail,
    }
}

/// Whether the outputs of its members are put out as a list.
pub(super) fn puts_out_list(body: &Body) -> bool {
    match body {
        Body::ForEach(_) => true,
        Body::Task(_) | Body::Approval(_) => false,
    }
}

/// How urgent a step is.
pub(super) fn priority(body: &Body) -> Priority {
    match body {
        Body::Task(step) => step.priority,
        Body::ForEach(step) => step.task.priority,
        Body::Approval(_) => Priority::default(),
    }
}
