//! Why a request ends without its answer.
//!
//! A refusal is the caller's to understand: it has a code and a reason for programs, a sentence and a
//! hint for people. Everything else is ours: logged here with its causes, hidden from the caller.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use protocol::{ErrorBody, ErrorCode, Issues, NotYetReason, ReasonCode, Refusal, RefusalDetails};

use crate::http::meta;

/// Why a request ends without its answer.
#[derive(Debug)]
pub enum Error {
    /// The request was refused; the caller is told why, and what to do next.
    Refused(Box<Refused>),
    /// An earlier request under the same idempotency key has already answered.
    Replayed {
        /// The status it was answered with.
        status: StatusCode,
        /// The `data` it was answered with; empty for an answer without a body.
        data: Vec<u8>,
    },
    /// Our fault. Logged with its causes, hidden from the caller.
    Internal(anyhow::Error),
}

/// A refusal that is being put together.
#[derive(Clone, Debug)]
pub struct Refused {
    code: ErrorCode,
    message: String,
    hint: Option<String>,
    details: RefusalDetails,
    retry_after_seconds: Option<u64>,
}

impl Error {
    /// Refuses with a code and a sentence.
    pub fn refused(code: ErrorCode, message: impl Into<String>) -> Self {
        Refused::new(code, message).into()
    }

    /// 404: there is no such thing in the caller's tenant.
    pub fn not_found(what: &str, id: impl std::fmt::Display) -> Self {
        Refused::new(
            ErrorCode::NotFound,
            format!("there is no {what} {id} in this tenant"),
        )
        .hint("check the id, and that the key belongs to the tenant that owns it")
        .into()
    }

    /// 409 with a reason.
    pub fn conflict(reason: ReasonCode, message: impl Into<String>) -> Self {
        Refused::new(ErrorCode::Conflict, message)
            .reason(reason)
            .into()
    }

    /// 403 with a reason.
    pub fn forbidden(reason: ReasonCode, message: impl Into<String>) -> Self {
        Refused::new(ErrorCode::Forbidden, message)
            .reason(reason)
            .into()
    }

    /// 400: what was sent contradicts itself or the rules.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::refused(ErrorCode::ValidationError, message)
    }

    /// 422: one field of the body is wrong.
    pub fn field(path: impl Into<String>, message: impl Into<String>) -> Self {
        let (path, message) = (path.into(), message.into());
        Refused::new(
            ErrorCode::SchemaValidationFailed,
            format!("the body does not fit: {path}: {message}"),
        )
        .issue(path, message)
        .hint("the schema of the body is in /openapi.json")
        .into()
    }

    /// 503: the database cannot be reached.
    pub fn database_unavailable() -> Self {
        Refused::new(
            ErrorCode::ServiceUnavailable,
            "the database cannot be reached",
        )
        .reason(ReasonCode::DatabaseUnavailable)
        .hint("nothing was changed; repeat the request after Retry-After")
        .retry_after(1)
        .into()
    }

    /// 503: the database server has no disk or memory left.
    pub fn database_full() -> Self {
        Refused::new(
            ErrorCode::ServiceUnavailable,
            "the database server has no room left, on its disk or in its memory",
        )
        .reason(ReasonCode::DatabaseFull)
        .hint("nothing was changed; repeat the request once there is room")
        .retry_after(5)
        .into()
    }

    /// 503: the connection died while committing, so the effect may or may not have happened.
    pub fn outcome_unknown() -> Self {
        Refused::new(
            ErrorCode::ServiceUnavailable,
            "the connection to the database broke while the change was being committed",
        )
        .reason(ReasonCode::OutcomeUnknown)
        .hint("repeat the same request with the same request_id: it takes effect once")
        .retry_after(1)
        .into()
    }

    /// 409: another request, which changes the same things, goes first.
    fn request_in_progress() -> Self {
        Refused::new(
            ErrorCode::Conflict,
            "a request that this one must wait for is still running",
        )
        .reason(ReasonCode::RequestInProgress)
        .hint("repeat the request after Retry-After")
        .retry_after(1)
        .into()
    }

    /// The error when nobody here tries again: whoever was in a deadlock can repeat the request.
    pub fn for_callers(self) -> Self {
        match &self {
            Self::Internal(error)
                if error
                    .downcast_ref()
                    .is_some_and(|cause| has_code(cause, "40P01")) =>
            {
                Self::request_in_progress()
            }
            _ => self,
        }
    }

    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refused> {
        match self {
            Self::Refused(refused) => Some(refused),
            Self::Replayed { .. } | Self::Internal(_) => None,
        }
    }

    /// Whether it is a refusal for this reason.
    pub fn has_reason(&self, reason: ReasonCode) -> bool {
        let refused = self.refusal();
        refused.is_some_and(|refused| refused.details.reason_code == Some(reason))
    }
}

impl Refused {
    /// Starts a refusal.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            details: RefusalDetails::default(),
            retry_after_seconds: None,
        }
    }

    /// Adds what a program can act on.
    pub fn reason(mut self, reason: ReasonCode) -> Self {
        self.details.reason_code = Some(reason);
        self
    }

    /// Adds why a run is not ready for it yet.
    pub fn not_yet(mut self, reason: NotYetReason) -> Self {
        self.details.not_yet_reason = Some(reason);
        self
    }

    /// Adds what a person can do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the attempt that counts now.
    pub fn current_attempt(mut self, attempt: i32) -> Self {
        self.details.current_attempt = Some(attempt);
        self
    }

    /// Adds the state the thing is in.
    pub fn current_state(mut self, state: impl Into<String>) -> Self {
        self.details.current_state = Some(state.into());
        self
    }

    /// Adds the state that was asked for.
    pub fn requested_state(mut self, state: impl Into<String>) -> Self {
        self.details.requested_state = Some(state.into());
        self
    }

    /// Adds the scope that would do.
    pub fn required_scope(mut self, scope: impl Into<String>) -> Self {
        self.details.required_scope = Some(scope.into());
        self
    }

    /// Adds where plain secrets were found.
    pub fn secret_paths(mut self, paths: Vec<String>) -> Self {
        self.details.secret_paths = paths;
        self
    }

    /// Adds a field that is wrong.
    pub fn issue(mut self, path: impl Into<String>, message: impl Into<String>) -> Self {
        let issues = self.details.issues.get_or_insert_with(Issues::default);
        issues
            .field_errors
            .entry(path.into())
            .or_default()
            .push(message.into());
        self
    }

    /// Says when to come back. The same request can succeed then.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self.details.recoverable = Some(true);
        self
    }

    /// The code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The refusal as it stands inside the answer of a batch.
    pub fn to_wire(&self) -> Refusal {
        let details = serde_json::to_value(&self.details)
            .ok()
            .filter(|value| value != &serde_json::json!({}));
        Refusal {
            code: self.code,
            message: self.message.clone(),
            recovery_hint: Some(
                self.hint
                    .clone()
                    .unwrap_or_else(|| usual_hint(self.code).to_owned()),
            ),
            details: details.map(|_| self.details.clone()),
        }
    }
}

/// What to do next when the message alone says what is wrong.
fn usual_hint(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::ValidationError | ErrorCode::SchemaValidationFailed => {
            "correct the request; what every route takes is listed at /docs"
        }
        ErrorCode::Unauthorized => "use a valid key, or ask an admin for one",
        ErrorCode::Forbidden => "use a key that is allowed to do this",
        ErrorCode::NotFound => "check the id, and that the key belongs to the tenant that owns it",
        ErrorCode::MethodNotAllowed => "every route is listed at /docs",
        ErrorCode::Conflict | ErrorCode::InvalidStateTransition => {
            "read the thing as it is now, and decide again"
        }
        ErrorCode::PayloadTooLarge => "send less at once",
        ErrorCode::UnsupportedMediaType => "send the header `Content-Type: application/json`",
        ErrorCode::RateLimited | ErrorCode::ServiceUnavailable => {
            "repeat the request after Retry-After"
        }
        ErrorCode::InternalError => "look up meta.request_id in the platform's log",
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Refused(Box::new(refused))
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if is_connection_failure(&error) {
            tracing::warn!(error = %error, "the database cannot be reached");
            return Self::database_unavailable();
        }
        if lacks_resources(&error) {
            tracing::error!(error = %error, "the database server has no room left, on its disk or in its memory");
            return Self::database_full();
        }
        // lock_not_available: a twin of this request holds the slot on another replica.
        if has_code(&error, "55P03") {
            return Self::request_in_progress();
        }
        Self::Internal(error.into())
    }
}

/// Whether the database refused a statement with this code.
fn has_code(error: &sqlx::Error, code: &str) -> bool {
    let cause = error.as_database_error().and_then(|cause| cause.code());
    cause.is_some_and(|cause| cause == code)
}

/// Whether the server has no disk or memory left for the statement (class 53): it can succeed later.
fn lacks_resources(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|cause| cause.code());
    code.is_some_and(|code| code.starts_with("53"))
}

/// Whether the statement may never have reached the server, or its answer never reached us.
pub fn is_connection_failure(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // Classes 08 (connection) and 57P (shut down, crashed, starting), 53300 (too many connections).
        sqlx::Error::Database(cause) => cause.code().is_some_and(|code| {
            code.starts_with("08") || code.starts_with("57P") || code == "53300"
        }),
        _ => false,
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Internal(error.into())
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        Self::Internal(error)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refused) => write!(f, "{}: {}", refused.code, refused.message),
            Self::Replayed { status, .. } => write!(f, "already answered with {status}"),
            Self::Internal(error) => write!(f, "{error:#}"),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let refused = match self.for_callers() {
            Self::Refused(refused) => refused,
            Self::Replayed { status, data } => return crate::http::replayed(status, &data),
            Self::Internal(error) => {
                tracing::error!(error = format!("{error:#}"), "internal error");
                metrics::counter!("stint_internal_errors_total").increment(1);
                Box::new(
                    Refused::new(ErrorCode::InternalError, "the platform failed to answer this request")
                        .hint("repeat it; if it fails again, look up meta.request_id in the platform's log"),
                )
            }
        };
        let status =
            StatusCode::from_u16(refused.code.status()).expect("every code has a valid status");
        let body = ErrorBody {
            error: refused.to_wire(),
            meta: meta(),
        };
        let mut response = (status, axum::Json(body)).into_response();
        if let Some(seconds) = refused.retry_after_seconds {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
