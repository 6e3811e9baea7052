//! Gates of stages, at which a run waits for a person.

use protocol::{
    Approval, ApprovalAction, ApprovalDecided, ApprovalKind, DecideApproval, DecideGate,
    GateAction, GateId, GateStatus, JsonObject, StageGate, TenantId,
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{decide, show};
use crate::error::Error;
use crate::gates;
use crate::http::Write;

const ACTIONS: &[ApprovalAction] = &[
    ApprovalAction::Approve,
    ApprovalAction::Reject,
    ApprovalAction::RequestChanges,
    ApprovalAction::Block,
];

/// Gates as something to decide, by their ids; those that wait for nobody are left out.
pub(super) async fn approvals(
    db: &mut PgConnection,
    tenant: TenantId,
    ids: &[Uuid],
) -> Result<Vec<Approval>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let found = gates::by_ids(db, tenant, ids).await?;
    let waiting = found
        .into_iter()
        .filter(|gate| gate.status == GateStatus::AwaitingApproval && !gate.is_superseded);
    waiting.map(|gate| approval_of(tenant, gate)).collect()
}

fn approval_of(tenant: TenantId, gate: StageGate) -> Result<Approval, Error> {
    let question = json!({
        "summary": gate.request_summary, "recommendation": gate.recommendation,
        "concerns": gate.concerns, "key_artifacts": gate.key_artifacts,
    });
    Ok(Approval {
        id: gate.id.uuid(),
        kind: ApprovalKind::StageGate,
        tenant_id: tenant,
        task_id: gate.requested_by_task_id,
        step_id: None,
        workflow_id: Some(gate.workflow_id),
        workflow_name: None,
        work_item_id: None,
        title: format!("Stage {}", gate.stage_name),
        stage_name: Some(gate.stage_name),
        workspace_id: Some(gate.workspace_id),
        message: gate.request_summary,
        fields: None,
        values: None,
        description: Some(gate.stage_goal),
        role: None,
        input: JsonObject::default(),
        output: None,
        verification: None,
        question: Some(JsonObject::from_text(question.to_string())?),
        actions: ACTIONS.to_vec(),
        actions_with_feedback: show::with_feedback(ACTIONS),
        decision_path: show::decision_path(gate.id.uuid()),
        requested_at: gate.requested_at,
        expires_at: None,
        on_expiry: None,
    })
}

/// Decides about a gate.
pub(super) async fn decide(
    write: &mut Write,
    id: GateId,
    body: DecideApproval,
) -> Result<ApprovalDecided, Error> {
    let tenant = write.caller().tenant();
    let found = gates::by_ids(write.conn(), tenant, &[id.uuid()]).await?;
    let gate = found.into_iter().next();
    let gate = gate.ok_or_else(|| Error::not_found("approval", id))?;
    let run = gate.workflow_id;
    decide::must_fit(&body, &approval_of(tenant, gate)?)?;
    let action = match body.action {
        ApprovalAction::Approve => GateAction::Approve,
        ApprovalAction::Reject => GateAction::Reject,
        ApprovalAction::RequestChanges => GateAction::RequestChanges,
        ApprovalAction::Block => GateAction::Block,
    };
    let decision = DecideGate {
        action,
        feedback: body.feedback,
        request_id: None,
    };
    let gate = gates::decide_gate(write, run, id, decision).await?;
    Ok(ApprovalDecided {
        id: id.uuid(),
        kind: ApprovalKind::StageGate,
        action: body.action,
        task_id: None,
        task_state: None,
        step_id: None,
        step_state: None,
        gate_status: Some(gate.status),
    })
}
