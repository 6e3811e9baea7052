//! Leaving something to whoever goes on.

use protocol::{
    EntityType, ErrorCode, HandoffCompletion, JsonObject, ReasonCode, SubmitHandoff, Task,
    TaskHandoff, TaskId, TaskState, TaskType,
};
use serde_json::json;
use uuid::Uuid;

use super::store;
use crate::activations::{self, Wake};
use crate::db::Note;
use crate::error::{Error, Refused};
use crate::events::{self, NewEvent};
use crate::http::{Write, check_count, check_length};
use crate::{queue, tasks, workflows};

/// What a handoff may say, as JSON.
const CONTENT_BYTES_MAX: usize = 256 * 1024;
/// Changes, decisions, remaining items, blockers: of each.
const ENTRIES_MAX: usize = 200;
/// Things that it names, of each kind.
const NAMED_MAX: usize = 100;
/// Characters of one thing that it names.
const NAME_CHARS_MAX: usize = 4_000;
/// How often one handoff is written: each time is an event, and wakes the orchestrator.
const REVISIONS_MAX: i32 = 100;

/// Leaves something to whoever goes on with a task, in place of what was left since it was last sent back.
///
/// # Errors
/// 404; 403 for all but its holder; 409 `lease_lost` for an attempt that was superseded, and
/// `submit_handoff_replay_conflict` for another handoff than the one that stands; 422.
pub(super) async fn submit_handoff(
    write: &mut Write,
    id: TaskId,
    body: SubmitHandoff,
) -> Result<TaskHandoff, Error> {
    let tenant = write.caller().tenant();
    // Runs are locked before their tasks.
    if let Some(run) = tasks::read(write, id).await?.workflow_id {
        workflows::lock_runs(write.tx(), tenant, &[run.uuid()]).await?;
    }
    let task = tasks::must_have_held(write, id, body.attempt).await?;
    check(&task, &body)?;
    let content = content_of(&body)?;
    let is_held = match task.state {
        TaskState::Claimed | TaskState::InProgress => true,
        // The holder has let go: a first handoff is still taken, and one that is there stands.
        TaskState::OutputPendingAssessment | TaskState::Escalated => false,
        TaskState::Pending
        | TaskState::Ready
        | TaskState::AwaitingApproval
        | TaskState::Completed
        | TaskState::Failed
        | TaskState::Cancelled => return Err(too_late(&task)),
    };
    let before = store::of_round(write.conn(), tenant, id, task.rework_count).await?;
    if let Some((standing, said)) = before {
        if said == content && standing.attempt == task.attempt {
            return Ok(standing);
        }
        if !is_held {
            return Err(stands(&standing, &task));
        }
        if standing.revision >= REVISIONS_MAX {
            return Err(written_out(&standing));
        }
    }
    let handoff = store::NewHandoff {
        id: Uuid::now_v7(),
        task: &task,
        completion: body.completion_state,
        resolution: body.resolution,
        content: &content,
        by: (write.caller().scope().as_str(), write.caller().actor()),
    };
    store::put(write.conn(), tenant, &handoff).await?;
    let stands = store::of_round(write.conn(), tenant, id, task.rework_count).await?;
    let (handoff, _) = stands.ok_or_else(|| anyhow::anyhow!("the handoff of {id} is gone"))?;
    tell(write, &task, &handoff).await?;
    Ok(handoff)
}

fn check(task: &Task, body: &SubmitHandoff) -> Result<(), Error> {
    check_length("summary", &body.summary, 1..=4000)?;
    if let Some(context) = &body.successor_context {
        check_length("successor_context", context, 0..=8000)?;
    }
    if let Some(subject) = &body.subject_ref {
        check_length("subject_ref", subject, 0..=255)?;
    }
    if body.resolution.is_some() && task.task_type != TaskType::Assessment {
        let message = format!(
            "is for tasks of the type assessment; task {} has the type {}",
            task.id, task.task_type
        );
        return Err(Error::field("resolution", message));
    }
    for (path, entries) in [
        ("changes", body.changes.len()),
        ("decisions", body.decisions.len()),
        ("remaining_items", body.remaining_items.len()),
        ("blockers", body.blockers.len()),
    ] {
        check_count(path, entries, ENTRIES_MAX)?;
    }
    for (path, named) in [
        ("focus_areas", body.focus_areas.len()),
        ("known_risks", body.known_risks.len()),
        ("artifact_ids", body.artifact_ids.len()),
        ("waived_steps", body.waived_steps.len()),
        (
            "recommended_next_actions",
            body.recommended_next_actions.len(),
        ),
    ] {
        check_count(path, named, NAMED_MAX)?;
    }
    for (path, names) in [
        ("focus_areas", &body.focus_areas),
        ("known_risks", &body.known_risks),
    ] {
        for (place, name) in names.iter().enumerate() {
            check_length(&format!("{path}[{place}]"), name, 0..=NAME_CHARS_MAX)?;
        }
    }
    match body.task_rework_count {
        Some(count) if count != task.rework_count => Err(Refused::new(
            ErrorCode::Conflict,
            format!(
                "task {} was sent back {} times, not {count}: this handoff is of another round",
                task.id, task.rework_count
            ),
        )
        .reason(ReasonCode::StateChanged)
        .hint("read the task again; context.rework says what was to be changed")
        .into()),
        _ => Ok(()),
    }
}

/// What is kept of a handoff, as JSON text: all but what its row has columns for.
fn content_of(body: &SubmitHandoff) -> Result<String, Error> {
    let kept = SubmitHandoff {
        attempt: None,
        task_rework_count: None,
        request_id: None,
        ..body.clone()
    };
    let text = serde_json::to_string(&kept)?;
    if text.len() > CONTENT_BYTES_MAX {
        return Err(Error::invalid(format!(
            "a handoff may have at most {CONTENT_BYTES_MAX} bytes, this one has {}",
            text.len()
        )));
    }
    Ok(text)
}

fn too_late(task: &Task) -> Error {
    Refused::new(
        ErrorCode::InvalidStateTransition,
        format!("task {} is {}: nothing is handed off", task.id, task.state),
    )
    .hint("hand off before the end is reported; a handoff is never needed to report it")
    .current_state(task.state.as_str())
    .into()
}

fn written_out(standing: &TaskHandoff) -> Error {
    Refused::new(
        ErrorCode::Conflict,
        format!(
            "handoff {} was written {REVISIONS_MAX} times, which is as often as it may",
            standing.id
        ),
    )
    .reason(ReasonCode::LimitReached)
    .hint("it stands as it is; what is still to be said goes into the output")
    .into()
}

fn stands(standing: &TaskHandoff, task: &Task) -> Error {
    Refused::new(
        ErrorCode::Conflict,
        format!(
            "task {} is {}, and its handoff {} stands",
            task.id, task.state, standing.id
        ),
    )
    .reason(ReasonCode::SubmitHandoffReplayConflict)
    .hint("a handoff can be written anew only while its task is held")
    .current_state(task.state.as_str())
    .into()
}

/// Tells of a handoff, and wakes the orchestrator of the run, unless the handoff is its own.
async fn tell(write: &mut Write, task: &Task, handoff: &TaskHandoff) -> Result<(), Error> {
    let told = json!({
        "task_id": task.id, "handoff_id": handoff.id, "revision": handoff.revision, "role": task.role,
        "completion_state": handoff.completion_state, "resolution": handoff.resolution,
        "summary": handoff.summary,
    });
    let (tenant, caller) = (write.caller().tenant(), write.caller());
    let event = NewEvent {
        event_type: "task.handoff_submitted",
        entity_type: EntityType::Task,
        entity: task.id.uuid(),
        actor_type: caller.scope().as_str(),
        actor: Some(caller.actor()),
        data: JsonObject::from_text(told.to_string())?,
    };
    write.tx().note(Note::EventsAppended);
    let Some(run) = task.workflow_id else {
        return events::append(write.conn(), tenant, &[event]).await;
    };
    events::append_to_runs(write.conn(), tenant, &[(run, event)]).await?;
    if task.is_orchestrator_task {
        return Ok(());
    }
    let why = match handoff.completion_state {
        HandoffCompletion::Full => "who works on a task hands off what is done",
        HandoffCompletion::Blocked => "who works on a task is blocked",
    };
    let mut wake = Wake::new("task.handoff_submitted", why, told);
    wake = wake.of_stage(task.stage_name.as_deref());
    if let Some(item) = task.work_item_id {
        wake = wake.of_item(item.uuid());
    }
    activations::wake(write.tx(), tenant, run, &[wake]).await?;
    workflows::derive(write.tx(), tenant, run).await?;
    queue::settle(write.tx()).await
}
