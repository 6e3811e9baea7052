//! Runs that belong to other runs: launched by them, called off with them, and told to them when they end.

use protocol::{
    ChainWorkflow, CreateWorkflow, ErrorCode, JsonObject, LaunchChild, ReasonCode, WorkflowDetail,
    WorkflowId, WorkflowState,
};
use serde_json::json;

use super::launch::{launch, tell};
use super::store;
use crate::error::{Error, Refused};
use crate::http::{Write, check_length};

/// Runs that one run may have launched and that have not ended.
const CHILDREN_MAX: i64 = 100;
/// How deep runs may be nested.
const DEPTH_MAX: i64 = 5;

/// Launches a run that belongs to another one, at the word of an operator.
pub(super) async fn chain_workflow(
    write: &mut Write,
    parent: WorkflowId,
    body: ChainWorkflow,
    task_timeout_minutes: i32,
) -> Result<WorkflowDetail, Error> {
    let child = LaunchChild {
        playbook_id: body.playbook_id,
        name: body.name.unwrap_or_default(),
        parent_context: None,
        parameters: body.parameters,
        metadata: None,
        config_overrides: None,
        instruction_config: None,
        request_id: body.request_id,
    };
    launch_child(write, parent, child, task_timeout_minutes).await
}

/// Launches a run that belongs to another one, in the same workspace. Without a name it has that of its parent.
///
/// # Errors
/// 404; 409 when the parent takes no work, or has too many children; those of a launch.
pub(crate) async fn launch_child(
    write: &mut Write,
    parent: WorkflowId,
    body: LaunchChild,
    task_timeout_minutes: i32,
) -> Result<WorkflowDetail, Error> {
    if let Some(context) = &body.parent_context {
        check_length("parent_context", context, 0..=8000)?;
    }
    let tenant = write.caller().tenant();
    let workspaces = write.caller().workspace_filter();
    let open = store::lock_open_run(write.conn(), tenant, parent, workspaces.as_deref()).await?;
    let state: WorkflowState = open.state.parse().map_err(anyhow::Error::from)?;
    if state.is_final() || state == WorkflowState::Paused || open.is_closed {
        return Err(Refused::new(
            ErrorCode::Conflict,
            format!("workflow {parent} is {state} and launches nothing"),
        )
        .reason(ReasonCode::StateChanged)
        .current_state(state.as_str())
        .into());
    }
    let (children, depth) = store::family(write.conn(), tenant, parent, DEPTH_MAX).await?;
    if children >= CHILDREN_MAX || depth >= DEPTH_MAX {
        return Err(Refused::new(
            ErrorCode::Conflict,
            format!(
                "a run may have {CHILDREN_MAX} open children, nested {DEPTH_MAX} deep; workflow {parent} has {children}, and is {depth} deep"
            ),
        )
        .reason(ReasonCode::LimitReached)
        .into());
    }
    let metadata = match body.parent_context {
        None => body.metadata,
        Some(context) => {
            let mut members = body.metadata.unwrap_or_else(JsonObject::empty).members();
            members.insert("parent_context".to_owned(), context.into());
            Some(members.into())
        }
    };
    let name = match body.name.trim() {
        "" => open.name,
        given => given.to_owned(),
    };
    let child = CreateWorkflow {
        playbook_id: body.playbook_id,
        workspace_id: open.workspace_id.into(),
        name,
        operator_note: None,
        initial_input_packet: None,
        parameters: body.parameters,
        metadata,
        config_overrides: body.config_overrides,
        instruction_config: body.instruction_config,
        budget: None,
        live_visibility_mode: None,
        request_id: body.request_id,
    };
    let launched = launch(write, child, task_timeout_minutes, Some(parent)).await?;
    let data = json!({ "child_workflow_id": launched.workflow.id, "name": launched.workflow.name });
    tell(write, parent, "workflow.child_launched", data).await?;
    Ok(launched)
}
