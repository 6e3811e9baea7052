//! Making a work item by hand.

use protocol::{
    ActivationId, CreateWorkItem, EntityType, ErrorCode, ReasonCode, Scope, WorkItem, WorkItemId,
    WorkItemMaker, WorkflowId, WorkflowState,
};
use serde_json::{Value, json};

use super::store;
use crate::activations::{self, Wake};
use crate::error::{Error, Refused};
use crate::http::{Caller, Write, check_length};
use crate::playbooks::Board;
use crate::steering::{self, Packet};
use crate::workflows::{self, OpenRun};
use crate::{events, queue};

/// Makes a work item in a run that takes work.
pub(crate) async fn create_work_item(
    write: &mut Write,
    run: WorkflowId,
    body: CreateWorkItem,
) -> Result<WorkItem, Error> {
    check_length("title", body.title.trim(), 1..=500)?;
    check_texts(&[
        ("branch_key", body.branch_key.as_deref(), 120),
        ("goal", body.goal.as_deref(), 4000),
        (
            "acceptance_criteria",
            body.acceptance_criteria.as_deref(),
            4000,
        ),
        ("owner_role", body.owner_role.as_deref(), 120),
        ("notes", body.notes.as_deref(), 4000),
    ])?;
    let tenant = write.caller().tenant();
    let open = lock_open(write, run).await?;
    let board = workflows::board_of(write.conn(), tenant, open.playbook_id.into()).await?;
    let column = match &body.column_id {
        Some(column) => column.clone(),
        None => board.entry_column_id.clone(),
    };
    let (is_blocked, is_completed) = nature(&board, &column)?;
    let stage = stage_for(write, &open, body.stage_name.as_deref()).await?;
    if let Some(parent) = body.parent_work_item_id {
        store::read(write.conn(), tenant, run, parent).await?;
    }
    let id = WorkItemId::new();
    let metadata = body.metadata.unwrap_or_default();
    let facts = store::Facts {
        parent: body.parent_work_item_id.map(WorkItemId::uuid),
        request_id: body.request_id.as_deref(),
        branch_key: body.branch_key.as_deref(),
        stage_name: stage.as_deref(),
        title: body.title.trim(),
        goal: body.goal.as_deref(),
        acceptance_criteria: body.acceptance_criteria.as_deref(),
        column_id: &column,
        owner_role: body.owner_role.as_deref(),
        priority: body.priority.unwrap_or_default().rank(),
        notes: body.notes.as_deref(),
        created_by: maker(write.caller()).as_str(),
        metadata: metadata.text(),
        is_blocked,
        is_completed,
    };
    store::insert(write.conn(), tenant, run, id, &facts).await?;
    let mut data = json!({ "title": body.title.trim(), "stage_name": stage, "column_id": column });
    tell(write, run, id, "work_item.created", data.clone()).await?;
    let kind = match open.lifecycle.as_str() {
        "ongoing" => "intake",
        _ => "plan_update",
    };
    let origin = (kind, maker(write.caller()).as_str());
    let request_id = body.request_id.as_deref();
    let packet = body.initial_input_packet;
    let packet = packet.map(|given| Packet::of_item(given, origin, id, request_id));
    let packet = packet.transpose()?;
    if let Some(packet) = &packet {
        data["input_packet"] = packet.told();
    }
    let made = Wake::new("work_item.created", "a work item was made", data);
    let made = made.of_item(id.uuid()).of_stage(stage.as_deref());
    let activation = go_on(write, &open, made).await?;
    if let Some(packet) = &packet {
        steering::keep_packet(write, run, packet, activation).await?;
    }
    store::read(write.conn(), tenant, run, id).await
}

/// A work item has changed: derives where its run is in its life, and wakes its orchestrator, if there is one
/// to wake.
pub(super) async fn go_on(
    write: &mut Write,
    open: &OpenRun,
    changed: Wake,
) -> Result<Option<ActivationId>, Error> {
    let tenant = write.caller().tenant();
    let run = WorkflowId::from(open.id);
    workflows::derive(write.tx(), tenant, run).await?;
    let mut queued = Vec::new();
    if open.kind == "orchestrated" {
        // Only now: a run that was completed may be open again.
        queued = activations::wake(write.tx(), tenant, run, &[changed]).await?;
        workflows::derive(write.tx(), tenant, run).await?;
    }
    queue::settle(write.tx()).await?;
    Ok(queued.into_iter().next())
}

/// Locks a run that takes work: one that is neither paused nor over.
pub(super) async fn lock_open(write: &mut Write, run: WorkflowId) -> Result<OpenRun, Error> {
    let open = lock(write, run).await?;
    let state: WorkflowState = open.state.parse().map_err(anyhow::Error::from)?;
    // A planned run that has nothing open is completed until it gets something to do.
    let may_reopen = open.kind == "orchestrated" && !open.is_closed;
    match state {
        WorkflowState::Pending | WorkflowState::Active => Ok(open),
        WorkflowState::Completed if may_reopen => Ok(open),
        WorkflowState::Paused
        | WorkflowState::Completed
        | WorkflowState::Failed
        | WorkflowState::Cancelled => Err(no_work(&open, state)),
    }
}

/// Locks a run, whatever its state.
pub(super) async fn lock(write: &mut Write, run: WorkflowId) -> Result<OpenRun, Error> {
    let tenant = write.caller().tenant();
    let workspaces = write.caller().workspace_filter();
    workflows::lock_open_run(write.conn(), tenant, run, workspaces.as_deref()).await
}

fn no_work(run: &OpenRun, state: WorkflowState) -> Error {
    Refused::new(
        ErrorCode::Conflict,
        format!("workflow {} is {state} and takes no work", run.id),
    )
    .reason(ReasonCode::StateChanged)
    .hint(match state {
        WorkflowState::Paused => "resume it first",
        _ => "launch or redrive a run, and make the work there",
    })
    .current_state(state.as_str())
    .into()
}

/// Whether what stands in a column is blocked, or done.
pub(super) fn nature(board: &Board, column: &str) -> Result<(bool, bool), Error> {
    let found = board.columns.iter().find(|known| known.id == column);
    let Some(found) = found else {
        let known: Vec<&str> = board
            .columns
            .iter()
            .map(|column| column.id.as_str())
            .collect();
        return Err(Error::invalid(format!(
            "column_id: the board has no column {column:?}; it has {}",
            known.join(", ")
        )));
    };
    Ok((found.is_blocked, found.is_terminal))
}

/// The stage that a work item belongs to: the one that is named, else the first one that has not ended.
pub(super) async fn stage_for(
    write: &mut Write,
    run: &OpenRun,
    named: Option<&str>,
) -> Result<Option<String>, Error> {
    let tenant = write.caller().tenant();
    let stages = store::stages(write.conn(), tenant, run.id.into()).await?;
    if let Some(named) = named {
        if stages.iter().any(|(name, _)| name == named) {
            return Ok(Some(named.to_owned()));
        }
        let known: Vec<&str> = stages.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Error::invalid(format!(
            "stage_name: the run has no stage {named:?}; it has {}",
            if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            }
        )));
    }
    let current = stages.iter().find(|(_, is_completed)| !is_completed);
    Ok(current.or(stages.last()).map(|(name, _)| name.clone()))
}

/// Refuses texts that are too long.
pub(super) fn check_texts(texts: &[(&str, Option<&str>, usize)]) -> Result<(), Error> {
    for (path, text, max) in texts {
        if let Some(text) = text {
            check_length(path, text, 0..=*max)?;
        }
    }
    Ok(())
}

fn maker(caller: &Caller) -> WorkItemMaker {
    match caller.identity().owner_type.as_str() {
        "webhook_trigger" | "scheduled_trigger" => WorkItemMaker::Webhook,
        "agent" => WorkItemMaker::Orchestrator,
        _ if matches!(caller.scope(), Scope::Admin | Scope::Service) => WorkItemMaker::Manual,
        _ => WorkItemMaker::Api,
    }
}

/// Tells that the caller did something to a work item.
pub(super) async fn tell(
    write: &mut Write,
    run: WorkflowId,
    id: WorkItemId,
    event_type: &'static str,
    data: Value,
) -> Result<(), Error> {
    let entity = (EntityType::WorkItem, id.uuid());
    events::tell_of_run(write, run, entity, event_type, data).await
}
