//! Sends the lines of one attempt in batches.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stint_protocol::client::{Client, ClientError};
use stint_protocol::{ClaimedTask, IngestLogs, LogInput, LogsIngested};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::entry::{Origin, Packed};
use super::{Line, Load, LogSink, QUEUE_LINES_MAX};
use crate::backoff::Backoff;
use crate::mask::Mask;

/// How long lines are gathered.
const GATHER: Duration = Duration::from_millis(200);

/// How many entries a batch has at most: what the platform takes.
const BATCH_ENTRIES_MAX: usize = 100;

/// How much text begins a new batch. With one more line of the largest size, escaped, and the
/// fields around each line, a batch stays below the platform's body limit of 1 MiB.
const BATCH_BYTES: usize = 512 * 1024;

/// Sends what is written into a [`LogSink`].
pub(crate) struct Shipper {
    closing: CancellationToken,
    shipping: AbortOnDropHandle<()>,
}

/// Makes the sink for an attempt and begins to send what is written into it.
pub(crate) fn open(client: &Client, task: &ClaimedTask, mask: &Mask) -> (LogSink, Shipper) {
    let (queue, lines) = mpsc::channel(QUEUE_LINES_MAX);
    let load = Arc::<Load>::default();
    let closing = CancellationToken::new();
    let shipment = Shipment {
        client: client.clone(),
        origin: Origin::of(task),
        lines,
        load: Arc::clone(&load),
        closing: closing.clone(),
        seq: 0,
        is_over: false,
    };
    let sink = LogSink {
        queue,
        load,
        mask: mask.clone(),
    };
    let shipper = Shipper {
        closing,
        shipping: AbortOnDropHandle::new(tokio::spawn(shipment.run())),
    };
    (sink, shipper)
}

impl Shipper {
    /// Sends what was written so far, for as long as `patience` lasts. Later lines are dropped.
    pub(crate) async fn close(self, patience: Duration) {
        self.closing.cancel();
        match timeout(patience, self.shipping).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the sending of log lines broke off"),
            Err(_) => warn!("some log lines could not be sent in time and are lost"),
        }
    }
}

struct Shipment {
    client: Client,
    origin: Origin,
    lines: mpsc::Receiver<Line>,
    load: Arc<Load>,
    closing: CancellationToken,
    seq: i64,
    /// The platform takes no more lines of this attempt.
    is_over: bool,
}

impl Shipment {
    async fn run(mut self) {
        while let Some(first) = self.next(None).await {
            let batch = self.gather(first).await;
            if !self.is_over {
                self.send(batch).await;
            }
        }
        let dropped = self.load.dropped.load(Ordering::Relaxed);
        if dropped > 0 && !self.is_over {
            self.seq += 1;
            let entry = self.origin.dropped(dropped, self.seq);
            if let Err(error) = self.ingest(vec![entry]).await {
                warn!(%error, dropped, "log lines were dropped");
            }
        }
    }

    /// The next line; nothing at the deadline, or at the end.
    async fn next(&mut self, deadline: Option<Instant>) -> Option<Packed> {
        loop {
            tokio::select! {
                line = self.lines.recv() => {
                    let line = line?;
                    self.load.bytes.fetch_sub(line.text.len(), Ordering::Relaxed);
                    return Some(Packed::new(line));
                }
                () = self.closing.cancelled(), if !self.lines.is_closed() => self.lines.close(),
                () = at(deadline), if deadline.is_some() => return None,
            }
        }
    }

    async fn gather(&mut self, first: Packed) -> Vec<Packed> {
        let deadline = Some(Instant::now() + GATHER);
        let mut size = first.size();
        let mut batch = vec![first];
        while batch.len() < BATCH_ENTRIES_MAX && size < BATCH_BYTES {
            let Some(packed) = self.next(deadline).await else {
                break;
            };
            size += packed.size();
            batch.push(packed);
        }
        batch
    }

    async fn send(&mut self, batch: Vec<Packed>) {
        let first = self.seq + 1;
        let entries: Vec<LogInput> = batch
            .iter()
            .zip(first..)
            .map(|(packed, seq)| self.origin.output_line(packed, seq))
            .collect();
        self.seq += i64::try_from(batch.len()).expect("a batch is small");
        if let Err(error) = self.ingest(entries.clone()).await {
            warn!(%error, "the platform refused a batch of log lines, sending them one by one");
            self.send_one_by_one(entries).await;
        }
    }

    /// Saves the lines that share a batch with one that the platform does not accept.
    async fn send_one_by_one(&mut self, entries: Vec<LogInput>) {
        for entry in entries {
            if self.is_over {
                return;
            }
            let seq = entry.seq.expect("every line has a number");
            if self.ingest(vec![entry]).await.is_err()
                && let Err(error) = self.ingest(vec![self.origin.refused(seq)]).await
            {
                warn!(%error, "the platform takes no log lines of this attempt");
                self.is_over = true;
            }
        }
    }

    /// Sends entries until the platform has judged them.
    async fn ingest(&mut self, entries: Vec<LogInput>) -> Result<(), ClientError> {
        let logs = IngestLogs {
            entries,
            request_id: None,
        };
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        loop {
            match self.client.ingest_logs(&logs).await {
                Ok(judged) => {
                    self.heed(&judged);
                    return Ok(());
                }
                Err(error) if error.is_safe_to_repeat() || error.status() == Some(500) => {
                    sleep(backoff.next(error.retry_after())).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A rejected entry is never sent again; one that is rejected with its attempt ends the sending.
    fn heed(&mut self, judged: &LogsIngested) {
        let Some(rejection) = judged.rejection_details.first() else {
            return;
        };
        let is_over = matches!(
            rejection.reason.as_str(),
            "superseded_attempt" | "attempt_over" | "not_holder" | "task_not_found"
        );
        if is_over && !self.is_over {
            warn!(
                reason = rejection.reason,
                "the platform takes no more log lines of this attempt"
            );
        }
        self.is_over |= is_over;
    }
}

async fn at(deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        sleep_until(deadline).await;
    }
}
