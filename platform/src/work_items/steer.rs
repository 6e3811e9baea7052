//! Pausing, resuming and calling off a work item, and trying its task again.

use protocol::{
    ErrorCode, ReasonCode, RetryTask, SkipTask, Task, TaskId, WorkItem, WorkItemId, WorkflowId,
};
use serde_json::json;

use super::create::{go_on, lock, lock_open, tell};
use super::store::{self, Wish};
use crate::activations::Wake;
use crate::error::{Error, Refused};
use crate::http::Write;
use crate::queue::{self, Run};
use crate::workflows::OpenRun;
use crate::{tasks, workflows};

/// Begins no task of a work item any more. What runs goes on.
pub(super) async fn pause_work_item(
    write: &mut Write,
    run: WorkflowId,
    id: WorkItemId,
) -> Result<WorkItem, Error> {
    let tenant = write.caller().tenant();
    let open = lock_open(write, run).await?;
    let item = store::read(write.conn(), tenant, run, id).await?;
    must_be_open(&item)?;
    if item.pause_requested_at.is_some() {
        return Ok(item);
    }
    store::wish(write.conn(), tenant, id, Wish::Pause).await?;
    queue::pause(write.tx(), tenant, part(run, id)).await?;
    tell(write, run, id, "work_item.paused", json!({})).await?;
    finish(write, &open, &item, "work_item.paused").await
}

/// Goes on with a work item.
pub(super) async fn resume_work_item(
    write: &mut Write,
    run: WorkflowId,
    id: WorkItemId,
) -> Result<WorkItem, Error> {
    let tenant = write.caller().tenant();
    let open = lock(write, run).await?;
    let item = store::read(write.conn(), tenant, run, id).await?;
    must_be_open(&item)?;
    if item.pause_requested_at.is_none() {
        return Ok(item);
    }
    store::wish(write.conn(), tenant, id, Wish::Resume).await?;
    queue::resume(write.tx(), tenant, part(run, id)).await?;
    tell(write, run, id, "work_item.resumed", json!({})).await?;
    finish(write, &open, &item, "work_item.resumed").await
}

/// Calls a work item off, with its tasks. The step that made it fails with them.
pub(super) async fn cancel_work_item(
    write: &mut Write,
    run: WorkflowId,
    id: WorkItemId,
    grace_seconds: u32,
) -> Result<WorkItem, Error> {
    let tenant = write.caller().tenant();
    let open = lock(write, run).await?;
    let item = store::read(write.conn(), tenant, run, id).await?;
    if item.cancel_requested_at.is_some() {
        return Ok(item);
    }
    must_be_open(&item)?;
    store::wish(write.conn(), tenant, id, Wish::Cancel).await?;
    tell(write, run, id, "work_item.cancelled", json!({})).await?;
    workflows::cancel_step_of(write.tx(), tenant, run, id).await?;
    queue::cancel(write.tx(), tenant, part(run, id), grace_seconds).await?;
    finish(write, &open, &item, "work_item.cancelled").await
}

/// A work item was changed: its run goes on.
pub(super) async fn finish(
    write: &mut Write,
    open: &OpenRun,
    item: &WorkItem,
    event_type: &str,
) -> Result<WorkItem, Error> {
    let tenant = write.caller().tenant();
    let changed = Wake::new(
        event_type,
        "a work item was changed",
        json!({ "title": item.title }),
    );
    let changed = changed
        .of_item(item.id.uuid())
        .of_stage(item.stage_name.as_deref());
    go_on(write, open, changed).await?;
    store::read(write.conn(), tenant, item.workflow_id, item.id).await
}

/// Tries the first task of a work item again that failed, else the first one that asked for help.
pub(super) async fn retry_work_item(
    write: &mut Write,
    run: WorkflowId,
    id: WorkItemId,
    body: RetryTask,
) -> Result<Task, Error> {
    let task = first_in_need(write, run, id).await?;
    tasks::retry_task(write, task, body).await
}

/// Passes over the first task of a work item that failed, else over the first one that asked for help.
pub(super) async fn skip_work_item(
    write: &mut Write,
    run: WorkflowId,
    id: WorkItemId,
    body: SkipTask,
) -> Result<Task, Error> {
    let task = first_in_need(write, run, id).await?;
    tasks::skip_task(write, task, body).await
}

/// The task of a work item that needs a person most.
async fn first_in_need(
    write: &mut Write,
    run: WorkflowId,
    id: WorkItemId,
) -> Result<TaskId, Error> {
    let tenant = write.caller().tenant();
    lock(write, run).await?;
    store::read(write.conn(), tenant, run, id).await?;
    store::first_in_need(write.conn(), tenant, id)
        .await?
        .ok_or_else(|| {
            Refused::new(
                ErrorCode::Conflict,
                format!("no task of work item {id} has failed or asked for help"),
            )
            .reason(ReasonCode::StateChanged)
            .hint("GET …/work-items/{work_item_id}/why tells what it waits for")
            .into()
        })
}

fn part(run: WorkflowId, id: WorkItemId) -> Run {
    Run {
        workflow: run,
        work_item: Some(id),
    }
}

fn must_be_open(item: &WorkItem) -> Result<(), Error> {
    let why = match (item.completed_at, item.cancel_requested_at) {
        (Some(_), _) => "has completed",
        (None, Some(_)) => "was called off",
        (None, None) => return Ok(()),
    };
    Err(
        Refused::new(ErrorCode::Conflict, format!("work item {} {why}", item.id))
            .reason(ReasonCode::StateChanged)
            .into(),
    )
}
