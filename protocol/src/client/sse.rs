//! Server-sent events: a stream of entries that can be taken up again where it broke.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, Stream};
use futures_util::{StreamExt, TryStreamExt};
use reqwest::RequestBuilder;
use reqwest::header::ACCEPT;
use serde::de::DeserializeOwned;

use super::{ClientError, Result, accepted};

/// How long a stream as a whole may last; only silence ends it earlier.
const STREAM_TIMEOUT: Duration = Duration::from_secs(365 * 86_400);

/// How large one event may be. An entry is bounded by the platform's body limit.
const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// An entry of a stream.
#[derive(Clone, Debug)]
pub struct Streamed<T> {
    /// Pass this as `last_event_id` to go on after this entry.
    pub id: Option<String>,
    /// The entry.
    pub entry: T,
}

/// A stream of entries. Ends with an error when the connection breaks: take it up again.
pub struct EntryStream<T>(BoxStream<'static, Result<Streamed<T>>>);

impl<T> Stream for EntryStream<T> {
    type Item = Result<Streamed<T>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

/// Opens a stream and reads the entries of the events called `name`, or of all.
pub(super) async fn open<T>(
    request: RequestBuilder,
    last_event_id: Option<&str>,
    name: Option<&'static str>,
) -> Result<EntryStream<T>>
where
    T: DeserializeOwned + Send + 'static,
{
    let mut request = request
        .timeout(STREAM_TIMEOUT)
        .header(ACCEPT, "text/event-stream");
    if let Some(id) = last_event_id {
        request = request.header("last-event-id", id);
    }
    let response = accepted(request).await?;
    let mut reader = Reader::default();
    let entries = response
        .bytes_stream()
        .map_err(ClientError::Unreachable)
        .map(move |bytes| bytes.and_then(|bytes| reader.read(bytes.as_ref())))
        .flat_map(|events| match events {
            Ok(events) => stream::iter(events.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        })
        .try_filter_map(move |event| async move { entry(event, name) });
    Ok(EntryStream(entries.boxed()))
}

fn entry<T: DeserializeOwned>(
    event: RawEvent,
    name: Option<&'static str>,
) -> Result<Option<Streamed<T>>> {
    if name.is_some_and(|name| event.name.as_deref() != Some(name)) {
        return Ok(None);
    }
    let entry = serde_json::from_str(&event.data).map_err(|error| unexpected(error.to_string()))?;
    Ok(Some(Streamed {
        id: event.id,
        entry,
    }))
}

fn unexpected(message: String) -> ClientError {
    ClientError::Unexpected {
        status: 200,
        message,
    }
}

/// One event as it was sent.
#[derive(Debug, Default, PartialEq)]
struct RawEvent {
    name: Option<String>,
    id: Option<String>,
    data: String,
}

/// Puts events together from pieces that may break anywhere, also within a character.
#[derive(Default)]
struct Reader {
    line: Vec<u8>,
    last_was_return: bool,
    event: RawEvent,
    has_data: bool,
    /// An id holds until another one is sent.
    id: Option<String>,
}

impl Reader {
    fn read(&mut self, bytes: &[u8]) -> Result<Vec<RawEvent>> {
        let mut events = Vec::new();
        for &byte in bytes {
            match byte {
                // The second half of a line end that was counted at its first.
                b'\n' if self.last_was_return => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    let line = String::from_utf8(line)
                        .map_err(|_| unexpected("the stream is not UTF-8".to_owned()))?;
                    events.extend(self.end_line(&line));
                }
                _ => self.line.push(byte),
            }
            self.last_was_return = byte == b'\r';
            if self.line.len() + self.event.data.len() > EVENT_BYTES_MAX {
                return Err(unexpected("an event of the stream is too large".to_owned()));
            }
        }
        Ok(events)
    }

    fn end_line(&mut self, line: &str) -> Option<RawEvent> {
        if line.is_empty() {
            let mut event = std::mem::take(&mut self.event);
            event.id.clone_from(&self.id);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event.name = Some(value.to_owned()),
            "id" => self.id = Some(value.to_owned()),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            // Comments keep the connection alive; other fields do not concern us.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(pieces: &[&[u8]]) -> Vec<RawEvent> {
        let mut reader = Reader::default();
        pieces
            .iter()
            .flat_map(|piece| reader.read(piece).unwrap())
            .collect()
    }

    #[test]
    fn events_are_put_together_from_any_pieces() {
        let text = "event: log\nid: 7\ndata: {\"a\":\ndata: \"é\"}\n\n: ping\n\ndata: 2\n\n";
        let whole = read_all(&[text.as_bytes()]);
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(whole, read_all(&bytes));
        assert_eq!(whole.len(), 2, "a comment is no event");
        assert_eq!(whole[0].name.as_deref(), Some("log"));
        assert_eq!(whole[0].data, "{\"a\":\n\"é\"}");
        assert_eq!(whole[1].id.as_deref(), Some("7"), "an id holds on");
    }

    #[test]
    fn every_kind_of_line_end_is_understood() {
        let events = read_all(&[b"data: 1\r\n\r\ndata: 2\r\rdata: 3\r", b"\n\r\n"]);
        let data: Vec<_> = events.iter().map(|event| event.data.as_str()).collect();
        assert_eq!(data, ["1", "2", "3"]);
    }

    #[test]
    fn events_of_another_name_are_passed_over() {
        let event = RawEvent {
            name: Some("hello".to_owned()),
            id: None,
            data: "not JSON".to_owned(),
        };
        assert!(entry::<u8>(event, Some("log")).unwrap().is_none());
    }
}
