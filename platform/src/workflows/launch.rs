//! Launching a run: its parameters are checked, it is frozen to a version, and its first steps begin.

use protocol::{
    ActivationId, CreateWorkflow, EntityType, ErrorCode, JsonObject, PlaybookStatus, ReasonCode,
    WorkflowBudget, WorkflowDetail, WorkflowId,
};
use serde_json::{Value, json};

use super::engine::{self, Definition};
use super::{read, store};
use crate::activations::{self, Wake};
use crate::error::{Error, Refused};
use crate::http::{Write, check_length};
use crate::queue::{self, Limits, Run};
use crate::steering::{self, Packet};
use crate::{events, playbooks};

/// Launches a run.
pub(super) async fn create_workflow(
    write: &mut Write,
    body: CreateWorkflow,
    task_timeout_minutes: i32,
) -> Result<WorkflowDetail, Error> {
    launch(write, body, task_timeout_minutes, None).await
}

/// Launches a run, that belongs to another one or to none.
pub(super) async fn launch(
    write: &mut Write,
    body: CreateWorkflow,
    task_timeout_minutes: i32,
    parent: Option<WorkflowId>,
) -> Result<WorkflowDetail, Error> {
    let name = body.name.trim().to_owned();
    check_length("name", &name, 1..=255)?;
    check_note("operator_note", body.operator_note.as_deref())?;
    check_budget(body.budget.as_ref())?;
    write.caller().may_reach(Some(body.workspace_id))?;
    let tenant = write.caller().tenant();
    if !store::workspace_is_active(write.conn(), tenant, body.workspace_id.uuid()).await? {
        return Err(Error::not_found("workspace", body.workspace_id));
    }
    let version = store::version(write.conn(), tenant, body.playbook_id.uuid())
        .await?
        .ok_or_else(|| Error::not_found("playbook", body.playbook_id))?;
    if version.status != PlaybookStatus::Published.as_str() {
        return Err(Refused::new(
            ErrorCode::Conflict,
            format!("version {} of this playbook is {} and cannot be run", version.number, version.status),
        )
        .reason(ReasonCode::StateChanged)
        .hint("publish it, or launch a version that is published: GET /api/v1/playbooks/{playbook_id}/versions lists them")
        .current_state(version.status)
        .into());
    }
    let definition = engine::definition(write.conn(), tenant, body.playbook_id).await?;
    let parameters = body.parameters.unwrap_or_default();
    let input = checked(&definition, &parameters)?;
    let metadata = with_note(body.metadata, body.operator_note);
    let budget = body.budget.unwrap_or_default();
    let config_overrides = body.config_overrides.unwrap_or_default();
    let instruction_config = body.instruction_config.unwrap_or_default();
    let request_id = body.request_id.as_deref();
    let packet = body.initial_input_packet;
    let packet = packet.map(|given| Packet::of_launch(given, request_id));
    let packet = packet.transpose()?;
    let id = WorkflowId::new();
    let kind = match definition.graph() {
        Some(_) => "graph",
        None => "orchestrated",
    };
    let run = store::NewRun {
        id,
        workspace: body.workspace_id.uuid(),
        playbook: body.playbook_id.uuid(),
        playbook_version: version.number,
        kind,
        lifecycle: &version.lifecycle,
        name: &name,
        request_id,
        parameters: parameters.text(),
        input: &input,
        context: "{}",
        metadata: metadata.text(),
        config_overrides: config_overrides.text(),
        instruction_config: instruction_config.text(),
        task_timeout_minutes,
        token_budget: budget.token_budget,
        cost_cap_usd: budget.cost_cap_usd,
        max_duration_minutes: budget.max_duration_minutes,
        live_visibility_mode: body.live_visibility_mode.map(|mode| mode.as_str()),
        root: id,
        previous: None,
        parent,
        attempt_number: 1,
        redrive_reason: None,
    };
    store::insert(write.conn(), tenant, &run).await?;
    make_parts(write, id, &definition).await?;
    let data = json!({
        "name": name, "playbook_id": body.playbook_id, "workspace_id": body.workspace_id,
        "parent_workflow_id": parent,
    });
    tell(write, id, "workflow.created", data).await?;
    let told = packet
        .as_ref()
        .map_or(json!({}), |packet| json!({ "input_packet": packet.told() }));
    let activation = begin(write, id, &definition, told).await?;
    if let Some(packet) = &packet {
        steering::keep_packet(write, id, packet, activation).await?;
    }
    read::detail(write.conn(), tenant, id, None).await
}

/// What was given for the parameters, checked, as templates read it.
pub(super) fn checked(definition: &Definition, given: &JsonObject) -> Result<String, Error> {
    let parameters = &definition.whole().parameters;
    match playbooks::check_parameters(parameters, &given.members()) {
        Ok(input) => Ok(Value::Object(input).to_string()),
        Err(faults) => {
            let first = faults.first();
            let what = first.map_or_else(String::new, |fault| {
                format!("{}: {}", fault.path, fault.message)
            });
            let mut refused = Refused::new(
                ErrorCode::SchemaValidationFailed,
                format!("the parameters do not fit the playbook: {what}"),
            )
            .hint("the playbook's parameters and parameters_schema say what it takes");
            for fault in faults {
                refused = refused.issue(fault.path, fault.message);
            }
            Err(refused.into())
        }
    }
}

/// Makes the stages and steps of a run, and its gate.
pub(super) async fn make_parts(
    write: &mut Write,
    id: WorkflowId,
    definition: &Definition,
) -> Result<(), Error> {
    let tenant = write.caller().tenant();
    let whole = definition.whole();
    let stages: Vec<store::NewStage> = whole
        .stages
        .iter()
        .map(|stage| store::NewStage {
            name: stage.name.clone(),
            goal: stage.goal.clone(),
            guidance: stage.guidance.clone(),
        })
        .collect();
    store::insert_stages(write.conn(), tenant, id, &stages).await?;
    if let Some(graph) = definition.graph() {
        let steps: Vec<store::NewStep> = graph
            .steps
            .values()
            .map(|step| store::NewStep {
                id: step.id.clone(),
                kind: step.kind().as_str(),
                stage: step.stage.clone(),
                needs: i32::try_from(step.needs.len()).unwrap_or(i32::MAX),
                is_forgiven: step.on_failure == protocol::OnStepFailure::Continue,
            })
            .collect();
        store::insert_steps(write.conn(), tenant, id, &steps).await?;
    }
    let limits = Limits {
        active_max: whole.limits.max_active_tasks,
        item_active_max: whole.limits.max_active_tasks_per_work_item,
        items_max: (!whole.limits.allow_parallel_work_items).then_some(1),
    };
    let run = Run {
        workflow: id,
        work_item: None,
    };
    queue::set_limits(write.tx(), tenant, run, limits).await
}

/// Begins what a new run begins with: the first steps of a graph, or the first stage of other plans, whose
/// orchestrator is woken: what it is told of the launch is `told`.
pub(super) async fn begin(
    write: &mut Write,
    id: WorkflowId,
    definition: &Definition,
    told: Value,
) -> Result<Option<ActivationId>, Error> {
    let tenant = write.caller().tenant();
    if definition.graph().is_none()
        && let Some(first) = definition.whole().stages.first()
    {
        store::begin_stage(write.conn(), tenant, id, &first.name).await?;
        let data = json!({ "stage_name": first.name });
        tell(write, id, "stage.started", data).await?;
    }
    write
        .tx()
        .count(metrics::counter!("stint_runs_launched_total"));
    engine::go_on(write.tx(), tenant, id).await?;
    let mut queued = Vec::new();
    if definition.graph().is_none() {
        let created = Wake::new("workflow.created", "the run was launched", told);
        queued = activations::wake(write.tx(), tenant, id, &[created]).await?;
    }
    queue::settle(write.tx()).await?;
    Ok(queued.into_iter().next())
}

/// Tells that the caller did something to a run.
pub(super) async fn tell(
    write: &mut Write,
    id: WorkflowId,
    event_type: &'static str,
    data: Value,
) -> Result<(), Error> {
    let entity = (EntityType::Workflow, id.uuid());
    events::tell_of_run(write, id, entity, event_type, data).await
}

/// Refuses a note that is too long.
pub(super) fn check_note(path: &str, text: Option<&str>) -> Result<(), Error> {
    match text {
        Some(text) => check_length(path, text, 0..=4000),
        None => Ok(()),
    }
}

fn check_budget(budget: Option<&WorkflowBudget>) -> Result<(), Error> {
    let Some(budget) = budget else { return Ok(()) };
    if budget.token_budget.is_some_and(|tokens| tokens < 1) {
        return Err(Error::field("budget.token_budget", "must be at least 1"));
    }
    if budget.cost_cap_usd.is_some_and(|cap| cap <= 0.0) {
        return Err(Error::field("budget.cost_cap_usd", "must be more than 0"));
    }
    if budget
        .max_duration_minutes
        .is_some_and(|minutes| minutes < 1)
    {
        return Err(Error::field(
            "budget.max_duration_minutes",
            "must be at least 1",
        ));
    }
    Ok(())
}

fn with_note(metadata: Option<JsonObject>, note: Option<String>) -> JsonObject {
    let metadata = metadata.unwrap_or_default();
    let Some(note) = note else { return metadata };
    let mut members = metadata.members();
    members.insert("operator_note".to_owned(), note.into());
    members.into()
}
