//! Asking a person to look at a stage.

use protocol::{EntityType, GateId, GateStatus, RequestGate, StageGate, TaskId, WorkflowId};
use serde_json::{Value, json};

use super::store;
use crate::error::Error;
use crate::events;
use crate::http::{Write, check_count, check_length};

/// Things to look at, and concerns, that one request has at most.
const THINGS_MAX: usize = 50;

/// Asks a person to look at a stage of a run, which is locked. A request of the same words while one waits is
/// that one; any other takes the place of what was asked before.
///
/// # Errors
/// 404 for an unknown stage; 422 for what does not fit.
pub(crate) async fn request_gate(
    write: &mut Write,
    run: WorkflowId,
    stage: &str,
    task: TaskId,
    wanted: RequestGate,
) -> Result<StageGate, Error> {
    check_length("summary", &wanted.summary, 1..=4000)?;
    if let Some(recommendation) = &wanted.recommendation {
        check_length("recommendation", recommendation, 0..=4000)?;
    }
    for (path, things) in [
        ("key_artifacts", wanted.key_artifacts.len()),
        ("concerns", wanted.concerns.len()),
    ] {
        check_count(path, things, THINGS_MAX)?;
    }
    let tenant = write.caller().tenant();
    let before = store::current(write.conn(), tenant, run, stage).await?;
    if let Some(before) = &before
        && before.status == GateStatus::AwaitingApproval
        && before.request_summary == wanted.summary
        && before.recommendation == wanted.recommendation
        && before.concerns == wanted.concerns
        && before.key_artifacts == wanted.key_artifacts
    {
        return store::read(write.conn(), tenant, run, before.id).await;
    }
    let id = GateId::new();
    let (actor_type, actor) = (write.caller().scope().as_str(), write.caller().actor());
    if let Some(before) = &before {
        store::supersede(write.conn(), tenant, before.id, id, actor_type, actor).await?;
    }
    let artifacts = serde_json::to_string(&wanted.key_artifacts)?;
    let request = store::Request {
        id,
        stage,
        summary: &wanted.summary,
        recommendation: wanted.recommendation.as_deref(),
        concerns: &wanted.concerns,
        artifacts: &artifacts,
        actor_type,
        actor,
        task,
    };
    store::insert(write.conn(), tenant, run, &request).await?;
    write
        .tx()
        .count(metrics::counter!("stint_gates_requested_total"));
    let data = json!({
        "gate_id": id, "stage_name": stage, "summary": wanted.summary,
        "supersedes": before.map(|before| before.id),
    });
    tell(write, run, id, "stage.gate_requested", data).await?;
    store::read(write.conn(), tenant, run, id).await
}

/// Tells that the caller did something to a gate.
pub(super) async fn tell(
    write: &mut Write,
    run: WorkflowId,
    id: GateId,
    event_type: &'static str,
    data: Value,
) -> Result<(), Error> {
    let entity = (EntityType::Gate, id.uuid());
    events::tell_of_run(write, run, entity, event_type, data).await
}
