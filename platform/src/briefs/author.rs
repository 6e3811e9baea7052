//! Who tells, and of which work.

use protocol::{BriefSource, RecordBrief, RecordUpdate, Task, TaskId, WorkItemId, WorkflowId};
use uuid::Uuid;

use crate::activations;
use crate::error::Error;
use crate::http::{Write, check_length};
use crate::{tasks, work_items, workflows};

/// What a request says about its author.
pub(super) struct Claims {
    context: Option<Uuid>,
    task: Option<TaskId>,
    attempt: Option<i32>,
    run: Option<WorkflowId>,
    item: Option<WorkItemId>,
    source: Option<BriefSource>,
    role: Option<String>,
    turns: Option<i32>,
}

impl From<&RecordBrief> for Claims {
    fn from(brief: &RecordBrief) -> Self {
        Self {
            context: brief.execution_context_id,
            task: brief.task_id,
            attempt: brief.attempt,
            run: brief.workflow_id,
            item: brief.work_item_id,
            source: brief.source_kind,
            role: brief.source_role_name.clone(),
            turns: brief.llm_turn_count,
        }
    }
}

impl From<&RecordUpdate> for Claims {
    fn from(update: &RecordUpdate) -> Self {
        Self {
            context: update.execution_context_id,
            task: update.task_id,
            attempt: update.attempt,
            run: update.workflow_id,
            item: update.work_item_id,
            source: update.source_kind,
            role: update.source_role_name.clone(),
            turns: update.llm_turn_count,
        }
    }
}

/// Who tells, and of which work.
pub(super) struct Author {
    /// The task, or the activation.
    pub(super) context: Uuid,
    pub(super) task: TaskId,
    pub(super) item: Option<WorkItemId>,
    pub(super) source: BriefSource,
    pub(super) role: Option<String>,
    pub(super) turns: Option<i32>,
}

/// Locks a run, and finds out who tells something of it.
///
/// # Errors
/// 404; 403 for those who have not worked on what they tell of; 409 `lease_lost`; 422.
pub(super) async fn author_of(
    write: &mut Write,
    run: WorkflowId,
    claims: Claims,
) -> Result<Author, Error> {
    let tenant = write.caller().tenant();
    let workspaces = write.caller().workspace_filter();
    workflows::lock_open_run(write.conn(), tenant, run, workspaces.as_deref()).await?;
    if claims.run.is_some_and(|named| named != run) {
        let message = "is another run than that of the path";
        return Err(Error::field("workflow_id", message));
    }
    let Some(context) = claims.context.or(claims.task.map(TaskId::uuid)) else {
        let message = "is missing: name the task that you work on, or its activation";
        return Err(Error::field("execution_context_id", message));
    };
    let woken = activations::task_of_batch(write.conn(), tenant, run, context).await?;
    let id = woken.unwrap_or(context.into());
    if claims.task.is_some_and(|named| named != id) {
        let message = "is another task than that of execution_context_id";
        return Err(Error::field("task_id", message));
    }
    // Of another run nothing is locked.
    if tasks::read(write, id).await?.workflow_id != Some(run) {
        return Err(Error::not_found("task of this run", id));
    }
    let task = tasks::must_have_worked_on(write, id, claims.attempt).await?;
    let source = source_of(&task);
    if claims.source.is_some_and(|named| named != source) {
        let message = format!("is {source} for task {id}");
        return Err(Error::field("source_kind", message));
    }
    if let Some(role) = &claims.role {
        check_length("source_role_name", role, 0..=120)?;
    }
    if claims.turns.is_some_and(|turns| turns < 0) {
        return Err(Error::field("llm_turn_count", "must be at least 0"));
    }
    let item = match claims.item {
        None => task.work_item_id,
        Some(item) => Some(work_items::read(write.conn(), tenant, run, item).await?.id),
    };
    Ok(Author {
        context,
        task: id,
        item,
        source,
        role: claims.role.or(task.role),
        turns: claims.turns,
    })
}

fn source_of(task: &Task) -> BriefSource {
    if task.is_orchestrator_task {
        BriefSource::Orchestrator
    } else {
        BriefSource::Specialist
    }
}
