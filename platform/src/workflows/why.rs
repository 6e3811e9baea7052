//! Why a run or a work item does not go on: what stands in its way now, and what to do about it.

use protocol::{
    ActivationInTheWay, ActivationState, RunWhy, RunWhyReason, StepInTheWay, TaskInTheWay,
    TenantId, WhyReason, WorkItem, WorkItemId, WorkflowId, WorkflowState,
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::store;
use crate::error::Error;
use crate::{activations, tasks};

/// Explains a run, or one work item of it.
///
/// # Errors
/// 404.
pub(super) async fn explain(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkflowId,
    item: Option<WorkItemId>,
    workspaces: Option<&[Uuid]>,
) -> Result<RunWhy, Error> {
    let run = store::read(db, tenant, id, workspaces).await?;
    let mut why = RunWhy {
        workflow_id: id,
        work_item_id: item,
        state: run.state,
        reason: RunWhyReason::Final,
        message: String::new(),
        steps: Vec::new(),
        tasks: Vec::new(),
        activation: None,
    };
    let gates = run.work_item_summary.awaiting_gate_count;
    let part = item.map(WorkItemId::uuid);
    let what = if item.is_some() { "work item" } else { "run" };
    match run.state {
        WorkflowState::Completed => why.message = "the run has completed".to_owned(),
        WorkflowState::Cancelled => {
            why.message = "the run was cancelled; a redrive tries it again".to_owned();
            why.tasks = tasks_in_the_way(db, tenant, id, part).await?;
            if !why.tasks.is_empty() {
                why.message = "the run was cancelled; workers still hold tasks of it, and have until their deadline to end them".to_owned();
            }
        }
        WorkflowState::Failed => {
            why.reason = RunWhyReason::StepFailed;
            why.steps = steps(db, tenant, id, part, &["failed"]).await?;
            let reason = run.error.map(|error| error.message).unwrap_or_default();
            why.message = format!(
                "the run has failed: {reason}; retry the task that failed, or redrive the run: it goes on from there"
            );
        }
        WorkflowState::Paused => {
            why.reason = RunWhyReason::Paused;
            why.tasks = tasks_in_the_way(db, tenant, id, part).await?;
            why.message =
                "the run is paused; POST /api/v1/workflows/{workflow_id}/resume goes on with it"
                    .to_owned();
        }
        WorkflowState::Pending | WorkflowState::Active => {
            why.tasks = tasks_in_the_way(db, tenant, id, part).await?;
            if item.is_none() {
                why.activation = activation_in_the_way(db, tenant, id).await?;
            }
            if explain_orchestrator(&mut why) {
                return Ok(why);
            }
            let asking = steps(db, tenant, id, part, &["waiting"]).await?;
            let goes_on = why.tasks.iter().any(|task| {
                matches!(
                    task.reason,
                    WhyReason::LeasedUntil | WhyReason::WaitingForClaim
                )
            });
            let needs_person = !asking.is_empty()
                || (item.is_none() && gates > 0)
                || why
                    .tasks
                    .iter()
                    .any(|task| task.reason == WhyReason::WaitingForPerson);
            if goes_on {
                why.reason = RunWhyReason::Running;
                why.message = format!(
                    "the {what} goes on: tasks of it are held, or go to the next worker that claims"
                );
            } else if needs_person {
                why.reason = RunWhyReason::WaitingForPerson;
                why.steps = asking;
                why.message = format!(
                    "the {what} waits for a person; GET /api/v1/approvals lists what is asked"
                );
            } else if let Some(task) = why.tasks.first() {
                why.reason = RunWhyReason::WaitingForTasks;
                why.message = format!(
                    "all open tasks of the {what} wait; the first one: {}",
                    task.message
                );
            } else {
                let failed = steps(db, tenant, id, part, &["failed"]).await?;
                let pending = steps(db, tenant, id, part, &["pending"]).await?;
                let children = match item {
                    None => store::open(db, tenant, id, None).await?.children,
                    Some(_) => 0,
                };
                if children > 0 {
                    why.reason = RunWhyReason::WaitingForChildren;
                    why.message = format!(
                        "it waits for {children} runs that it has launched: GET /api/v1/workflows?parent_workflow_id={id}"
                    );
                } else if !failed.is_empty() {
                    why.reason = RunWhyReason::StepFailed;
                    why.message = "a step of it has failed; retry its task".to_owned();
                    why.steps = failed;
                } else if !pending.is_empty() {
                    why.reason = RunWhyReason::BlockedBy;
                    why.message = "it waits for steps that have not ended".to_owned();
                    why.steps = pending;
                } else if item.is_none() && activations::has_queued(db, tenant, id).await? {
                    why.reason = RunWhyReason::WaitingForOrchestrator;
                    why.message =
                        "what has happened in it is told to its orchestrator within seconds"
                            .to_owned();
                } else {
                    why.reason = RunWhyReason::NothingOpen;
                    why.message =
                        format!("nothing of the {what} is open: make work items and tasks in it");
                }
            }
        }
    }
    Ok(why)
}

/// What the orchestrator of a run was woken for, where that is not done with.
async fn activation_in_the_way(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<Option<ActivationInTheWay>, Error> {
    let Some(batch) = activations::open_batch(db, tenant, run).await? else {
        return Ok(None);
    };
    let state = match batch.state.as_str() {
        "processing" => ActivationState::Processing,
        "stuck" => ActivationState::Failed,
        _ => ActivationState::Queued,
    };
    let next_try_at = batch.look_at.filter(|_| state == ActivationState::Queued);
    Ok(Some(ActivationInTheWay {
        activation_id: batch.id.into(),
        state,
        task_id: batch.task_id.into(),
        dispatch_attempt: batch.dispatch_attempt,
        failure_count: batch.failures,
        next_try_at: next_try_at.map(Into::into),
        error: batch
            .error
            .as_deref()
            .map(serde_json::from_str)
            .transpose()?,
    }))
}

/// Whether it is the orchestrator that a run waits for.
fn explain_orchestrator(why: &mut RunWhy) -> bool {
    let Some(activation) = &why.activation else {
        return false;
    };
    let error = activation.error.as_ref();
    let error = error
        .map(|error| error.message.as_str())
        .unwrap_or_default();
    let failures = activation.failure_count;
    (why.reason, why.message) = match activation.state {
        ActivationState::Failed => (
            RunWhyReason::OrchestratorFailed,
            format!(
                "the orchestrator has failed {failures} times in a row, and a person is needed; the last error: {error}; when it is mended, retry its task, or wake it: POST /api/v1/workflows/{{workflow_id}}/activations"
            ),
        ),
        ActivationState::Queued => (
            RunWhyReason::WaitingForOrchestrator,
            format!(
                "the orchestrator has failed, and is tried again after a pause; the error: {error}"
            ),
        ),
        ActivationState::Processing | ActivationState::Completed => return false,
    };
    true
}

/// Explains a work item.
///
/// # Errors
/// 404.
pub(crate) async fn explain_item(
    db: &mut PgConnection,
    tenant: TenantId,
    item: &WorkItem,
) -> Result<RunWhy, Error> {
    let mut why = explain(db, tenant, item.workflow_id, Some(item.id), None).await?;
    if item.completed_at.is_some() || item.cancel_requested_at.is_some() {
        why.reason = RunWhyReason::Final;
        why.message = match item.completed_at {
            Some(_) => "the work item has completed".to_owned(),
            None => "the work item was called off".to_owned(),
        };
    } else if item.pause_requested_at.is_some() {
        why.reason = RunWhyReason::Paused;
        why.message =
            "the work item is paused; POST …/work-items/{work_item_id}/resume goes on with it"
                .to_owned();
    }
    Ok(why)
}

async fn steps(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    item: Option<Uuid>,
    states: &[&str],
) -> Result<Vec<StepInTheWay>, Error> {
    store::steps_in(db, tenant, run, item, states)
        .await?
        .into_iter()
        .map(|step| {
            Ok(StepInTheWay {
                step_id: step.step_id,
                state: step.state.parse().map_err(anyhow::Error::from)?,
                message: step.message,
                work_item_id: step.work_item_id.map(Into::into),
            })
        })
        .collect()
}

async fn tasks_in_the_way(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    item: Option<Uuid>,
) -> Result<Vec<TaskInTheWay>, Error> {
    let mut found = Vec::new();
    for task in store::open_tasks(db, tenant, run, item).await? {
        let (title, why) = tasks::explain(db, tenant, task.into()).await?;
        found.push(TaskInTheWay {
            task_id: why.task_id,
            title,
            state: why.state,
            reason: why.reason,
            message: why.message,
        });
    }
    Ok(found)
}
