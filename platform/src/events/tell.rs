//! Telling of something that a caller did to a run.

use protocol::{EntityType, TaskId, WorkflowId};
use serde_json::Value;
use uuid::Uuid;

use super::{NewEvent, append, append_to_runs};
use crate::db::Note;
use crate::error::Error;
use crate::http::Write;

/// Appends an event about a task, in the name of the caller, and wakes those who follow events.
///
/// # Errors
/// Those of the database.
pub async fn tell_of_task(
    write: &mut Write,
    run: Option<WorkflowId>,
    task: TaskId,
    event_type: &'static str,
    data: Value,
) -> Result<(), Error> {
    tell(
        write,
        run,
        (EntityType::Task, task.uuid()),
        event_type,
        data,
    )
    .await
}

/// Appends an event about a part of a run, in the name of the caller, and wakes those who follow events.
///
/// # Errors
/// Those of the database.
pub async fn tell_of_run(
    write: &mut Write,
    run: WorkflowId,
    entity: (EntityType, Uuid),
    event_type: &'static str,
    data: Value,
) -> Result<(), Error> {
    tell(write, Some(run), entity, event_type, data).await
}

async fn tell(
    write: &mut Write,
    run: Option<WorkflowId>,
    (entity_type, entity): (EntityType, Uuid),
    event_type: &'static str,
    data: Value,
) -> Result<(), Error> {
    let Value::Object(members) = data else {
        return Err(anyhow::anyhow!("the data of an event is an object").into());
    };
    let (tenant, caller) = (write.caller().tenant(), write.caller());
    let event = NewEvent {
        event_type,
        entity_type,
        entity,
        actor_type: caller.scope().as_str(),
        actor: Some(caller.actor()),
        data: members.into(),
    };
    match run {
        Some(run) => append_to_runs(write.conn(), tenant, &[(run, event)]).await?,
        None => append(write.conn(), tenant, &[event]).await?,
    }
    write.tx().note(Note::EventsAppended);
    Ok(())
}
