//! Why a request did not get what it asked for.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::RETRY_AFTER;

use crate::{ErrorBody, ReasonCode, Refusal};

/// Why a request did not get what it asked for.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// The platform answered, and said no.
    Refused {
        /// The HTTP status.
        status: u16,
        /// What was refused and why.
        refusal: Box<Refusal>,
        /// How long the platform asks to wait before the next try.
        retry_after: Option<Duration>,
    },
    /// No answer came, or it was cut off. Whether the request took effect is unknown.
    Unreachable(reqwest::Error),
    /// An answer came, but not one that this contract knows: perhaps from a proxy in between.
    Unexpected {
        /// The HTTP status.
        status: u16,
        /// What is wrong with it.
        message: String,
    },
    /// The client was made with settings that cannot work.
    Settings(String),
}

impl ClientError {
    /// Whether sending the same request again can help and does no harm.
    ///
    /// Holds for requests that carry a `request_id` or are safe by nature, such as reads and
    /// reports that name their attempt.
    pub fn is_safe_to_repeat(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { status, .. } => {
                matches!(status, 429 | 503) || self.reason() == Some(ReasonCode::RequestInProgress)
            }
            // What proxies say while the platform restarts behind them.
            Self::Unexpected { status, .. } => matches!(status, 429 | 502 | 503 | 504),
            Self::Settings(_) => false,
        }
    }

    /// What a program can act on, when the platform gave it.
    pub fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::Refused { refusal, .. } => refusal.details.as_ref()?.reason_code,
            Self::Unreachable(_) | Self::Unexpected { .. } | Self::Settings(_) => None,
        }
    }

    /// The HTTP status, when an answer came.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } | Self::Unexpected { status, .. } => Some(*status),
            Self::Unreachable(_) | Self::Settings(_) => None,
        }
    }

    /// How long the platform asks to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Unreachable(_) | Self::Unexpected { .. } | Self::Settings(_) => None,
        }
    }
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused {
                status, refusal, ..
            } => {
                write!(f, "{status} {}", refusal.code)?;
                if let Some(reason) = self.reason() {
                    write!(f, " / {reason}")?;
                }
                write!(f, ": {}", refusal.message)?;
                if let Some(hint) = &refusal.recovery_hint {
                    write!(f, " ({hint})")?;
                }
                Ok(())
            }
            Self::Unreachable(error) => {
                write!(f, "the platform cannot be reached: {error}")?;
                // The outermost error names the URL, the innermost one what happened.
                let mut source = std::error::Error::source(error);
                while let Some(cause) = source {
                    write!(f, ": {cause}")?;
                    source = cause.source();
                }
                Ok(())
            }
            Self::Unexpected { status, message } => {
                write!(
                    f,
                    "answer {status} is not the platform's contract: {message}"
                )
            }
            Self::Settings(message) => f.write_str(message),
        }
    }
}

/// The causes are part of the text, so that they are not told twice.
impl std::error::Error for ClientError {}

/// Reads what a response refuses.
pub(super) async fn refused(response: Response) -> ClientError {
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(error) => return ClientError::Unreachable(error),
    };
    read_refusal(status, retry_after, &body)
}

fn read_refusal(status: u16, retry_after: Option<Duration>, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => ClientError::Refused {
            status,
            refusal: Box::new(body.error),
            retry_after,
        },
        Err(error) => ClientError::Unexpected {
            status,
            message: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str, reason: &str) -> ClientError {
        let body = serde_json::json!({
            "error": {"code": code, "message": "no", "details": {"reason_code": reason}},
            "meta": {"request_id": "r", "timestamp": "2026-01-31T12:00:00.000Z"},
        });
        read_refusal(status, None, body.to_string().as_bytes())
    }

    #[test]
    fn a_request_in_progress_may_be_repeated_and_a_lost_lease_not() {
        let twin = refusal(409, "CONFLICT", "request_in_progress");
        assert!(twin.is_safe_to_repeat());
        let lost = refusal(409, "CONFLICT", "lease_lost");
        assert!(!lost.is_safe_to_repeat());
        assert_eq!(lost.reason(), Some(ReasonCode::LeaseLost));
        assert_eq!(lost.status(), Some(409));
    }

    #[test]
    fn a_busy_platform_may_be_asked_again() {
        assert!(refusal(429, "RATE_LIMITED", "lane_full").is_safe_to_repeat());
        assert!(refusal(503, "SERVICE_UNAVAILABLE", "outcome_unknown").is_safe_to_repeat());
        assert!(!refusal(422, "SCHEMA_VALIDATION_FAILED", "attempt_missing").is_safe_to_repeat());
    }

    #[test]
    fn a_proxys_page_is_unexpected_and_may_be_repeated() {
        let error = read_refusal(502, None, b"<html>bad gateway</html>");
        assert!(matches!(error, ClientError::Unexpected { status: 502, .. }));
        assert!(error.is_safe_to_repeat());
    }
}
