//! Who may steer a run: whoever holds the task that woke its orchestrator, with the attempt that counts.

use protocol::{ActivationId, ErrorCode, ReasonCode, Task, TaskId, WorkflowId};
use serde::Deserialize;
use sqlx::PgConnection;
use utoipa::IntoParams;

use crate::activations;
use crate::app::App;
use crate::error::{Error, Refused};
use crate::http::{Caller, Command, Write};
use crate::tasks;

/// Under which attempt the orchestrator acts.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct AttemptQuery {
    /// The attempt of the orchestrator's task, as the claim returned it. A holder that registered with a
    /// `protocol_version` must name it.
    attempt: Option<i32>,
}

/// The orchestrator of a run, at work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orchestrator {
    /// The task that it holds.
    pub(super) task: TaskId,
    /// Its run, whose row is locked.
    pub(super) run: WorkflowId,
    /// What woke it.
    pub(super) activation: ActivationId,
}

/// Begins a request under an orchestrator's task, or refuses it.
///
/// # Errors
/// Those of [`must_steer`]; the earlier answer to a repeated request.
pub(super) async fn begin<B>(
    app: &App,
    task: TaskId,
    query: &AttemptQuery,
    command: Command<B>,
) -> Result<(Write, Orchestrator, B), Error> {
    let (mut write, body) = command.begin(app).await?;
    let orchestrator = must_steer(&mut write, task, query.attempt).await?;
    Ok((write, orchestrator, body))
}

/// Refuses whoever is not the orchestrator of the run at present. What follows in this transaction does not
/// wake the orchestrator: it does it itself.
async fn must_steer(
    write: &mut Write,
    id: TaskId,
    attempt: Option<i32>,
) -> Result<Orchestrator, Error> {
    let tenant = write.caller().tenant();
    let held = tasks::must_hold(write, id, attempt).await?;
    let task = tasks::read(write, id).await?;
    let Some(run) = task.workflow_id.filter(|_| task.is_orchestrator_task) else {
        return Err(Error::invalid(format!(
            "task {id} is not the task of an orchestrator: it steers nothing"
        )));
    };
    let batch = activations::batch_of_task(write.conn(), tenant, run, id).await?;
    let Some(batch) = batch else {
        return Err(Refused::new(
            ErrorCode::Conflict,
            format!("task {id} does not steer workflow {run} any more"),
        )
        .reason(ReasonCode::Superseded)
        .hint("stop working on it: what it asks for changes nothing")
        .current_attempt(held.attempt)
        .into());
    };
    write.tx().steer(run);
    Ok(Orchestrator {
        task: id,
        run,
        activation: batch.id.into(),
    })
}

/// A task of the run that the orchestrator steers.
///
/// # Errors
/// 404 for tasks of other runs, and for those of orchestrators.
pub(super) async fn managed(
    write: &mut Write,
    orchestrator: &Orchestrator,
    id: TaskId,
) -> Result<Task, Error> {
    let task = tasks::read(write, id).await?;
    if task.workflow_id != Some(orchestrator.run) || task.is_orchestrator_task {
        return Err(Error::not_found("task of this run", id));
    }
    Ok(task)
}

/// The run that the task of an orchestrator, or another task, belongs to. For reads, which need no lease.
///
/// # Errors
/// 404; 400 for a task without a run.
pub(super) async fn run_of(
    db: &mut PgConnection,
    caller: &Caller,
    task: TaskId,
) -> Result<WorkflowId, Error> {
    let workspaces = caller.workspace_filter();
    let own = tasks::record(db, caller.tenant(), task, workspaces.as_deref()).await?;
    own.workflow_id
        .ok_or_else(|| Error::invalid(format!("task {task} belongs to no run")))
}
