//! Recording what an agent tells people.

use protocol::{
    BriefPayload, BriefRecorded, BriefScope, EntityType, LinkedDeliverable, LiveVisibilityMode,
    RecordBrief, RecordUpdate, UpdatePayload, UpdateRecorded, WorkflowId,
};
use serde_json::json;
use uuid::Uuid;

use super::author::{Author, author_of};
use super::store;
use crate::error::Error;
use crate::events;
use crate::http::{Write, check_count, check_length};

/// Briefs of a run that are kept, and as many updates: the last ones.
pub(super) const KEPT_MAX: i64 = 1_000;
/// What a brief may tell, as JSON.
const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Things that one brief or update names, of each kind.
const NAMED_MAX: usize = 100;
/// Deliverables that one brief links.
const DELIVERABLES_MAX: usize = 50;
/// The kind of those updates that are about a single turn of an agent.
const TURN_UPDATE: &str = "turn_update";

/// Records a brief, or finds the one that this request recorded before.
///
/// # Errors
/// Those of [`author_of`]; 422.
pub(super) async fn record_brief(
    write: &mut Write,
    run: WorkflowId,
    body: RecordBrief,
) -> Result<BriefRecorded, Error> {
    let author = author_of(write, run, (&body).into()).await?;
    let (tenant, actor) = (write.caller().tenant(), write.caller().actor());
    if let Some(request) = &body.request_id {
        let earlier = store::Filter::of_request(actor, request);
        if let Some(record) = store::brief(write.conn(), tenant, run, earlier).await? {
            return Ok(recorded_brief(record, true));
        }
    }
    let payload = check_payload(&body.payload)?;
    let kind = body.brief_kind.as_deref().unwrap_or("milestone");
    check_length("brief_kind", kind, 1..=120)?;
    let told = &body.payload.detailed_brief_json.status_kind;
    let status = body.status_kind.as_ref().unwrap_or(told);
    check_length("status_kind", status, 1..=120)?;
    for (path, named) in [
        ("related_artifact_ids", &body.related_artifact_ids),
        ("related_intervention_ids", &body.related_intervention_ids),
    ] {
        check_count(path, named.len(), NAMED_MAX)?;
    }
    let id = Uuid::now_v7();
    let brief = store::NewBrief {
        id,
        request_id: body.request_id.as_deref(),
        kind,
        scope: body
            .brief_scope
            .unwrap_or_else(|| scope_of(&author, &body.payload)),
        status,
        payload: &payload,
        artifacts: &body.related_artifact_ids,
        interventions: &body.related_intervention_ids,
        canonical: body.canonical_workflow_brief_id,
    };
    let by = (write.caller().scope().as_str(), actor);
    let number = store::insert_brief(write.conn(), tenant, run, &author, by, &brief).await?;
    store::forget_briefs(write.conn(), tenant, run, number - KEPT_MAX).await?;
    let record = store::brief(write.conn(), tenant, run, store::Filter::of_id(id)).await?;
    let record = record.ok_or_else(|| Error::not_found("brief", id))?;
    let told = json!({
        "brief_id": id, "sequence_number": number, "brief_kind": record.brief_kind,
        "status_kind": record.status_kind, "headline": record.short_brief.headline,
        "task_id": record.task_id, "work_item_id": record.work_item_id,
    });
    let entity = (EntityType::Workflow, run.uuid());
    events::tell_of_run(write, run, entity, "workflow.brief_recorded", told).await?;
    Ok(recorded_brief(record, false))
}

fn recorded_brief(record: protocol::OperatorBrief, deduped: bool) -> BriefRecorded {
    BriefRecorded {
        record_id: record.id,
        sequence_number: record.sequence_number,
        deduped,
        record,
    }
}

fn scope_of(author: &Author, payload: &BriefPayload) -> BriefScope {
    if !payload.linked_deliverables.is_empty() {
        BriefScope::DeliverableContext
    } else if author.item.is_some() {
        BriefScope::WorkItemHandoff
    } else {
        BriefScope::WorkflowTimeline
    }
}

/// Checks what a brief tells, and writes it as JSON.
fn check_payload(payload: &BriefPayload) -> Result<String, Error> {
    let (short, detailed) = (&payload.short_brief, &payload.detailed_brief_json);
    let at = |field: &str| format!("payload.{field}");
    check_length(&at("short_brief.headline"), &short.headline, 1..=4000)?;
    for (field, label) in [
        ("short_brief.status_label", &short.status_label),
        ("short_brief.delta_label", &short.delta_label),
        ("short_brief.next_action_label", &short.next_action_label),
    ] {
        check_length(&at(field), label.as_deref().unwrap_or_default(), 0..=255)?;
    }
    let headline = at("detailed_brief_json.headline");
    check_length(&headline, &detailed.headline, 1..=4000)?;
    let status = at("detailed_brief_json.status_kind");
    check_length(&status, &detailed.status_kind, 1..=120)?;
    let summary = detailed.summary.as_deref().unwrap_or_default();
    check_length(&at("detailed_brief_json.summary"), summary, 0..=8000)?;
    check_targets(&payload.linked_target_ids)?;
    let deliverables = &payload.linked_deliverables;
    check_count(
        &at("linked_deliverables"),
        deliverables.len(),
        DELIVERABLES_MAX,
    )?;
    for (place, deliverable) in deliverables.iter().enumerate() {
        check_deliverable(place, deliverable)?;
    }
    let text = serde_json::to_string(payload)?;
    if text.len() > PAYLOAD_BYTES_MAX {
        let message = format!(
            "may have at most {PAYLOAD_BYTES_MAX} bytes, has {}",
            text.len()
        );
        return Err(Error::field("payload", message));
    }
    Ok(text)
}

fn check_deliverable(place: usize, one: &LinkedDeliverable) -> Result<(), Error> {
    let is_short = one.label.is_some() && one.path.is_some();
    let is_described = one.descriptor_kind.is_some()
        && one.delivery_stage.is_some()
        && one.title.is_some()
        && one.state.is_some()
        && one.primary_target.is_some();
    if is_short || is_described {
        return Ok(());
    }
    Err(Error::field(
        format!("payload.linked_deliverables[{place}]"),
        "needs label and path, or descriptor_kind, delivery_stage, title, state and primary_target",
    ))
}

fn check_targets(targets: &[String]) -> Result<(), Error> {
    check_count("payload.linked_target_ids", targets.len(), NAMED_MAX)?;
    for (place, target) in targets.iter().enumerate() {
        let path = format!("payload.linked_target_ids[{place}]");
        check_length(&path, target, 1..=255)?;
    }
    Ok(())
}

/// Records an update, or finds the one that this request recorded before.
///
/// # Errors
/// Those of [`author_of`]; 422.
pub(super) async fn record_update(
    write: &mut Write,
    run: WorkflowId,
    body: RecordUpdate,
) -> Result<UpdateRecorded, Error> {
    let author = author_of(write, run, (&body).into()).await?;
    let (tenant, actor) = (write.caller().tenant(), write.caller().actor());
    if let Some(request) = &body.request_id {
        let earlier = store::Filter::of_request(actor, request);
        if let Some(record) = store::update(write.conn(), tenant, run, earlier).await? {
            return Ok(recorded_update(record, true));
        }
    }
    let UpdatePayload {
        headline,
        update_kind,
        summary,
        linked_target_ids,
        promoted_brief_id,
    } = body.payload;
    check_length("payload.headline", &headline, 1..=4000)?;
    let text = summary.as_deref().unwrap_or_default();
    check_length("payload.summary", text, 0..=8000)?;
    check_targets(&linked_target_ids)?;
    let kind = update_kind.as_deref().unwrap_or(TURN_UPDATE);
    check_length("payload.update_kind", kind, 1..=120)?;
    let usual = match kind {
        TURN_UPDATE => LiveVisibilityMode::Enhanced,
        _ => LiveVisibilityMode::Standard,
    };
    let id = Uuid::now_v7();
    let update = store::NewUpdate {
        id,
        request_id: body.request_id.as_deref(),
        kind,
        visibility: body.visibility_mode.unwrap_or(usual),
        headline: &headline,
        summary: summary.as_deref(),
        targets: &linked_target_ids,
        promoted: promoted_brief_id,
    };
    let by = (write.caller().scope().as_str(), actor);
    let number = store::insert_update(write.conn(), tenant, run, &author, by, &update).await?;
    store::forget_updates(write.conn(), tenant, run, number - KEPT_MAX).await?;
    let record = store::update(write.conn(), tenant, run, store::Filter::of_id(id)).await?;
    let record = record.ok_or_else(|| Error::not_found("update", id))?;
    let told = json!({
        "update_id": id, "sequence_number": number, "update_kind": record.update_kind,
        "headline": record.headline, "task_id": record.task_id, "work_item_id": record.work_item_id,
    });
    let entity = (EntityType::Workflow, run.uuid());
    events::tell_of_run(write, run, entity, "workflow.update_recorded", told).await?;
    Ok(recorded_update(record, false))
}

fn recorded_update(record: protocol::OperatorUpdate, deduped: bool) -> UpdateRecorded {
    UpdateRecorded {
        record_id: record.id,
        sequence_number: record.sequence_number,
        deduped,
        record,
    }
}
