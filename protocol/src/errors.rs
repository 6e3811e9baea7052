//! Refusals: for people a sentence and a hint, for programs a code and a reason.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::enums::words;
use crate::{Meta, NotYetReason};

words! {
    /// What kind of refusal it is. Each code belongs to one HTTP status.
    ErrorCode {
        /// 400: the request cannot be understood or contradicts itself.
        ValidationError = "VALIDATION_ERROR",
        /// 401: no valid credentials.
        Unauthorized = "UNAUTHORIZED",
        /// 403: the credentials do not allow this.
        Forbidden = "FORBIDDEN",
        /// 404: no such thing in this tenant, or no such route.
        NotFound = "NOT_FOUND",
        /// 405: the route exists, but not for this method.
        MethodNotAllowed = "METHOD_NOT_ALLOWED",
        /// 409: something else has happened in between; the reason says what.
        Conflict = "CONFLICT",
        /// 409: the thing is in a state from which this move is not possible.
        InvalidStateTransition = "INVALID_STATE_TRANSITION",
        /// 413: the body is too large.
        PayloadTooLarge = "PAYLOAD_TOO_LARGE",
        /// 415: the body is not JSON.
        UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE",
        /// 422: the body is JSON but not what this operation takes.
        SchemaValidationFailed = "SCHEMA_VALIDATION_FAILED",
        /// 429: too much at once; come back after `Retry-After`.
        RateLimited = "RATE_LIMITED",
        /// 500: our fault; the request id leads to the log line.
        InternalError = "INTERNAL_ERROR",
        /// 503: not now; come back after `Retry-After`.
        ServiceUnavailable = "SERVICE_UNAVAILABLE",
    }

    /// What a program can act on beyond the code.
    ReasonCode {
        /// The same `request_id` was used for another operation, target or body. Use a new one.
        RequestIdReused = "request_id_reused",
        /// The same request is still being worked on. Ask again after `Retry-After`.
        RequestInProgress = "request_in_progress",
        /// The attempt that was named no longer holds the task. Stop working on it.
        LeaseLost = "lease_lost",
        /// The task is held by another agent or worker.
        NotHolder = "not_holder",
        /// A holder that registered with a `protocol_version` must name its attempt.
        AttemptMissing = "attempt_missing",
        /// The task has ended with another result than the one reported now.
        ResultDiffers = "result_differs",
        /// The task changed its state while this request was worked on. Read it and decide again.
        StateChanged = "state_changed",
        /// The platform no longer speaks this worker protocol. Upgrade the worker.
        UpgradeRequired = "upgrade_required",
        /// The connection to the database broke while committing. Repeat the request: it is safe.
        OutcomeUnknown = "outcome_unknown",
        /// The database cannot be reached.
        DatabaseUnavailable = "database_unavailable",
        /// The database server has no room left, on its disk or in its memory. Repeat the request once it has.
        DatabaseFull = "database_full",
        /// The platform is shutting down. Repeat the request: another replica answers.
        ShuttingDown = "shutting_down",
        /// Too many requests of this kind are waiting.
        LaneFull = "lane_full",
        /// This key has used up its rate.
        KeyRate = "key_rate",
        /// This address has used up its rate.
        AddressRate = "address_rate",
        /// A plain value stands where a secret seems to be meant. Use a `secret:` reference.
        PlainSecret = "plain_secret",
        /// The body contains the character NUL, which the database cannot store.
        NulCharacter = "nul_character",
        /// The key is restricted to other workspaces.
        OutsideWorkspaces = "outside_workspaces",
        /// The key is restricted to other routing tags.
        OutsideRoutingTags = "outside_routing_tags",
        /// An agent key acts for its own agent, a worker key for its own worker and its agents.
        OtherIdentity = "other_identity",
        /// The name is taken.
        NameTaken = "name_taken",
        /// A limit that has a name in the configuration is reached.
        LimitReached = "limit_reached",
        /// The task names another stage than its work item is in.
        TaskStageMismatch = "task_stage_mismatch",
        /// The thing is still in use.
        InUse = "in_use",
        /// Another handoff of the task stands.
        SubmitHandoffReplayConflict = "submit_handoff_replay_conflict",
        /// Something newer has taken its place.
        Superseded = "superseded",
    }
}

impl ErrorCode {
    /// The HTTP status that goes with the code.
    pub const fn status(self) -> u16 {
        match self {
            Self::ValidationError => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict | Self::InvalidStateTransition => 409,
            Self::PayloadTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::SchemaValidationFailed => 422,
            Self::RateLimited => 429,
            Self::InternalError => 500,
            Self::ServiceUnavailable => 503,
        }
    }
}

/// The body of every refusal.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What was refused and why.
    pub error: Refusal,
    /// Facts about the answer.
    pub meta: Meta,
}

/// What was refused and why.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// The kind of refusal.
    pub code: ErrorCode,
    /// What is wrong, for a person.
    pub message: String,
    /// What to do next, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_hint: Option<String>,
    /// What is wrong, for a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<RefusalDetails>,
}

/// What is wrong, for a program. Only what applies is present.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct RefusalDetails {
    /// What a program can act on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<ReasonCode>,
    /// Why a run is not ready for this yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_yet_reason: Option<NotYetReason>,
    /// Whether the same request can succeed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recoverable: Option<bool>,
    /// The state the thing is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_state: Option<String>,
    /// The state that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_state: Option<String>,
    /// The attempt that counts now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_attempt: Option<i32>,
    /// The scope that the route needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_scope: Option<String>,
    /// Which fields are wrong and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issues: Option<Issues>,
    /// Where plain secrets were found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_paths: Vec<String>,
}

/// Which fields are wrong and why.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Issues {
    /// By the path of the field.
    pub field_errors: std::collections::BTreeMap<String, Vec<String>>,
    /// About the body as a whole.
    pub form_errors: Vec<String>,
}
