//! Server-sent events: a stream that is read forward by cursor and never skips.
//!
//! A stream holds no connection while it waits. It reads a stretch after its cursor, sends it, and
//! sleeps until this replica has appended something or half a second has passed, whichever is first.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use http::HeaderMap;
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// Longest pause between two looks: what another replica appended is seen this late at most.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Keeps proxies from taking a quiet stream for a dead one.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One entry of a stream.
pub struct Entry {
    /// Its cursor: resumes the stream after it as `Last-Event-ID`.
    pub id: String,
    /// What is sent, as JSON text.
    pub data: String,
}

/// The cursor after which a client goes on: the header `Last-Event-ID`.
pub fn last_event_id(headers: &HeaderMap) -> Option<String> {
    headers
        .get("last-event-id")?
        .to_str()
        .ok()
        .map(str::to_owned)
}

/// Streams what `read` finds after a cursor, for ever, until the platform shuts down.
///
/// `read` takes the cursor and returns the entries after it, in order, with the cursor to go on from.
pub fn stream<R, F>(
    name: &'static str,
    mut cursor: String,
    mut appended: tokio::sync::watch::Receiver<u64>,
    shutdown: CancellationToken,
    read: R,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>>
where
    R: Fn(String) -> F + Send + 'static,
    F: Future<Output = Result<(Vec<Entry>, String), Error>> + Send,
{
    let (sender, receiver) = tokio::sync::mpsc::channel(64);
    let follow = async move {
        loop {
            // Mark what was appended as seen before looking: what comes in between wakes us again.
            appended.borrow_and_update();
            match read(cursor.clone()).await {
                Ok((entries, next)) => {
                    let found_some = !entries.is_empty();
                    for entry in entries {
                        let event = Event::default().event(name).id(entry.id).data(entry.data);
                        if sender.send(Ok(event)).await.is_err() {
                            return;
                        }
                    }
                    cursor = next;
                    if found_some {
                        continue;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, stream = name, "a stream could not be read; trying again")
                }
            }
            tokio::select! {
                () = sender.closed() => return,
                () = shutdown.cancelled() => return,
                _ = appended.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "ends with its client or with the platform"
    )]
    tokio::spawn(follow);
    Sse::new(tokio_stream::wrappers::ReceiverStream::new(receiver))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("ping"))
}
