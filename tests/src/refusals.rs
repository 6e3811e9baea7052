//! Reading refusals.

use stint_protocol::client::ClientError;
use stint_protocol::{ErrorCode, ReasonCode, Refusal};

/// The refusal of a request that must be refused with this code.
///
/// # Panics
/// When it was accepted, or refused with another code.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(
    result: Result<T, ClientError>,
    code: ErrorCode,
) -> Box<Refusal> {
    match result {
        Err(ClientError::Refused {
            status, refusal, ..
        }) => {
            assert_eq!(refusal.code, code, "{}", refusal.message);
            assert_eq!(status, code.status(), "{}", refusal.message);
            refusal
        }
        other => panic!("expected {code}, got {other:?}"),
    }
}

/// The refusal of a request that must be refused for this reason.
///
/// # Panics
/// When it was accepted, or refused for another reason.
#[track_caller]
pub fn refused_because<T: std::fmt::Debug>(
    result: Result<T, ClientError>,
    reason: ReasonCode,
) -> Box<Refusal> {
    match result {
        Err(error) if error.reason() == Some(reason) => match error {
            ClientError::Refused { refusal, .. } => refusal,
            other => panic!("a reason comes with a refusal, not with {other}"),
        },
        other => panic!("expected {reason}, got {other:?}"),
    }
}

/// The status of a request that must be refused.
///
/// # Panics
/// When it was accepted.
#[track_caller]
pub fn status_of<T: std::fmt::Debug>(result: Result<T, ClientError>) -> u16 {
    match result {
        Err(ClientError::Refused { status, .. }) => status,
        other => panic!("expected a refusal, got {other:?}"),
    }
}
