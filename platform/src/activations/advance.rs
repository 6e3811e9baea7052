//! The next step of a run's orchestration: from how things are, and from nothing else.

use protocol::{
    Activation, ActivationId, Priority, TaskError, TaskId, TaskKind, TaskType, TenantId, WorkflowId,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::store::{self, Head};
use super::wake::{event, tell};
use crate::db::{Note, Tx};
use crate::error::Error;
use crate::http::Write;
use crate::queue::{self, NewTask};
use crate::{tasks, workflows};

/// Tasks of one batch that may fail in a row before a person is needed.
pub(crate) const TRIES: i32 = 5;
/// The pause after the first failure; it doubles with each further one.
const FIRST_PAUSE_SECONDS: f64 = 5.0;
/// After this long an orchestrator is said to take long, and the loop looks whether it is still there.
const STALE_AFTER_SECONDS: f64 = 900.0;
/// Events that one batch tells at most; the others make the next one.
const EVENTS_MAX: i64 = 1_000;
/// And of so many bytes, as large as a body may be; one event at least.
const EVENTS_BYTES_MAX: i64 = 1024 * 1024;
/// Steps that follow from each other: the end of a batch, and the beginning of the next.
const STEPS_MAX: usize = 4;

/// Takes the next steps that are possible in a run, whose row is locked: settles what became of the
/// orchestrator's task, and hands the orchestrator what is due.
///
/// Answers with the task that was made for the orchestrator of a run which has ended meanwhile, where
/// nobody holds it: the loop calls it off.
///
/// # Errors
/// Those of the database.
pub(crate) async fn advance(
    tx: &mut Tx,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<Option<TaskId>, Error> {
    for _ in 0..STEPS_MAX {
        let Some(head) = store::head(tx.conn(), tenant, run).await? else {
            return Ok(None);
        };
        match next(&head) {
            Step::Rest => return Ok(None),
            Step::CallOff(task) => return Ok(Some(task)),
            Step::Ignore => {
                let why = format!("the run is {}", head.state);
                store::ignore_queued(tx.conn(), tenant, run, &why).await?;
            }
            Step::Close(batch, summary) => close(tx, tenant, run, batch, summary).await?,
            Step::Reopen(batch) => {
                store::reopen(tx.conn(), tenant, batch, STALE_AFTER_SECONDS).await?;
            }
            Step::Fail(batch) => fail(tx, tenant, run, batch, &head).await?,
            Step::Dispatch => dispatch(tx, tenant, run, &head).await?,
        }
    }
    Ok(None)
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// Nothing is to be done.
    Rest,
    /// The run has ended, and nobody holds the task of its orchestrator.
    CallOff(TaskId),
    /// The run has ended, and what is queued wakes nobody.
    Ignore,
    /// The batch is done with.
    Close(Uuid, Option<&'static str>),
    /// Somebody has opened the task of the batch again.
    Reopen(Uuid),
    /// The task of the batch has failed.
    Fail(Uuid),
    /// The orchestrator is given what is queued.
    Dispatch,
}

/// What the next step is.
fn next(head: &Head) -> Step {
    if let Some(batch) = &head.batch {
        let is_processing = batch.state == "processing";
        match (is_processing, batch.task_state.as_deref()) {
            (true, Some("completed")) => return Step::Close(batch.id, None),
            (true, Some("failed" | "cancelled") | None) if head.is_ended => {
                return Step::Close(batch.id, Some("the run has ended"));
            }
            (true, Some("failed" | "cancelled") | None) => return Step::Fail(batch.id),
            (true, Some("ready" | "pending")) if head.is_ended && !head.has_queued => {
                return Step::CallOff(batch.task.into());
            }
            (true, Some(_)) => {}
            (false, _) if head.is_ended => return Step::Close(batch.id, Some("the run has ended")),
            (false, Some("completed" | "failed" | "cancelled") | None) => {
                if batch.state == "retrying" && batch.is_due && !head.is_paused {
                    return Step::Dispatch;
                }
            }
            (false, Some(_)) => return Step::Reopen(batch.id),
        }
    }
    match head {
        Head {
            is_ended: true,
            has_queued: true,
            ..
        } => Step::Ignore,
        Head { is_ended: true, .. } => Step::Rest,
        Head {
            batch: None,
            is_paused: false,
            has_due: true,
            ..
        } => Step::Dispatch,
        _ => Step::Rest,
    }
}

/// A batch is done with.
async fn close(
    tx: &mut Tx,
    tenant: TenantId,
    run: WorkflowId,
    batch: Uuid,
    summary: Option<&str>,
) -> Result<(), Error> {
    store::close(tx.conn(), tenant, batch, summary).await?;
    let data = json!({ "activation_id": batch, "summary": summary });
    let told = event(run, "workflow.activation_completed", data);
    tell(tx, tenant, &[(run, told)]).await
}

/// The task of a batch failed: another one comes after a pause, or a person has to step in.
async fn fail(
    tx: &mut Tx,
    tenant: TenantId,
    run: WorkflowId,
    batch: Uuid,
    head: &Head,
) -> Result<(), Error> {
    let known = head.batch.as_ref();
    let failures = known.map_or(0, |batch| batch.failures) + 1;
    let error = known.and_then(|batch| batch.task_error.clone());
    let error = match error {
        Some(error) => error,
        None => serde_json::to_string(&TaskError {
            category: Some("cancelled".to_owned()),
            message: "the task of the orchestrator was called off or deleted".to_owned(),
            recoverable: None,
            details: None,
        })?,
    };
    let pause = pause_after(failures, &serde_json::from_str(&error)?);
    store::fail(tx.conn(), tenant, batch, failures, pause, &error).await?;
    let error: Value = serde_json::from_str(&error)?;
    let told = match pause {
        Some(seconds) => {
            tx.note(Note::DueSooner {
                name: "dispatch_activations".to_owned(),
            });
            let data = json!({
                "activation_id": batch, "failures": failures, "retry_in_seconds": seconds, "error": error,
            });
            event(run, "workflow.activation_requeued", data)
        }
        None => {
            tracing::warn!(workflow.id = %run, "the orchestrator of run {run} has failed {failures} times; a person is needed");
            let data = json!({ "activation_id": batch, "failures": failures, "error": error });
            event(run, "workflow.activation_failed", data)
        }
    };
    tell(tx, tenant, &[(run, told)]).await
}

/// The pause before an orchestrator is tried again, or none when a person has to step in first.
fn pause_after(failures: i32, error: &TaskError) -> Option<f64> {
    // Holders that fell silent say nothing about what the orchestrator would have done.
    let is_hopeless =
        error.recoverable == Some(false) && error.category.as_deref() != Some("infrastructure");
    (failures < TRIES && !is_hopeless)
        .then(|| FIRST_PAUSE_SECONDS * 2f64.powi(failures.saturating_sub(1)))
}

/// Hands the orchestrator everything that is queued, as one task.
async fn dispatch(
    tx: &mut Tx,
    tenant: TenantId,
    run: WorkflowId,
    head: &Head,
) -> Result<(), Error> {
    let id = match &head.batch {
        Some(batch) => batch.id,
        None => store::first_queued(tx.conn(), tenant, run).await?,
    };
    let most = (EVENTS_MAX, EVENTS_BYTES_MAX);
    store::take_in(tx.conn(), tenant, run, id, most).await?;
    let events = store::events_of(tx.conn(), tenant, &[id]).await?;
    let told: Vec<_> = events.into_iter().map(|(_, event)| event).collect();
    let is_heartbeat = told.iter().all(|event| event.event_type == "heartbeat");
    let reason = if is_heartbeat {
        "heartbeat"
    } else {
        "queued_events"
    };
    let facts = store::facts(tx.conn(), tenant, run).await?;
    let attempt = head
        .batch
        .as_ref()
        .map_or(0, |batch| batch.dispatch_attempt)
        + 1;
    let token = Uuid::new_v4();
    let plan = workflows::orchestration_of(tx.conn(), tenant, facts.playbook_id.into()).await?;
    let task = NewTask {
        request_holder: id,
        request_id: Some(format!("activation:{id}:dispatch:{attempt}")),
        title: format!("Orchestrate {}", facts.name).chars().take(500).collect(),
        task_type: TaskType::Orchestration.as_str(),
        task_kind: TaskKind::Orchestrator.as_str(),
        role: Some("orchestrator".to_owned()),
        priority: Priority::High.rank(),
        workflow_id: Some(run.uuid()),
        workspace_id: Some(facts.workspace_id),
        is_orchestrator_task: true,
        lane: queue::lane_of(None, true, None),
        timeout_minutes: facts.task_timeout_minutes,
        max_abandons: tasks::ABANDONS_MAX,
        max_reworks: tasks::REWORKS_MAX,
        settings: json!({
            "execution_backend": "runtime_only",
            "max_iterations": plan.max_iterations, "llm_max_retries": plan.llm_max_retries,
        })
        .to_string(),
        input: json!({
            "activation_id": id, "activation_reason": reason, "activation_dispatch_attempt": attempt,
            "activation_dispatch_token": token, "lifecycle": facts.lifecycle,
            "current_stage": facts.current_stage, "active_stages": facts.active_stages.unwrap_or_default(),
            "parameters": parsed(&facts.parameters)?, "events": told,
        })
        .to_string(),
        context: json!({
            "workflow": { "id": run, "name": facts.name, "workspace_id": facts.workspace_id },
            "process_instructions": plan.instructions, "roles": plan.roles,
            "max_rework_iterations": plan.max_rework_iterations,
            "orchestration_state": parsed(&facts.orchestration_state)?,
        })
        .to_string(),
        role_config: json!({ "tools": plan.tools }).to_string(),
        ..NewTask::by_system()
    };
    let row = store::Dispatch {
        batch: id,
        reason,
        attempt,
        token,
        task: task.id.uuid(),
        look_after_seconds: STALE_AFTER_SECONDS,
    };
    store::dispatch(tx.conn(), tenant, run, &row).await?;
    queue::place_in_run(tx, tenant, &[&task]).await?;
    tasks::bind_to_activation(tx.conn(), tenant, task.id, id.into()).await?;
    let data = json!({
        "activation_id": id, "dispatch_attempt": attempt, "task_id": task.id, "event_count": told.len(),
    });
    let started = event(run, "workflow.activation_started", data);
    tell(tx, tenant, &[(run, started)]).await
}

fn parsed(text: &str) -> Result<Value, Error> {
    Ok(serde_json::from_str(text)?)
}

/// A person steps in: an orchestrator that has failed too often is tried again.
///
/// # Errors
/// Those of the database.
pub(crate) async fn step_in(tx: &mut Tx, tenant: TenantId, run: WorkflowId) -> Result<(), Error> {
    store::try_again(tx.conn(), tenant, run).await
}

/// The orchestrator says that it is done with its activation.
///
/// # Errors
/// Those of the database.
pub(crate) async fn finish(
    write: &mut Write,
    run: WorkflowId,
    activation: ActivationId,
) -> Result<Activation, Error> {
    let tenant = write.caller().tenant();
    store::note_finished(write.conn(), tenant, activation.uuid()).await?;
    let data = json!({ "activation_id": activation });
    let told = event(run, "workflow.activation_finished", data);
    tell(write.tx(), tenant, &[(run, told)]).await?;
    store::find(write.conn(), tenant, run, activation).await
}

/// A run has ended: what is left of its orchestration is cleared away by the loop.
///
/// # Errors
/// Those of the database.
pub(crate) async fn run_ended(tx: &mut Tx, tenant: TenantId, run: WorkflowId) -> Result<(), Error> {
    if store::look_now(tx.conn(), tenant, run).await? {
        tx.note(Note::DueSooner {
            name: "dispatch_activations".to_owned(),
        });
    }
    Ok(())
}

/// The orchestrator of a run takes long: tells so, once for each task.
pub(super) async fn notice_stale(
    tx: &mut Tx,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<bool, Error> {
    let Some(batch) = store::notice_stale(tx.conn(), tenant, run, STALE_AFTER_SECONDS).await?
    else {
        return Ok(false);
    };
    let batch = ActivationId::of(batch);
    let data = json!({ "activation_id": batch, "stale_after_seconds": STALE_AFTER_SECONDS });
    let told = event(run, "workflow.activation_stale_detected", data);
    tell(tx, tenant, &[(run, told)]).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(category: &str, recoverable: Option<bool>) -> TaskError {
        TaskError {
            category: Some(category.to_owned()),
            message: "x".to_owned(),
            recoverable,
            details: None,
        }
    }

    #[test]
    fn pauses_double_until_a_person_is_needed() {
        let pauses: Vec<_> = (1..=5)
            .map(|tries| pause_after(tries, &error("x", None)))
            .collect();
        assert_eq!(
            pauses,
            [Some(5.0), Some(10.0), Some(20.0), Some(40.0), None]
        );
    }

    #[test]
    fn an_orchestrator_that_says_it_is_hopeless_is_not_tried_again_but_a_silent_one_is() {
        assert_eq!(pause_after(1, &error("x", Some(false))), None);
        assert_eq!(
            pause_after(1, &error("infrastructure", Some(false))),
            Some(5.0)
        );
    }
}
