//! `approval`: a person decides. No worker is held; the question waits in the step until it is answered or
//! its time is over.

use serde_json::{Value, json};

use super::super::start::Place;
use super::Started;
use crate::graph::{ApprovalStep, Budget, Scope};

/// Asks.
pub(super) fn start(
    place: &Place<'_>,
    step: &ApprovalStep,
    title: &str,
    scope: &Scope<'_>,
) -> Result<Started, String> {
    let mut budget = Budget::default();
    let at = |field: &str, fault: crate::graph::Fault| {
        format!("steps.{}.{field}: {fault}", place.step.id)
    };
    let message = step
        .message
        .render_text(scope, &mut budget)
        .map_err(|fault| at("message", fault))?
        .replace('\0', " ");
    let values = match &step.values {
        Some(values) => values
            .render(scope, &mut budget)
            .map_err(|fault| at("values", fault))?,
        None => Value::Null,
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "no time to wait is long enough to lose a second"
    )]
    let expires_seconds = step.expires_after_seconds.map(|seconds| seconds as f64);
    Ok(Started::Asks {
        question: json!({
            "title": title, "message": message, "fields": step.fields, "values": values,
            "on_expiry": step.on_expiry,
        }),
        expires_seconds,
    })
}
