//! What a handler writes, on its way to the platform.
//!
//! ```text
//! handler ─line()─► mask, cut ─► bounded queue ─► batches of 100 lines or 200 ms ─► platform
//! ```
//!
//! Writing never waits: when the queue is full, lines are dropped and counted, and one entry at the
//! end says how many. Lines are numbered when they leave the queue, so that what is sent has no gaps.

mod entry;
mod ship;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use stint_protocol::Timestamp;
use tokio::sync::mpsc;

use crate::mask::Mask;

pub(crate) use ship::open;

/// How long a line may be. What is longer is cut, and marked.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// How many lines may wait to be sent.
const QUEUE_LINES_MAX: usize = 10_000;

/// How much text may wait to be sent.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What stands at the end of a line that was cut.
const CUT_MARK: &str = " … (cut)";

/// Where a line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The handler's ordinary output.
    Stdout,
    /// The handler's other output.
    Stderr,
    /// The worker itself.
    Worker,
}

impl Stream {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Worker => "worker",
        }
    }
}

/// Takes the lines of one attempt.
#[derive(Clone)]
pub struct LogSink {
    queue: mpsc::Sender<Line>,
    load: Arc<Load>,
    mask: Mask,
}

/// How full the queue is, and what did not fit.
#[derive(Default)]
struct Load {
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

/// A line that waits to be sent.
struct Line {
    stream: Stream,
    text: String,
    at: Timestamp,
}

impl LogSink {
    /// Writes one line, with secrets masked. Never waits.
    pub fn line(&self, stream: Stream, text: &str) {
        self.line_at(stream, text, now());
    }

    /// Writes a line that was read earlier.
    pub(crate) fn line_at(&self, stream: Stream, text: &str, at: Timestamp) {
        let (mut text, was_cut) = self.mask.hide_up_to(text, LINE_BYTES_MAX);
        if was_cut {
            text.push_str(CUT_MARK);
        }
        // The database cannot store this character.
        if text.contains('\0') {
            text = text.replace('\0', "\u{fffd}");
        }
        let size = text.len();
        let has_room = self.load.bytes.fetch_add(size, Ordering::Relaxed) + size <= QUEUE_BYTES_MAX;
        if !has_room || self.queue.try_send(Line { stream, text, at }).is_err() {
            self.load.bytes.fetch_sub(size, Ordering::Relaxed);
            self.load.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn mask(&self) -> &Mask {
        &self.mask
    }
}

pub(crate) fn now() -> Timestamp {
    chrono::Utc::now().into()
}

/// A sink whose lines can be looked at, for tests of handlers.
#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) struct Lines(mpsc::Receiver<Line>);

    impl Lines {
        pub(crate) fn take(&mut self) -> Vec<(Stream, String)> {
            let mut lines = Vec::new();
            while let Ok(line) = self.0.try_recv() {
                lines.push((line.stream, line.text));
            }
            lines
        }
    }

    pub(crate) fn sink(mask: &Mask) -> (LogSink, Lines) {
        let (queue, lines) = mpsc::channel(QUEUE_LINES_MAX);
        let sink = LogSink {
            queue,
            load: Arc::default(),
            mask: mask.clone(),
        };
        (sink, Lines(lines))
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (sink, mut lines) = sink(&Mask::default());
        for _ in 0..QUEUE_LINES_MAX + 7 {
            sink.line(Stream::Stdout, "x");
        }
        assert_eq!(lines.take().len(), QUEUE_LINES_MAX);
        assert_eq!(sink.load.dropped.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn a_long_line_is_cut_and_marked() {
        let (sink, mut lines) = sink(&Mask::default());
        sink.line(Stream::Stderr, &"x".repeat(LINE_BYTES_MAX + 1));
        let (stream, text) = lines.take().remove(0);
        assert_eq!(stream, Stream::Stderr);
        assert!(text.ends_with(CUT_MARK));
        assert_eq!(text.len(), LINE_BYTES_MAX + CUT_MARK.len());
    }

    #[test]
    fn a_line_is_masked_and_has_no_nul() {
        let mask = Mask::default();
        mask.add("hunter2hunter2").unwrap();
        let (sink, mut lines) = sink(&mask);
        sink.line(Stream::Stdout, "pw=hunter2hunter2\0");
        assert_eq!(lines.take()[0].1, "pw=***\u{fffd}");
    }
}
