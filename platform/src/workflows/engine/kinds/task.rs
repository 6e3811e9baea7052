//! `task`: one task. The step puts out what the task puts out.

use protocol::{JsonObject, TaskId, TaskKind, TaskType};
use serde_json::Value;

use super::super::hand_out::NewMember;
use super::super::start::{Place, cut};
use super::Started;
use crate::graph::{Budget, Scope, TaskStep, Tree};
use crate::queue::{self, NewTask};
use crate::tasks;

/// Makes the task.
pub(super) fn start(
    place: &Place<'_>,
    step: &TaskStep,
    title: &str,
    scope: &Scope<'_>,
) -> Result<Started, String> {
    let task = make(place, step, title, scope)?;
    let member = NewMember {
        run: place.run.id,
        step: place.step.id.clone(),
        position: 0,
        item: None,
        task: Some(task.id.uuid()),
        state: "open",
        error: None,
    };
    Ok(Started::Tasks {
        members: vec![(member, Some(task))],
        max_parallel: 1,
    })
}

/// The task of a step as it is stored; or which of its templates failed, and why.
pub(super) fn make(
    place: &Place<'_>,
    step: &TaskStep,
    title: &str,
    scope: &Scope<'_>,
) -> Result<NewTask, String> {
    // One budget for all of them: together they are no larger than a request may be.
    let mut budget = Budget::default();
    let at = |field: &str, fault: crate::graph::Fault| {
        format!("steps.{}.{field}: {fault}", place.step.id)
    };
    let title = match &step.title {
        Some(template) => {
            let text = template.render_text(scope, &mut budget);
            cut(&text.map_err(|fault| at("task_title", fault))?, title)
        }
        None => title.to_owned(),
    };
    let description = match &step.description {
        Some(template) => {
            let text = template.render_text(scope, &mut budget);
            Some(text.map_err(|fault| at("description", fault))?)
        }
        None => None,
    };
    let mut object = |field: &str, tree: &Option<Tree>| match tree {
        Some(tree) => match tree.render(scope, &mut budget) {
            Ok(value) if has_nul(&value) => Err(format!(
                "steps.{}.{field}: a text contains the character NUL",
                place.step.id
            )),
            Ok(value) => Ok(value.to_string()),
            Err(fault) => Err(at(field, fault)),
        },
        None => Ok("{}".to_owned()),
    };
    let input = object("input", &step.input)?;
    let context = object("context", &step.context)?;
    let has_output_schema = step.role_config.members().contains_key("output_schema");
    let retry_policy = step
        .retry_policy
        .as_ref()
        .map(serde_json::to_string)
        .transpose()
        .map_err(|error| error.to_string())?;
    let kind = match step.task_type {
        TaskType::Assessment => TaskKind::Assessment,
        _ => TaskKind::Delivery,
    };
    Ok(NewTask {
        id: TaskId::new(),
        title,
        description: description.map(|text| text.replace('\0', " ").chars().take(5000).collect()),
        task_type: step.task_type.as_str(),
        task_kind: kind.as_str(),
        lane: queue::lane_of(step.role.as_deref(), false, None),
        role: step.role.clone(),
        stage_name: place.step.stage.clone(),
        priority: step.priority.rank(),
        workspace_id: Some(place.run.workspace_id),
        timeout_minutes: step
            .timeout_minutes
            .unwrap_or(place.run.task_timeout_minutes),
        max_abandons: step.max_abandons.unwrap_or(tasks::ABANDONS_MAX),
        max_reworks: tasks::REWORKS_MAX,
        has_output_schema,
        retry_policy,
        input,
        context,
        role_config: step.role_config.text().to_owned(),
        environment: step.environment.as_ref().map_or_else(
            || "{}".to_owned(),
            |object: &JsonObject| object.text().to_owned(),
        ),
        workflow_id: Some(place.run.id),
        work_item_id: Some(place.item),
        ..NewTask::by_system()
    })
}

/// Whether a text in it contains what the database cannot store.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, member)| name.contains('\0') || has_nul(member)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
