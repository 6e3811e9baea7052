//! Tells the platform how an attempt ended, until it has heard.

use std::time::Duration;

use stint_protocol::client::{Client, ClientError};
use stint_protocol::{
    AgentId, CompleteTask, FailTask, Json, JsonObject, LeaseRef, ReleaseTask, TaskError,
};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::handler::Failure;
use crate::mask::Mask;

/// How large an output may be: the platform's body limit, less what is around the output.
pub(crate) const OUTPUT_BYTES_MAX: usize = 1024 * 1024 - 4096;

/// How long a message may be.
const MESSAGE_CHARACTERS_MAX: usize = 8000;

/// How long a category may be.
const CATEGORY_CHARACTERS_MAX: usize = 120;

/// The longest pause that a failure may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(86_400);

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// With an output.
    Complete(Json),
    /// With a failure.
    Fail(Failure),
    /// Not at all: another attempt is to do it.
    Release {
        reason: &'static str,
        progress: Option<JsonObject>,
    },
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Completed,
    Failed,
    Released,
    /// The platform refused it for good, most often because the lease is lost.
    Refused,
}

/// Sends the reports of one agent.
#[derive(Clone)]
pub(crate) struct Reporter {
    pub(crate) client: Client,
    pub(crate) agent_id: AgentId,
    pub(crate) mask: Mask,
}

impl Reporter {
    /// Reports until the platform has accepted it or refused it for good.
    pub(crate) async fn deliver(&self, lease: LeaseRef, end: End) -> Delivery {
        let mut end = fitting(end);
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(15));
        loop {
            let error = match self.send(lease, &end).await {
                Ok(delivery) => {
                    info!(task.id = %lease.task_id, task.attempt = lease.attempt, "{}", told(delivery));
                    return delivery;
                }
                Err(error) => error,
            };
            if may_pass(&error) {
                let pause = backoff.next(error.retry_after());
                warn!(
                    task.id = %lease.task_id, task.attempt = lease.attempt, %error,
                    "the end of an attempt could not be reported, trying again in {pause:.1?}"
                );
                sleep(pause).await;
                continue;
            }
            match acceptable(&end, &error) {
                // The attempt still holds the task: what was wrong is what the report said.
                Some(other) => end = other,
                None => {
                    warn!(
                        task.id = %lease.task_id, task.attempt = lease.attempt, %error,
                        "the platform refused the end of an attempt for good"
                    );
                    return Delivery::Refused;
                }
            }
        }
    }

    async fn send(&self, lease: LeaseRef, end: &End) -> Result<Delivery, ClientError> {
        let LeaseRef { task_id, attempt } = lease;
        let (attempt, agent_id) = (Some(attempt), Some(self.agent_id));
        match end {
            End::Complete(output) => {
                let report = CompleteTask {
                    output: output.clone(),
                    attempt,
                    metrics: None,
                    git_info: None,
                    verification: None,
                    agent_id,
                    worker_id: None,
                    request_id: None,
                };
                let told = self.client.complete_task_minimal(task_id, &report).await;
                told.map(|()| Delivery::Completed)
            }
            End::Fail(failure) => {
                let report = FailTask {
                    error: self.task_error(failure),
                    attempt,
                    retry_after_seconds: failure
                        .retry_after
                        .map(|pause| pause.min(RETRY_AFTER_MAX).as_secs_f64()),
                    metrics: None,
                    git_info: None,
                    agent_id,
                    worker_id: None,
                    request_id: None,
                };
                let task = self.client.fail_task(task_id, &report).await;
                task.map(|_| Delivery::Failed)
            }
            End::Release { reason, progress } => {
                let report = ReleaseTask {
                    attempt,
                    reason: Some((*reason).to_owned()),
                    progress: progress.clone(),
                    agent_id,
                    ..ReleaseTask::default()
                };
                let task = self.client.release_task(task_id, &report).await;
                task.map(|_| Delivery::Released)
            }
        }
    }

    fn task_error(&self, failure: &Failure) -> TaskError {
        let message = self.mask.hide(&failure.message).replace('\0', "\u{fffd}");
        let message: String = message.chars().take(MESSAGE_CHARACTERS_MAX).collect();
        TaskError {
            category: failure
                .category
                .as_ref()
                .map(|category| category.chars().take(CATEGORY_CHARACTERS_MAX).collect()),
            message: if message.trim().is_empty() {
                "the handler failed without a message".to_owned()
            } else {
                message
            },
            recoverable: failure.recoverable,
            details: None,
        }
    }
}

/// Whether the same report may be accepted later.
fn may_pass(error: &ClientError) -> bool {
    error.is_safe_to_repeat() || matches!(error.status(), Some(408 | 500..))
}

/// What to report in place of a report that the platform cannot take as it is.
fn acceptable(end: &End, error: &ClientError) -> Option<End> {
    let is_about_content = matches!(error.status(), Some(400 | 413 | 422));
    match end {
        _ if !is_about_content => None,
        End::Complete(_) => Some(End::Fail(
            Failure::new(format!("the platform refused the output: {error}"))
                .category("output_refused")
                .recoverable(false),
        )),
        End::Fail(failure) if failure.category.as_deref() != Some("report_refused") => {
            Some(End::Fail(
                Failure::new("the platform refused the text of the failure")
                    .category("report_refused"),
            ))
        }
        End::Release {
            reason,
            progress: Some(_),
        } => Some(End::Release {
            reason,
            progress: None,
        }),
        End::Fail(_) | End::Release { .. } => None,
    }
}

/// An output that no request can carry is a failure.
fn fitting(end: End) -> End {
    match end {
        End::Complete(output) if output.text().len() > OUTPUT_BYTES_MAX => End::Fail(
            Failure::new(format!(
                "the output has {} bytes, but may have {OUTPUT_BYTES_MAX}; \
                 store it elsewhere and return where it is",
                output.text().len()
            ))
            .category("output_too_large")
            .recoverable(false),
        ),
        other => other,
    }
}

const fn told(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Completed => "completed",
        Delivery::Failed => "failed",
        Delivery::Released => "released",
        Delivery::Refused => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stint_protocol::{ErrorCode, Refusal};

    fn refused(status: u16, code: ErrorCode) -> ClientError {
        let refusal = Refusal {
            code,
            message: "no".to_owned(),
            recovery_hint: None,
            details: None,
        };
        ClientError::Refused {
            status,
            refusal: Box::new(refusal),
            retry_after: None,
        }
    }

    fn reporter() -> Reporter {
        Reporter {
            client: Client::new("http://127.0.0.1:9", "st_worker_key").unwrap(),
            agent_id: AgentId::new(),
            mask: Mask::default(),
        }
    }

    #[test]
    fn a_lost_lease_ends_the_reporting_and_an_outage_does_not() {
        assert!(!may_pass(&refused(409, ErrorCode::Conflict)));
        assert!(!may_pass(&refused(404, ErrorCode::NotFound)));
        assert!(may_pass(&refused(503, ErrorCode::ServiceUnavailable)));
        assert!(may_pass(&refused(500, ErrorCode::InternalError)));
    }

    #[test]
    fn an_output_that_is_refused_becomes_a_failure() {
        let end = End::Complete(Json::of(&1).unwrap());
        let error = refused(422, ErrorCode::SchemaValidationFailed);
        let Some(End::Fail(failure)) = acceptable(&end, &error) else {
            panic!("the task would hang until its lease ends");
        };
        assert_eq!(failure.category.as_deref(), Some("output_refused"));
        assert!(acceptable(&end, &refused(409, ErrorCode::Conflict)).is_none());
        let again = acceptable(&End::Fail(failure), &error).unwrap();
        assert!(acceptable(&again, &error).is_none(), "it ends");
    }

    #[test]
    fn an_output_beyond_the_limit_is_a_failure() {
        let large = Json::of(&"x".repeat(OUTPUT_BYTES_MAX)).unwrap();
        let End::Fail(failure) = fitting(End::Complete(large)) else {
            panic!("it cannot be sent");
        };
        assert_eq!(failure.category.as_deref(), Some("output_too_large"));
        let small = Json::of(&"x".repeat(OUTPUT_BYTES_MAX - 2)).unwrap();
        assert!(matches!(fitting(End::Complete(small)), End::Complete(_)));
    }

    #[test]
    fn messages_are_masked_and_cut() {
        let reporter = reporter();
        reporter.mask.add("hunter2hunter2").unwrap();
        let error = reporter.task_error(&Failure::new("no hunter2hunter2"));
        assert_eq!(error.message, "no ***");
        let error = reporter.task_error(&Failure::new("é".repeat(9000)));
        assert_eq!(error.message.chars().count(), MESSAGE_CHARACTERS_MAX);
        assert!(
            !reporter
                .task_error(&Failure::new(" "))
                .message
                .trim()
                .is_empty()
        );
    }
}
