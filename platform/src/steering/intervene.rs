//! Recording what an operator has done about a run.

use protocol::{
    ActivationId, EntityType, Intervention, InterventionId, JsonObject, RecordIntervention, TaskId,
    WorkItemId, WorkflowId,
};
use serde_json::json;

use super::intervention_store as store;
use super::{FREE_DATA_BYTES_MAX, KEPT_MAX, must_belong, wake_with};
use crate::activations::Wake;
use crate::error::Error;
use crate::holders::check_free_data;
use crate::http::{Write, check_length};
use crate::{events, workflows};

/// Records an intervention, and wakes the orchestrator of the run with it, if there is one to wake.
///
/// # Errors
/// 404; 422 for bad fields.
pub(super) async fn record_intervention(
    write: &mut Write,
    run: WorkflowId,
    body: RecordIntervention,
) -> Result<Intervention, Error> {
    let (origin, status) = (
        body.origin.as_deref().unwrap_or("operator"),
        body.status.as_deref().unwrap_or("applied"),
    );
    for (path, text, least, most) in [
        ("kind", body.kind.as_str(), 1, 120),
        ("summary", &body.summary, 1, 4000),
        ("origin", origin, 1, 120),
        ("status", status, 1, 120),
        ("note", body.note.as_deref().unwrap_or_default(), 0, 4000),
        (
            "snapshot_version",
            body.snapshot_version.as_deref().unwrap_or_default(),
            0,
            255,
        ),
    ] {
        check_length(path, text, least..=most)?;
    }
    for (path, data) in [
        ("structured_action", &body.structured_action),
        ("metadata", &body.metadata),
    ] {
        check_free_data(path, data.as_ref(), FREE_DATA_BYTES_MAX)?;
    }
    let (tenant, workspaces) = (write.caller().tenant(), write.caller().workspace_filter());
    workflows::lock_open_run(write.conn(), tenant, run, workspaces.as_deref()).await?;
    must_belong(write, run, body.work_item_id, body.task_id).await?;
    let id = InterventionId::new();
    let action = body.structured_action.unwrap_or_default();
    let told = json!({
        "intervention_id": id, "kind": body.kind, "origin": origin, "status": status, "summary": body.summary,
        "note": body.note, "structured_action": action, "task_id": body.task_id,
    });
    let told = Wake::new("operator.intervention", "an operator has stepped in", told);
    let activation = wake_with(write, run, told, body.work_item_id).await?;
    let row = store::NewIntervention {
        id,
        run,
        item: body.work_item_id,
        task: body.task_id,
        request_id: body.request_id.as_deref(),
        kind: &body.kind,
        origin,
        status,
        summary: &body.summary,
        note: body.note.as_deref(),
        action: &action,
        metadata: &body.metadata.unwrap_or_default(),
        snapshot_version: body.snapshot_version.as_deref(),
        settings_revision: body.settings_revision,
        activation,
    };
    keep(write, &row).await?;
    store::find(write.conn(), tenant, run, id).await
}

/// Words that an operator said to the orchestrator are an intervention too.
pub(super) struct Steered<'w> {
    pub(super) run: WorkflowId,
    pub(super) item: Option<WorkItemId>,
    pub(super) task: Option<TaskId>,
    pub(super) request_id: Option<&'w str>,
    /// How it begins.
    pub(super) summary: &'w str,
    /// Where the whole of it is.
    pub(super) action: &'w JsonObject,
    pub(super) activation: ActivationId,
}

/// Records that an operator steered the run.
///
/// # Errors
/// Those of the database.
pub(super) async fn record_steering(
    write: &mut Write,
    steered: Steered<'_>,
) -> Result<InterventionId, Error> {
    let row = store::NewIntervention {
        id: InterventionId::new(),
        run: steered.run,
        item: steered.item,
        task: steered.task,
        request_id: steered.request_id,
        kind: "steering_request",
        origin: "operator",
        status: "applied",
        summary: steered.summary,
        note: None,
        action: steered.action,
        metadata: &JsonObject::empty(),
        snapshot_version: None,
        settings_revision: None,
        activation: Some(steered.activation),
    };
    keep(write, &row).await?;
    Ok(row.id)
}

async fn keep(write: &mut Write, row: &store::NewIntervention<'_>) -> Result<(), Error> {
    let tenant = write.caller().tenant();
    let by = (write.caller().scope().as_str(), write.caller().actor());
    store::insert(write.conn(), tenant, row, by).await?;
    store::forget(write.conn(), tenant, row.run, KEPT_MAX).await?;
    let data = json!({
        "intervention_id": row.id, "kind": row.kind, "status": row.status, "activation_id": row.activation,
        "work_item_id": row.item, "task_id": row.task,
    });
    let entity = (EntityType::Workflow, row.run.uuid());
    events::tell_of_run(
        write,
        row.run,
        entity,
        "workflow.intervention_recorded",
        data,
    )
    .await
}
