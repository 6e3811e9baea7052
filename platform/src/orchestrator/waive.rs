//! Going on without steps that would have been preferred.

use protocol::{
    EntityType, NotYetReason, UpdateWorkItem, WaivePreferredStep, WaivedStep, WorkItem, WorkItemId,
};
use serde_json::json;

use super::guard::Orchestrator;
use super::item_routes::member;
use crate::error::Error;
use crate::http::{Write, check_count, check_length};
use crate::{events, work_items, workflows};

/// The member of a work item's metadata that says what it goes on without.
const WAIVED_STEPS: &str = "waived_steps";
/// Steps that one work item goes on without.
const WAIVED_MAX: usize = 100;

/// The steps that a work item goes on without.
pub(super) fn waived_steps(item: &WorkItem) -> Vec<WaivedStep> {
    let members = item.metadata.members();
    let noted = members.get(WAIVED_STEPS).cloned();
    // Operators may write anything into metadata: what is no list of steps is none.
    noted
        .and_then(|noted| serde_json::from_value(noted).ok())
        .unwrap_or_default()
}

/// Steps that are named at the end of a work item, and those that were waived before.
pub(super) fn also_waived(item: &WorkItem, mut named: Vec<WaivedStep>) -> Vec<WaivedStep> {
    for step in waived_steps(item) {
        if !named.iter().any(|known| known.code == step.code) {
            named.push(step);
        }
    }
    named
}

/// Notes that a work item goes on without a step. Said again of the same step, it replaces what was said.
pub(super) async fn waive_preferred_step(
    write: &mut Write,
    own: &Orchestrator,
    id: WorkItemId,
    body: WaivePreferredStep,
) -> Result<WorkItem, Error> {
    check_length("code", &body.code, 1..=120)?;
    check_length("reason", &body.reason, 1..=4000)?;
    let summary = body.summary.as_deref().unwrap_or_default();
    check_length("summary", summary, 0..=4000)?;
    check_length("role", body.role.as_deref().unwrap_or_default(), 0..=120)?;
    let tenant = write.caller().tenant();
    let item = work_items::read(write.conn(), tenant, own.run, id).await?;
    if item.completed_at.is_some() || item.cancel_requested_at.is_some() {
        let message = format!("work item {id} has ended: open it again to go on with it");
        return Err(workflows::not_yet(NotYetReason::WorkItemNotReady, message));
    }
    let mut steps = waived_steps(&item);
    steps.retain(|known| known.code != body.code);
    check_count(WAIVED_STEPS, steps.len() + 1, WAIVED_MAX)?;
    let told = json!({ "code": body.code, "reason": body.reason, "role": body.role });
    let is_waited_for = body.role.is_some() && body.role == item.next_expected_actor;
    steps.push(WaivedStep {
        code: body.code,
        reason: body.reason,
        summary: body.summary,
        role: body.role,
    });
    let change = UpdateWorkItem {
        metadata: Some(member(WAIVED_STEPS, serde_json::to_value(&steps)?)),
        ..UpdateWorkItem::default()
    };
    work_items::update_work_item(write, own.run, id, change).await?;
    if is_waited_for {
        work_items::expect(write.conn(), tenant, id, None, None).await?;
    }
    let entity = (EntityType::WorkItem, id.uuid());
    events::tell_of_run(write, own.run, entity, "work_item.step_waived", told).await?;
    work_items::read(write.conn(), tenant, own.run, id).await
}
