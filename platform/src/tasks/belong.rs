//! Where a task that people or orchestrators make belongs: to a work item, and so to a run and its workspace.

use std::collections::HashMap;

use protocol::{ErrorCode, ReasonCode, TenantId, WorkflowState};
use uuid::Uuid;

use super::new_task::Member;
use crate::db::Tx;
use crate::error::{Error, Refused};
use crate::queue::NewTask;
use crate::work_items::{self, Place};

/// The tasks that belong to work items, as they are stored, or why they cannot be made; by their places in
/// the batch. The runs are locked, so that none is paused or ends meanwhile.
pub(super) async fn belonging(
    tx: &mut Tx,
    tenant: TenantId,
    members: &[&Member],
) -> Result<HashMap<usize, Result<NewTask, Error>>, Error> {
    let items: Vec<Uuid> = members
        .iter()
        .filter_map(|member| member.task.work_item_id)
        .collect();
    if items.is_empty() {
        return Ok(HashMap::new());
    }
    let places = work_items::places(tx.conn(), tenant, &items).await?;
    let of = |member: &Member, item: Uuid| {
        let place = places
            .get(&item)
            .ok_or_else(|| Error::not_found("work item", item))?;
        put(member, item, place)
    };
    Ok(members
        .iter()
        .enumerate()
        .filter_map(|(at, member)| Some((at, of(member, member.task.work_item_id?))))
        .collect())
}

/// The task with what it takes over from its work item.
fn put(member: &Member, item: Uuid, place: &Place) -> Result<NewTask, Error> {
    let task = &member.task;
    if let Some(allowed) = &member.workspaces
        && !allowed.contains(&place.workspace_id)
    {
        return Err(Error::not_found("work item", item));
    }
    let contradicts = |given: Option<Uuid>, known: Uuid| given.is_some_and(|given| given != known);
    if contradicts(task.workflow_id, place.workflow_id) {
        return Err(Error::invalid(format!(
            "workflow_id: work item {item} belongs to workflow {}",
            place.workflow_id
        )));
    }
    if contradicts(task.workspace_id, place.workspace_id) {
        return Err(Error::invalid(format!(
            "workspace_id: the run of work item {item} is in workspace {}",
            place.workspace_id
        )));
    }
    if let (Some(named), Some(stage)) = (&task.stage_name, &place.stage_name)
        && named != stage
    {
        return Err(Refused::new(
            ErrorCode::ValidationError,
            format!("stage_name: work item {item} is in stage {stage:?}, not in {named:?}"),
        )
        .reason(ReasonCode::TaskStageMismatch)
        .hint("leave stage_name out: the task takes it over from its work item")
        .into());
    }
    refuse_closed(item, place)?;
    Ok(NewTask {
        workflow_id: Some(place.workflow_id),
        workspace_id: Some(place.workspace_id),
        stage_name: task.stage_name.clone().or_else(|| place.stage_name.clone()),
        ..task.clone()
    })
}

/// Refuses work where none is taken.
fn refuse_closed(item: Uuid, place: &Place) -> Result<(), Error> {
    let state: WorkflowState = place.run_state.parse().map_err(anyhow::Error::from)?;
    let (what, hint) = if state.is_final() || state == WorkflowState::Paused {
        let hint = if state == WorkflowState::Paused {
            "resume the run first"
        } else {
            "launch or redrive a run, and make the task there"
        };
        (format!("workflow {} is {state}", place.workflow_id), hint)
    } else if place.is_cancelled {
        (
            format!("work item {item} was called off"),
            "make another work item",
        )
    } else if place.is_completed {
        let hint = "move it out of its terminal column first, or make another work item";
        (format!("work item {item} has completed"), hint)
    } else {
        return Ok(());
    };
    Err(
        Refused::new(ErrorCode::Conflict, format!("{what} and takes no work"))
            .reason(ReasonCode::StateChanged)
            .hint(hint)
            .current_state(state.as_str())
            .into(),
    )
}
