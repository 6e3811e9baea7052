//! What operators do with a task: change its facts, retry it, cancel it.

use protocol::{
    CancelTask, ErrorCode, JsonObject, ReasonCode, RetryTask, Task, TaskId, TaskMove, TaskState,
    UpdateTask,
};
use serde_json::{Value, json};

use super::{state, store, verdict};
use crate::consequences;
use crate::error::{Error, Refused};
use crate::http::{Write, check_length};
use crate::queue::{self, Destination, Moved, Order};
use crate::{events, workflows};

/// Changes the facts of a task. Its state does not change.
pub(super) async fn update_task(
    write: &mut Write,
    id: TaskId,
    change: UpdateTask,
) -> Result<Task, Error> {
    if let Some(title) = &change.title {
        check_length("title", title, 1..=500)?;
    }
    if let Some(description) = &change.description {
        check_length("description", description, 0..=5000)?;
    }
    if change
        .timeout_minutes
        .is_some_and(|minutes| !(1..=240).contains(&minutes))
    {
        return Err(Error::field("timeout_minutes", "must be between 1 and 240"));
    }
    let tenant = write.caller().tenant();
    let workspaces = write.caller().workspace_filter();
    store::lock(write.conn(), tenant, id).await?;
    let task = store::record(write.conn(), tenant, id, workspaces.as_deref()).await?;
    if let Some(parent) = change.parent_id {
        if parent == id {
            return Err(Error::not_found("other task", parent));
        }
        store::record(write.conn(), tenant, parent, workspaces.as_deref()).await?;
    }
    let metadata = match change.metadata {
        Some(given) => merge(&task.metadata, &given),
        None => task.metadata,
    };
    let priority = change.priority.unwrap_or(task.priority);
    let facts = store::Facts {
        title: change.title.as_deref().unwrap_or(&task.title),
        description: change
            .description
            .as_deref()
            .or(task.description.as_deref()),
        priority: priority.rank(),
        timeout_minutes: change.timeout_minutes.unwrap_or(task.timeout_minutes),
        metadata: metadata.text(),
        parent: change.parent_id.or(task.parent_id).map(TaskId::uuid),
    };
    store::update(write.conn(), tenant, id, &facts).await?;
    if priority != task.priority {
        queue::reprioritise(write.conn(), tenant, id, priority.rank()).await?;
    }
    store::record(write.conn(), tenant, id, None).await
}

/// Merges member by member; null removes a member.
fn merge(old: &JsonObject, given: &JsonObject) -> JsonObject {
    let mut members = old.members();
    for (key, value) in given.members() {
        if value == Value::Null {
            members.remove(&key);
        } else {
            members.insert(key, value);
        }
    }
    members.into()
}

/// Gives a task another attempt. A ready task is left as it is.
pub(crate) async fn retry_task(
    write: &mut Write,
    id: TaskId,
    body: RetryTask,
) -> Result<Task, Error> {
    if body.override_input.is_some() {
        lock(write, id).await?;
    }
    let is_forced = body.force.unwrap_or(false);
    let from = if is_forced {
        state::sources(TaskMove::Retry)
    } else {
        vec![TaskState::Failed]
    };
    let mut order = order(
        write,
        id,
        from,
        Destination::Ready { keeps_place: false },
        "retry",
    );
    order.retries = 1;
    order.forgets_outcome = true;
    match move_one(write, id, order).await? {
        Moved::Yes { .. }
        | Moved::Elsewhere {
            state: TaskState::Ready,
            ..
        } => {}
        Moved::Elsewhere { .. } => {
            let task = read(write, id).await?;
            let refused = Refused::new(
                ErrorCode::Conflict,
                format!(
                    "task {id} is {} and cannot be retried{}",
                    task.state,
                    if is_forced { "" } else { " without force" }
                ),
            );
            return Err(refused
                .reason(ReasonCode::StateChanged)
                .hint("failed tasks can be retried; with force also those that wait or have completed, but none that is held")
                .current_state(task.state.as_str())
                .into());
        }
        Moved::Absent => return Err(Error::not_found("task", id)),
    }
    if let Some(input) = &body.override_input {
        replace_input(write, id, input).await?;
    }
    read(write, id).await
}

/// Calls a task off. A held task is taken from its holder at once, which learns of it with its next
/// heartbeat or report. A task that has ended well, or was cancelled before, stays as it is.
pub(crate) async fn cancel_task(
    write: &mut Write,
    id: TaskId,
    body: CancelTask,
) -> Result<Task, Error> {
    if let Some(reason) = &body.reason {
        check_length("reason", reason, 1..=4000)?;
    }
    let from = state::sources(TaskMove::Cancel);
    let mut order = order(
        write,
        id,
        from,
        Destination::Ended(TaskState::Cancelled),
        "cancel",
    );
    order.event_data = body
        .reason
        .map(|reason| serde_json::json!({ "cancel_reason": reason }).to_string());
    match move_one(write, id, order).await? {
        Moved::Yes { .. }
        | Moved::Elsewhere {
            state: TaskState::Completed | TaskState::Cancelled,
            ..
        } => read(write, id).await,
        Moved::Elsewhere { .. } => Err(verdict::wrong_state(
            &read(write, id).await?,
            TaskState::Cancelled,
        )),
        Moved::Absent => Err(Error::not_found("task", id)),
    }
}

pub(super) fn order(
    write: &Write,
    id: TaskId,
    from: Vec<TaskState>,
    to: Destination,
    reason: &'static str,
) -> Order {
    let mut order = Order::by_system(id, from, to, reason);
    order.actor_type = write.caller().scope().as_str();
    order.actor = Some(write.caller().actor());
    order
}

pub(super) async fn move_one(write: &mut Write, id: TaskId, order: Order) -> Result<Moved, Error> {
    // A key restricted to workspaces must not reach beyond them.
    read(write, id).await?;
    let tenant = write.caller().tenant();
    let mut moved = consequences::move_and_follow(write.tx(), tenant, &[order]).await?;
    Ok(moved.pop().expect("one answer per order"))
}

pub(crate) async fn read(write: &mut Write, id: TaskId) -> Result<Task, Error> {
    let tenant = write.caller().tenant();
    let workspaces = write.caller().workspace_filter();
    store::record(write.conn(), tenant, id, workspaces.as_deref()).await
}

/// Locks the run of a task, then the facts of the task, and reads it. Its place is locked last, by whatever moves
/// it: in this order everybody locks them.
pub(crate) async fn lock(write: &mut Write, id: TaskId) -> Result<Task, Error> {
    let tenant = write.caller().tenant();
    workflows::lock_runs_of(write.tx(), tenant, &[id.uuid()]).await?;
    store::lock(write.conn(), tenant, id).await?;
    read(write, id).await
}

/// Gives a task that is locked another input.
pub(crate) async fn replace_input(
    write: &mut Write,
    id: TaskId,
    input: &JsonObject,
) -> Result<(), Error> {
    let tenant = write.caller().tenant();
    store::replace_input(write.conn(), tenant, id, input.text()).await?;
    // What it is now may be long, and is read with the task.
    let run = read(write, id).await?.workflow_id;
    events::tell_of_task(write, run, id, "task.input_replaced", json!({})).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_merged_member_by_member_and_null_removes() {
        let object = |text: &str| JsonObject::from_text(text.to_owned()).unwrap();
        let merged = merge(&object(r#"{"a":1,"b":2}"#), &object(r#"{"b":null,"c":3}"#));
        assert_eq!(merged, object(r#"{"a":1,"c":3}"#));
    }
}
