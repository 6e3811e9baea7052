//! Trying again what a run did, in a new run.

use protocol::{
    ErrorCode, InheritancePolicy, ReasonCode, RedriveLineage, RedriveWorkflow, Redriven,
    WorkflowId, WorkflowState,
};
use serde_json::{Value, json};

use super::engine::{self, Definition};
use super::launch::{begin, check_note, checked, make_parts, tell};
use super::{read, store};
use crate::error::{Error, Refused};
use crate::http::{Write, check_length};

/// Makes a new run of the same version. With `inherit_all` it takes over what completed steps put out, and
/// goes on where the earlier run had failed.
pub(super) async fn redrive_workflow(
    write: &mut Write,
    id: WorkflowId,
    body: RedriveWorkflow,
    task_timeout_minutes: i32,
) -> Result<Redriven, Error> {
    if let Some(name) = &body.name {
        check_length("name", name.trim(), 1..=255)?;
    }
    check_note("reason", body.reason.as_deref())?;
    check_note("summary", body.summary.as_deref())?;
    check_note("steering_instruction", body.steering_instruction.as_deref())?;
    let tenant = write.caller().tenant();
    let workspaces = write.caller().workspace_filter();
    let source = store::source(write.conn(), tenant, id, workspaces.as_deref()).await?;
    let state: WorkflowState = source.state.parse().map_err(anyhow::Error::from)?;
    if !state.is_final() {
        return Err(Refused::new(
            ErrorCode::Conflict,
            format!("workflow {id} is {state}: only a run that has ended can be tried again"),
        )
        .reason(ReasonCode::StateChanged)
        .hint("cancel it first, or retry the task that failed")
        .current_state(state.as_str())
        .into());
    }
    let inherits = policy_of(&body)? == InheritancePolicy::InheritAll;
    let definition = engine::definition(write.conn(), tenant, source.playbook_id.into()).await?;
    let (parameters, input) = match &body.parameters {
        Some(given) => (given.text().to_owned(), checked(&definition, given)?),
        None => (source.parameters.clone(), source.input.clone()),
    };
    let new = WorkflowId::new();
    let attempt_number = source.latest_attempt + 1;
    let name = body.name.as_deref().map_or_else(
        || {
            format!("{} redrive", source.name)
                .chars()
                .take(255)
                .collect()
        },
        |name| name.trim().to_owned(),
    );
    let metadata = metadata_of(&source.metadata, &body)?;
    let mode = body.live_visibility_mode.map(|mode| mode.as_str());
    let run = store::NewRun {
        id: new,
        workspace: source.workspace_id,
        playbook: source.playbook_id,
        playbook_version: source.playbook_version,
        kind: &source.kind,
        lifecycle: &source.lifecycle,
        name: &name,
        request_id: body.request_id.as_deref(),
        parameters: &parameters,
        input: &input,
        context: &source.context,
        metadata: &metadata,
        config_overrides: &source.config_overrides,
        instruction_config: &source.instruction_config,
        task_timeout_minutes,
        token_budget: source.token_budget,
        cost_cap_usd: source.cost_cap_usd,
        max_duration_minutes: source.max_duration_minutes,
        live_visibility_mode: mode.or(source.live_visibility_mode.as_deref()),
        root: source.root_workflow_id.into(),
        previous: Some(id),
        // Its parent was told of the end of the one before.
        parent: None,
        attempt_number,
        redrive_reason: body.reason.as_deref(),
    };
    store::insert(write.conn(), tenant, &run).await?;
    make_parts(write, new, &definition).await?;
    let inherited_steps = if inherits {
        let (needs, steps) = edges(&definition);
        store::inherit_steps(write.conn(), tenant, id, new, (&needs, &steps)).await?
    } else {
        0
    };
    let data = json!({
        "name": name, "playbook_id": source.playbook_id, "workspace_id": source.workspace_id,
        "source_workflow_id": id, "attempt_number": attempt_number,
    });
    tell(write, new, "workflow.created", data).await?;
    let data =
        json!({ "redriven_by": new, "attempt_number": attempt_number, "reason": body.reason });
    tell(write, id, "workflow.redriven", data).await?;
    begin(write, new, &definition, json!({})).await?;
    Ok(Redriven {
        source_workflow_id: id,
        attempt_number,
        workflow: read::detail(write.conn(), tenant, new, None).await?,
        redrive_lineage: RedriveLineage {
            attempt_group_id: source.root_workflow_id.into(),
            attempt_number,
            source_workflow_id: id,
            redrive_reason: body.reason,
            inherited_steps,
        },
    })
}

/// What is taken over. Outputs that came of other parameters are not.
fn policy_of(body: &RedriveWorkflow) -> Result<InheritancePolicy, Error> {
    match (body.inheritance_policy, &body.parameters) {
        (Some(InheritancePolicy::InheritAll), Some(_)) => Err(Error::field(
            "inheritance_policy",
            "with other parameters nothing can be inherited: leave parameters out, or choose inherit_none",
        )),
        (Some(policy), _) => Ok(policy),
        (None, Some(_)) => Ok(InheritancePolicy::InheritNone),
        (None, None) => Ok(InheritancePolicy::InheritAll),
    }
}

/// Who needs whom, as two columns: what is needed, and by which step.
fn edges(definition: &Definition) -> (Vec<String>, Vec<String>) {
    let steps = definition.graph().map(|graph| graph.steps.values());
    steps
        .into_iter()
        .flatten()
        .flat_map(|step| {
            step.needs
                .iter()
                .map(|need| (need.clone(), step.id.clone()))
        })
        .unzip()
}

fn metadata_of(source: &str, body: &RedriveWorkflow) -> Result<String, Error> {
    let mut members: serde_json::Map<String, Value> = serde_json::from_str(source)?;
    for (name, text) in [
        ("redrive_summary", &body.summary),
        ("steering_instruction", &body.steering_instruction),
    ] {
        if let Some(text) = text {
            members.insert(name.to_owned(), text.clone().into());
        }
    }
    Ok(Value::Object(members).to_string())
}
