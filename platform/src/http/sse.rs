//! Server-sent events: a stream that is read forward by cursor and never skips.
//!
//! A stream holds no connection while it waits, and no lock while its client is slow. It goes on where
//! `Last-Event-ID` says, ends when its key is no longer valid, and beats every 15 seconds when there is
//! nothing to say, so that proxies and clients can tell a quiet stream from a dead one.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, header};
use protocol::{ErrorCode, ReasonCode};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use super::caller::Caller;
use super::cursor::Cursor;
use super::tail::{self, Followed};
use crate::app::App;
use crate::error::{Error, Refused};

/// Longest silence: keeps proxies from taking a quiet stream for a dead one.
const BEAT_EVERY: Duration = Duration::from_secs(15);
/// How often a stream makes sure that its key is still valid.
const CHECK_KEY_EVERY: Duration = Duration::from_secs(30);
/// Entries that wait for a slow client before the stream stops reading ahead.
const READ_AHEAD: usize = 64;
/// Entries read at once.
pub const STRETCH: i64 = 100;
/// How long a client shall wait before it connects again.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// One entry of a stream.
pub struct Entry {
    /// Its place: resumes the stream after it as `Last-Event-ID`.
    pub id: Cursor,
    /// The kind of message.
    pub name: String,
    /// What is sent, as JSON text.
    pub data: String,
}

/// What a stream says when there is nothing to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// A comment, which clients do not see.
    Comment,
    /// A message `heartbeat` with the time.
    Message,
}

/// Reads at most [`STRETCH`] entries after the first cursor, up to and with the second, in order.
pub type Read =
    Box<dyn Fn(Cursor, Cursor) -> BoxFuture<'static, Result<Vec<Entry>, Error>> + Send + Sync>;

/// Where a client that was connected before goes on: the header `Last-Event-ID`.
///
/// # Errors
/// 400 when the header is not a cursor.
pub fn last_event_id(headers: &HeaderMap) -> Result<Option<Cursor>, Error> {
    match headers.get("last-event-id") {
        None => Ok(None),
        Some(value) if value.is_empty() => Ok(None),
        Some(value) => Cursor::parse("Last-Event-ID", value.to_str().unwrap_or_default()).map(Some),
    }
}

/// Streams what `read` finds after a cursor, or from now on, until the platform shuts down.
///
/// # Errors
/// 429 `limit_reached` when this replica serves as many streams as it may; 503 when the database
/// cannot be reached.
pub async fn stream(
    app: &App,
    kind: &'static Followed,
    caller: Caller,
    after: Option<Cursor>,
    beat: Beat,
    read: Read,
) -> Result<Response, Error> {
    let permit = (kind.tails)(app)
        .streams
        .clone()
        .try_acquire_owned()
        .map_err(|_| too_many(kind))?;
    let cursor = match after {
        Some(cursor) => cursor,
        None => (kind.newest)(app.clone(), caller.tenant()).await?,
    };
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    let stream = Stream {
        app: app.clone(),
        kind,
        caller,
        cursor,
        beat,
        sender,
        _permit: permit,
    };
    app.spawn(stream.run(read));
    let mut response =
        Sse::new(tokio_stream::wrappers::ReceiverStream::new(receiver)).into_response();
    // Proxies that buffer would turn a live stream into a late one.
    response.headers_mut().insert(
        header::HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    Ok(response)
}

fn too_many(kind: &Followed) -> Error {
    Refused::new(
        ErrorCode::RateLimited,
        format!(
            "this replica already serves as many streams of {} as it may",
            kind.name
        ),
    )
    .reason(ReasonCode::LimitReached)
    .hint("close streams that nobody reads, or raise STINT_STREAMS_MAX")
    .retry_after(5)
    .into()
}

/// A stream that is being served.
struct Stream {
    app: App,
    kind: &'static Followed,
    caller: Caller,
    cursor: Cursor,
    beat: Beat,
    sender: mpsc::Sender<Result<Event, Infallible>>,
    _permit: OwnedSemaphorePermit,
}

/// The stream is over: its client has gone, its key is no longer valid, or the platform shuts down.
struct Over;

impl Stream {
    async fn run(mut self, read: Read) {
        let mut newest = tail::follow(&self.app, self.kind, self.caller.tenant());
        let hello = Event::default()
            .comment("connected")
            .retry(RECONNECT_AFTER)
            .id(self.cursor.to_string());
        if self.send(hello).await.is_err() {
            return;
        }
        let mut check_key_at = Instant::now() + CHECK_KEY_EVERY;
        loop {
            let settled = *newest.borrow_and_update();
            if self.catch_up(&read, settled).await.is_err() {
                return;
            }
            let beat_at = Instant::now() + BEAT_EVERY;
            tokio::select! {
                () = self.sender.closed() => return,
                () = self.app.shutdown.cancelled() => return,
                // Fails when the watcher has ended, which it does at shutdown alone.
                changed = newest.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(beat_at.min(check_key_at)) => {}
            }
            if Instant::now() >= beat_at && self.send(self.beat.event(self.cursor)).await.is_err() {
                return;
            }
            if Instant::now() >= check_key_at {
                check_key_at = Instant::now() + CHECK_KEY_EVERY;
                let checking = crate::keys::is_still_valid(&self.app, &self.caller);
                match self.app.db.unless_silent(checking).await.flatten() {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => tracing::debug!(%error, "the key of a stream was not checked"),
                }
            }
        }
    }

    /// Sends everything up to the newest settled row.
    async fn catch_up(&mut self, read: &Read, settled: Cursor) -> Result<(), Over> {
        while self.cursor < settled {
            let reading = self.app.db.unless_silent(read(self.cursor, settled));
            let entries = match reading.await.flatten() {
                Ok(entries) => entries,
                Err(error) => {
                    tracing::warn!(%error, "a stream of {} could not be read; trying again", self.kind.name);
                    self.pause().await?;
                    continue;
                }
            };
            let is_full = entries.len() >= usize::try_from(STRETCH).unwrap_or(usize::MAX);
            let last = entries.last().map(|entry| entry.id);
            for entry in entries {
                let event = Event::default()
                    .event(entry.name)
                    .id(entry.id.to_string())
                    .data(one_line(&entry.data));
                self.send(event).await?;
            }
            // What the filters passed over is passed for good: the next look starts behind it.
            self.cursor = last.filter(|_| is_full).unwrap_or(settled);
        }
        Ok(())
    }

    async fn pause(&self) -> Result<(), Over> {
        tokio::select! {
            () = self.app.shutdown.cancelled() => Err(Over),
            () = tokio::time::sleep(RECONNECT_AFTER) => Ok(()),
        }
    }

    async fn send(&self, event: Event) -> Result<(), Over> {
        tokio::select! {
            sent = self.sender.send(Ok(event)) => sent.map_err(|_| Over),
            () = self.app.shutdown.cancelled() => Err(Over),
        }
    }
}

/// JSON on one line. Line breaks in JSON text are spacing: within strings they are escaped.
fn one_line(json: &str) -> String {
    json.replace(['\r', '\n'], " ")
}

impl Beat {
    /// Carries the cursor, so that a client which reconnects does not read what its filters passed over again.
    fn event(self, cursor: Cursor) -> Event {
        let event = Event::default().id(cursor.to_string());
        match self {
            Self::Comment => event.comment("ping"),
            Self::Message => {
                let ts = super::meta().timestamp;
                event.event("heartbeat").data(format!(r#"{{"ts":"{ts}"}}"#))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_was_sent_with_line_breaks_stays_one_message() {
        assert_eq!(
            one_line("{\"a\":\r\n1,\n\"b\":\"x\\ny\"}"),
            "{\"a\":  1, \"b\":\"x\\ny\"}"
        );
    }

    #[test]
    fn a_stream_resumes_where_the_header_says() {
        let mut headers = HeaderMap::new();
        assert_eq!(last_event_id(&headers).unwrap(), None);
        let cursor = Cursor { xid: 3, id: 4 };
        headers.insert("last-event-id", cursor.to_string().parse().unwrap());
        assert_eq!(last_event_id(&headers).unwrap(), Some(cursor));
        headers.insert("last-event-id", "nonsense".parse().unwrap());
        assert!(last_event_id(&headers).is_err());
    }
}
