//! Creating a task inside the transaction of a request, in place of the lane.

use std::collections::HashSet;

use protocol::{CreateTask, Task};

use super::create::{notes, place_with_others};
use super::new_task::Member;
use super::operate::read;
use crate::config::LimitConfig;
use crate::error::Error;
use crate::http::Write;
use crate::queue;

/// Creates a task. The request's own slot makes it safe to repeat.
///
/// # Errors
/// As for the route that creates tasks.
pub(crate) async fn create_task_in(
    write: &mut Write,
    body: CreateTask,
    limits: &LimitConfig,
) -> Result<Task, Error> {
    let caller = write.caller().clone();
    let tenant = caller.tenant();
    let member = Member::of(&caller, body, None, 0, limits)?;
    let mut outcome = place_with_others(write.tx(), tenant, &[&member]).await?;
    if let Some(refusal) = outcome.refusals.pop().flatten() {
        return Err(refusal);
    }
    for note in notes(tenant, &[&member], &outcome.placed, &HashSet::new()) {
        write.tx().note(note);
    }
    queue::settle(write.tx()).await?;
    read(write, member.id()).await
}
