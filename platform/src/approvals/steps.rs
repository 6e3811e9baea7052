//! Steps of graphs that ask a person.

use protocol::{
    Approval, ApprovalAction, ApprovalDecided, ApprovalKind, DecideApproval, DecideStep, Json,
    JsonObject, StepDecision, TenantId,
};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{decide, show};
use crate::error::Error;
use crate::http::Write;
use crate::workflows::{self, AskingStep};

const ACTIONS: &[ApprovalAction] = &[ApprovalAction::Approve, ApprovalAction::Reject];

/// Steps as something to decide, by the ids of their work items; those that ask nothing are left out.
pub(super) async fn approvals(
    db: &mut PgConnection,
    tenant: TenantId,
    items: &[Uuid],
) -> Result<Vec<Approval>, Error> {
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let asking = workflows::asking_steps(db, tenant, items).await?;
    asking
        .into_iter()
        .map(|step| approval_of(tenant, step))
        .collect()
}

fn approval_of(tenant: TenantId, step: AskingStep) -> Result<Approval, Error> {
    let mut question = JsonObject::from_text(step.question.clone())?.members();
    let mut part = |name: &str| question.remove(name).filter(|value| !value.is_null());
    let text = |value: Option<Value>| value.and_then(|value| value.as_str().map(str::to_owned));
    let fields = part("fields").filter(Value::is_object);
    let values = part("values");
    let on_expiry = part("on_expiry").filter(|_| step.expires_at.is_some());
    Ok(Approval {
        id: step.work_item_id,
        kind: ApprovalKind::StepApproval,
        tenant_id: tenant,
        task_id: None,
        workflow_id: Some(step.workflow_id.into()),
        workflow_name: None,
        work_item_id: Some(step.work_item_id.into()),
        stage_name: step.stage_name,
        workspace_id: Some(step.workspace_id.into()),
        title: text(part("title")).unwrap_or_else(|| step.step_id.clone()),
        message: text(part("message")).unwrap_or_default(),
        step_id: Some(step.step_id),
        fields: fields
            .map(|schema| JsonObject::from_text(schema.to_string()))
            .transpose()?,
        values: values
            .map(|values| Json::from_text(values.to_string()))
            .transpose()?,
        description: None,
        role: None,
        input: JsonObject::default(),
        output: None,
        verification: None,
        question: Some(JsonObject::from_text(step.question)?),
        actions: ACTIONS.to_vec(),
        actions_with_feedback: show::with_feedback(ACTIONS),
        decision_path: show::decision_path(step.work_item_id),
        requested_at: step.started_at.into(),
        expires_at: step.expires_at.map(Into::into),
        on_expiry: on_expiry.map(serde_json::from_value).transpose()?,
    })
}

/// Decides what the step asks that made this work item.
pub(super) async fn decide(
    write: &mut Write,
    item: Uuid,
    body: DecideApproval,
) -> Result<ApprovalDecided, Error> {
    let tenant = write.caller().tenant();
    let workspaces = write.caller().workspace_filter();
    let (run, step) =
        workflows::step_of_item(write.conn(), tenant, item, workspaces.as_deref()).await?;
    if let Some(shown) = approvals(write.conn(), tenant, &[item]).await?.first() {
        decide::must_fit(&body, shown)?;
    }
    let decision = match body.action {
        ApprovalAction::Approve => StepDecision::Approve,
        ApprovalAction::Reject | ApprovalAction::RequestChanges | ApprovalAction::Block => {
            StepDecision::Reject
        }
    };
    let decision = DecideStep {
        action: decision,
        fields: body.fields,
        comment: body.feedback,
        request_id: None,
    };
    let step = workflows::decide_step(write, run, &step, decision).await?;
    Ok(ApprovalDecided {
        id: item,
        kind: ApprovalKind::StepApproval,
        action: body.action,
        task_id: None,
        task_state: None,
        step_id: Some(step.step_id),
        step_state: Some(step.state),
        gate_status: None,
    })
}
