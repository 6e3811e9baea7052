//! One way to decide: by the operation of the domain to which the thing belongs.

use protocol::{Approval, ApprovalAction, ApprovalDecided, DecideApproval};
use uuid::Uuid;

use super::store::{self, Source};
use super::{gates, steps, tasks};
use crate::error::Error;
use crate::http::Write;

/// Decides about something that waits for a person.
pub(super) async fn decide_approval(
    write: &mut Write,
    id: Uuid,
    body: DecideApproval,
) -> Result<ApprovalDecided, Error> {
    let tenant = write.caller().tenant();
    match store::source_of(write.conn(), tenant, id).await? {
        Some(Source::Task) => tasks::decide(write, id.into(), body).await,
        Some(Source::Step) => steps::decide(write, id, body).await,
        Some(Source::Gate) => gates::decide(write, id.into(), body).await,
        None => Err(Error::not_found("approval", id)),
    }
}

/// Refuses a decision that is none of those that were offered.
pub(super) fn must_fit(body: &DecideApproval, offered: &Approval) -> Result<(), Error> {
    let action = body.action;
    if !offered.actions.contains(&action) {
        let possible: Vec<&str> = offered
            .actions
            .iter()
            .map(|action| action.as_str())
            .collect();
        return Err(Error::field(
            "action",
            format!(
                "{action} is no answer to a {}; possible: {}",
                offered.kind,
                possible.join(", ")
            ),
        ));
    }
    if body.fields.is_some() && (action != ApprovalAction::Approve || offered.fields.is_none()) {
        return Err(Error::field(
            "fields",
            "can be edited only with an approval, and where `fields` of what is decided says so",
        ));
    }
    if body.feedback.is_none() && offered.actions_with_feedback.contains(&action) {
        return Err(Error::field(
            "feedback",
            "is missing: say why, or what to do",
        ));
    }
    Ok(())
}
