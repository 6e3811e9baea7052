//! What steps ask people: answered by a decision, or by their time.

use std::time::Duration;

use protocol::{
    DecideStep, ErrorCode, OnExpiry, ReasonCode, StepDecision, StepState, TenantId, WorkItemId,
    WorkflowId, WorkflowStep,
};
use serde_json::{Value, json};

use super::engine::{Ended, Pass};
use super::launch::check_note;
use super::store;
use crate::app::App;
use crate::db::Tx;
use crate::error::{Error, Refused};
use crate::http::Write;
use crate::loops::Turn;
use crate::queue;

/// Questions that one turn of the loop answers at most.
const QUESTIONS_PER_TURN: i64 = 100;

/// An answer.
struct Answer<'a> {
    is_yes: bool,
    fields: Value,
    comment: Option<&'a str>,
    /// What a failed step says.
    reason: String,
}

/// Decides what a step asks. In a paused run the answer is noted, and what needs it starts when it is resumed.
pub(crate) async fn decide_step(
    write: &mut Write,
    run: WorkflowId,
    step: &str,
    body: DecideStep,
) -> Result<WorkflowStep, Error> {
    check_note("comment", body.comment.as_deref())?;
    let tenant = write.caller().tenant();
    let workspaces = write.caller().workspace_filter();
    store::lock_open_run(write.conn(), tenant, run, workspaces.as_deref()).await?;
    if step.contains('\0') {
        return Err(Error::not_found("step", step.escape_default()));
    }
    let asked = store::question(write.conn(), tenant, run, step)
        .await?
        .ok_or_else(|| Error::not_found("step", step))?;
    let Some(question) = asked
        .question
        .filter(|_| asked.state == StepState::Waiting.as_str())
    else {
        return Err(Refused::new(
            ErrorCode::Conflict,
            format!("step {step} is {}: it asks nothing", asked.state),
        )
        .reason(ReasonCode::StateChanged)
        .hint("GET /api/v1/workflows/{workflow_id}/steps tells how the steps are")
        .current_state(asked.state)
        .into());
    };
    let question: Value = serde_json::from_str(&question)?;
    let fields = match body.fields {
        Some(given) => fitting(&question["fields"], Value::Object(given.members()))?,
        None => question["values"].clone(),
    };
    let answer = Answer {
        is_yes: body.action == StepDecision::Approve,
        fields,
        comment: body.comment.as_deref(),
        reason: body.comment.clone().map_or_else(
            || "it was rejected".to_owned(),
            |comment| format!("it was rejected: {comment}"),
        ),
    };
    let actor = write.caller().actor();
    end(write.tx(), tenant, run, step, answer, Some(actor)).await?;
    store::step(write.conn(), tenant, run, step).await
}

/// What was filled in, if the question asks for it in this form.
fn fitting(schema: &Value, given: Value) -> Result<Value, Error> {
    if schema.is_null() {
        return Err(Error::field(
            "fields",
            "nothing can be filled in here; leave it out",
        ));
    }
    let validator = jsonschema::validator_for(schema).map_err(anyhow::Error::from)?;
    let mut refused = None;
    for fault in validator.iter_errors(&given).take(20) {
        let path = format!(
            "fields{}",
            fault.instance_path().to_string().replace('/', ".")
        );
        let message = fault.to_string();
        let so_far = refused.unwrap_or_else(|| {
            Refused::new(
                ErrorCode::SchemaValidationFailed,
                format!("the fields do not fit what is asked for: {path}: {message}"),
            )
            .hint("GET /api/v1/approvals shows the schema of the fields")
        });
        refused = Some(so_far.issue(path, message));
    }
    match refused {
        Some(refused) => Err(refused.into()),
        None => Ok(given),
    }
}

async fn end(
    tx: &mut Tx,
    tenant: TenantId,
    run: WorkflowId,
    step: &str,
    answer: Answer<'_>,
    by: Option<uuid::Uuid>,
) -> Result<(), Error> {
    let output = json!({
        "approved": answer.is_yes, "fields": answer.fields, "comment": answer.comment, "decided_by": by,
    });
    let mut pass = Pass::lock(tx, tenant, &[run.uuid()]).await?;
    let state = if answer.is_yes {
        StepState::Completed
    } else {
        StepState::Failed
    };
    let error = json!({ "category": "rejected", "message": answer.reason, "recoverable": false });
    pass.end(Ended {
        output: Some(output.to_string()),
        error: (!answer.is_yes).then(|| error.to_string()),
        ..Ended::bare(run.uuid(), step, state)
    });
    pass.carry_out().await?;
    queue::settle(tx).await
}

/// Loop body: answers what nobody has answered in time, as its step says.
///
/// # Errors
/// Those of the database.
pub async fn expire_approvals(app: App) -> Result<Turn, Error> {
    let (expired, next) = {
        let mut db = app.db.internal().await?;
        let expired = store::expired(&mut db, QUESTIONS_PER_TURN).await?;
        (expired, store::next_expiry(&mut db).await?)
    };
    let mut changed = 0;
    for (tenant, run, step) in expired {
        let mut tx = app.db.begin_internal().await?;
        // Whoever has locked the run may have answered, or stopped the clock, in the meantime.
        store::lock_open_run(tx.conn(), tenant, run, None).await?;
        if !store::is_expired(tx.conn(), tenant, run, &step).await? {
            continue;
        }
        let question = store::question(tx.conn(), tenant, run, &step).await?;
        let question: Value = match question.and_then(|asked| asked.question) {
            Some(text) => serde_json::from_str(&text)?,
            None => continue,
        };
        let on_expiry: OnExpiry = serde_json::from_value(question["on_expiry"].clone())?;
        let answer = Answer {
            is_yes: on_expiry == OnExpiry::Approve,
            fields: question["values"].clone(),
            comment: None,
            reason: "nobody decided in time".to_owned(),
        };
        end(&mut tx, tenant, run, &step, answer, None).await?;
        tx.count(metrics::counter!("stint_approvals_expired_total"));
        tx.commit(&app).await?;
        changed += 1;
    }
    let again_in = match next {
        Some(seconds) if seconds > 0.0 => Some(Duration::from_secs_f64(seconds)),
        Some(_) => Some(Duration::from_millis(20)),
        None => None,
    };
    Ok(Turn { changed, again_in })
}

/// A work item is called off: the step that made it ends with it.
///
/// # Errors
/// Those of the database.
pub(crate) async fn cancel_step_of(
    tx: &mut Tx,
    tenant: TenantId,
    run: WorkflowId,
    item: WorkItemId,
) -> Result<(), Error> {
    let Some(step) = store::open_step_of(tx.conn(), tenant, run, item.uuid()).await? else {
        return Ok(());
    };
    let mut pass = Pass::lock(tx, tenant, &[run.uuid()]).await?;
    let error = json!({ "category": "cancelled", "message": "its work item was called off", "recoverable": false });
    pass.end(Ended {
        error: Some(error.to_string()),
        ..Ended::bare(run.uuid(), &step, StepState::Cancelled)
    });
    pass.carry_out().await
}
