//! Changing a work item, and moving it over the board.

use protocol::{
    ErrorCode, JsonObject, ReasonCode, UpdateWorkItem, WorkItem, WorkItemId, WorkflowId,
};
use serde_json::{Value, json};

use super::create::{check_texts, go_on, lock_open, nature, stage_for, tell};
use super::store;
use crate::activations::Wake;
use crate::error::{Error, Refused};
use crate::http::{Write, check_length};
use crate::workflows;

/// How deep work items may be nested.
const DEPTH_MAX: usize = 20;

/// Changes a work item. In a terminal column it is completed, out of one it is open again.
pub(crate) async fn update_work_item(
    write: &mut Write,
    run: WorkflowId,
    id: WorkItemId,
    change: UpdateWorkItem,
) -> Result<WorkItem, Error> {
    if let Some(title) = &change.title {
        check_length("title", title.trim(), 1..=500)?;
    }
    check_texts(&[
        ("goal", change.goal.as_deref(), 4000),
        (
            "acceptance_criteria",
            change.acceptance_criteria.as_deref(),
            4000,
        ),
        (
            "owner_role",
            change.owner_role.as_ref().and_then(Option::as_deref),
            120,
        ),
        (
            "notes",
            change.notes.as_ref().and_then(Option::as_deref),
            4000,
        ),
    ])?;
    let tenant = write.caller().tenant();
    let open = lock_open(write, run).await?;
    let item = store::read(write.conn(), tenant, run, id).await?;
    let board = workflows::board_of(write.conn(), tenant, open.playbook_id.into()).await?;
    let column = change
        .column_id
        .clone()
        .unwrap_or_else(|| item.column_id.clone());
    let is_moved = column != item.column_id;
    if is_moved && item.cancel_requested_at.is_some() {
        return Err(Refused::new(
            ErrorCode::Conflict,
            format!("work item {id} was called off, and stays where it is"),
        )
        .reason(ReasonCode::StateChanged)
        .hint("make another work item")
        .into());
    }
    let (is_blocked, is_completed) = if is_moved {
        nature(&board, &column)?
    } else {
        (item.blocked_state.is_some(), item.completed_at.is_some())
    };
    if is_moved && item.step_id.is_some() && is_completed != item.completed_at.is_some() {
        return Err(Refused::new(
            ErrorCode::Conflict,
            "this work item was made by a step of the graph, which completes it when its tasks have ended",
        )
        .reason(ReasonCode::InUse)
        .hint("retry, skip or cancel its tasks instead")
        .into());
    }
    if is_completed
        && item.completed_at.is_none()
        && store::has_open_tasks(write.conn(), tenant, id).await?
    {
        return Err(Refused::new(
            ErrorCode::Conflict,
            format!("work item {id} has open tasks and cannot be completed"),
        )
        .reason(ReasonCode::InUse)
        .hint(
            "complete, skip or cancel them first; GET …/work-items/{work_item_id}/tasks lists them",
        )
        .into());
    }
    let stage = match &change.stage_name {
        Some(named) => stage_for(write, &open, Some(named)).await?,
        None => item.stage_name.clone(),
    };
    let parent = match change.parent_work_item_id {
        Some(Some(parent)) => {
            refuse_circle(write, run, id, parent).await?;
            Some(parent)
        }
        Some(None) => None,
        None => item.parent_work_item_id,
    };
    let metadata = match &change.metadata {
        Some(given) => merge(&item.metadata, given),
        None => item.metadata.clone(),
    };
    let owner_role = change.owner_role.unwrap_or(item.owner_role);
    let notes = change.notes.unwrap_or(item.notes);
    let title = change
        .title
        .as_deref()
        .map_or(item.title.as_str(), str::trim);
    let goal = change.goal.or(item.goal);
    let acceptance_criteria = change.acceptance_criteria.or(item.acceptance_criteria);
    let facts = store::Facts {
        parent: parent.map(WorkItemId::uuid),
        request_id: None,
        branch_key: None,
        stage_name: stage.as_deref(),
        title,
        goal: goal.as_deref(),
        acceptance_criteria: acceptance_criteria.as_deref(),
        column_id: &column,
        owner_role: owner_role.as_deref(),
        priority: change.priority.unwrap_or(item.priority).rank(),
        notes: notes.as_deref(),
        created_by: item.created_by.as_str(),
        metadata: metadata.text(),
        is_blocked,
        is_completed,
    };
    store::update(write.conn(), tenant, id, &facts).await?;
    let event = match (item.completed_at.is_some(), is_completed) {
        (false, true) => "work_item.completed",
        (true, false) => "work_item.reopened",
        _ if is_moved => "work_item.moved",
        _ => "work_item.updated",
    };
    let data =
        json!({ "from_column_id": item.column_id, "column_id": column, "stage_name": stage });
    tell(write, run, id, event, data.clone()).await?;
    let changed = Wake::new(event, "a work item was changed", data);
    let changed = changed.of_item(id.uuid()).of_stage(stage.as_deref());
    go_on(write, &open, changed).await?;
    store::read(write.conn(), tenant, run, id).await
}

/// Refuses a parent that is the work item itself, or a part of it.
async fn refuse_circle(
    write: &mut Write,
    run: WorkflowId,
    id: WorkItemId,
    parent: WorkItemId,
) -> Result<(), Error> {
    let tenant = write.caller().tenant();
    let mut above = Some(parent);
    for _ in 0..DEPTH_MAX {
        let Some(next) = above else { return Ok(()) };
        if next == id {
            return Err(Error::field(
                "parent_work_item_id",
                "a work item cannot be a part of itself",
            ));
        }
        above = store::read(write.conn(), tenant, run, next)
            .await?
            .parent_work_item_id;
    }
    Err(Error::field(
        "parent_work_item_id",
        format!("work items may be nested {DEPTH_MAX} deep"),
    ))
}

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
