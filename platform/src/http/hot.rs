//! A body for a lane of the hot path: parsed and checked like any other, but without a slot.
//!
//! The operations of the hot path are safe to repeat by their natural keys: the task and its attempt,
//! or a request id that is stored with the row they make.

use axum::extract::FromRequest;
use axum::extract::Request;
use bytes::Bytes;
use http::HeaderMap;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::body;
use super::caller::Caller;
use super::canonical::canonical;
use super::slots;
use crate::app::App;
use crate::error::Error;

/// A caller and the body it sent.
pub struct Hot<T> {
    /// Who asks.
    pub caller: Caller,
    /// What it sent.
    pub body: T,
    /// The idempotency key, from the body or the header.
    pub request_id: Option<String>,
    /// Whether it wants the thing in the answer.
    pub wants: Wanted,
    bytes: Bytes,
}

/// What a report is to be answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The thing as it is now.
    Representation,
    /// Only that the report took effect: `Prefer: return=minimal` (RFC 7240).
    Minimal,
}

impl Wanted {
    fn of(headers: &HeaderMap) -> Self {
        let preferences = headers.get_all("prefer").iter();
        let is_minimal = preferences
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|preference| preference.trim().eq_ignore_ascii_case("return=minimal"));
        if is_minimal {
            Self::Minimal
        } else {
            Self::Representation
        }
    }
}

impl<T> Hot<T> {
    /// How many bytes the body has.
    pub fn weight(&self) -> usize {
        self.bytes.len() + body::BODY_BYTES_OVERHEAD
    }

    /// What tells two bodies apart, whatever their spacing and order of members.
    pub fn fingerprint(&self) -> Vec<u8> {
        Sha256::digest(canonical(&self.bytes)).to_vec()
    }
}

impl<T: DeserializeOwned + Send> FromRequest<App> for Hot<T> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self, Error> {
        let (parts, stream) = request.into_parts();
        let bytes = body::read(&parts.headers, stream, app.config.limits.body_bytes_max).await?;
        let body = body::parse(&bytes)?;
        let request_id = slots::request_id(&parts.headers, &bytes)?;
        let caller = parts
            .extensions
            .get::<Caller>()
            .cloned()
            .ok_or_else(|| Error::Internal(anyhow::anyhow!("a hot route is public")))?;
        Ok(Self {
            caller,
            body,
            request_id,
            wants: Wanted::of(&parts.headers),
            bytes,
        })
    }
}
