//! Request slots: what was answered under an idempotency key.
//!
//! A slot is a row, taken in the transaction that has the effect and filled with the answer before that
//! transaction commits; so effect and answer are one. Twins of a running request meet here in memory
//! before they take a connection; across replicas the second one waits on the row's primary key.

use std::sync::Arc;

use dashmap::DashMap;
use http::HeaderMap;
use serde::Deserialize;
use tokio::sync::{Mutex, OwnedMutexGuard};
use uuid::Uuid;

use super::{check_length, store};
use crate::app::App;
use crate::error::Error;

/// Longest idempotency key.
const REQUEST_ID_LENGTH_MAX: usize = 255;

/// Names a slot: tenant, holder, request id.
type SlotKey = (Uuid, Uuid, String);

/// Requests with an idempotency key that run on this replica now.
#[derive(Clone, Default)]
pub struct InFlight(Arc<DashMap<SlotKey, Arc<Mutex<()>>>>);

/// Held while a request runs; its twins wait for it.
pub(super) struct Turn {
    running: InFlight,
    key: SlotKey,
    guard: Option<OwnedMutexGuard<()>>,
}

impl InFlight {
    /// Waits until no twin runs.
    pub(super) async fn turn(&self, key: SlotKey) -> Turn {
        let lock = Arc::clone(&self.0.entry(key.clone()).or_default());
        let guard = lock.lock_owned().await;
        Turn {
            running: self.clone(),
            key,
            guard: Some(guard),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        // A twin that waits holds the lock too; the last one takes the entry away.
        self.running
            .0
            .remove_if(&self.key, |_, lock| Arc::strong_count(lock) == 1);
    }
}

/// The idempotency key of a request: `request_id` in the body, or the header `Idempotency-Key`.
pub(super) fn request_id(headers: &HeaderMap, body: &[u8]) -> Result<Option<String>, Error> {
    #[derive(Deserialize)]
    struct WithRequestId {
        request_id: Option<String>,
    }
    // Reading a body once more is worth a look for the word; a name may also be written with escapes.
    let may_have_one = memchr::memmem::find(body, b"request_id").is_some()
        || memchr::memchr(b'\\', body).is_some();
    let in_body = may_have_one
        .then(|| serde_json::from_slice::<WithRequestId>(body).ok())
        .flatten()
        .and_then(|body| body.request_id);
    let in_header = match headers.get("idempotency-key") {
        Some(value) => Some(
            value
                .to_str()
                .map_err(|_| Error::invalid("the header Idempotency-Key must be printable ASCII"))?
                .to_owned(),
        ),
        None => None,
    };
    if let (Some(body), Some(header)) = (&in_body, &in_header)
        && body != header
    {
        return Err(Error::field(
            "request_id",
            "differs from the header Idempotency-Key; send one of them",
        ));
    }
    let id = in_body.or(in_header);
    if let Some(id) = &id {
        check_length("request_id", id, 1..=REQUEST_ID_LENGTH_MAX)?;
    }
    Ok(id)
}

/// Loop body: forgets answers whose time is over.
pub async fn forget_requests(app: App) -> Result<u64, Error> {
    let mut tx = app.db.begin_internal().await?;
    let forgotten = store::forget(tx.conn()).await?;
    tx.commit(&app).await?;
    Ok(forgotten)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_and_header_must_agree() {
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", "one".parse().unwrap());
        assert_eq!(request_id(&headers, b"{}").unwrap().as_deref(), Some("one"));
        assert_eq!(
            request_id(&headers, br#"{"request_id":"one"}"#)
                .unwrap()
                .as_deref(),
            Some("one")
        );
        assert!(request_id(&headers, br#"{"request_id":"two"}"#).is_err());
    }
}
