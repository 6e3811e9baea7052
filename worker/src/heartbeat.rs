//! Heartbeats: renew the leases, tell the progress, hear what has changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use stint_protocol::client::ClientError;
use stint_protocol::{
    AcknowledgeMessage, ErrorCode, LeaseRef, PendingMessage, PendingSignal, SignalId,
    WorkerHeartbeat, WorkerHeartbeatAnswer, WorkerStatus,
};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::lease::Stop;
use crate::register::Registered;
use crate::report::End;
use crate::worker::WorkerError;

/// How long a heartbeat may take before it is given up for a new one. Half an interval, if that is less: then
/// the new one comes in time for leases that last two intervals.
const ANSWER_PATIENCE_MAX: Duration = Duration::from_secs(5);

/// Sends heartbeats and heeds their answers.
pub(crate) struct Heart {
    worker: Arc<Registered>,
    /// Leases the platform believes to be held here, and the claims that may still explain them.
    unlisted: HashMap<LeaseRef, Unexplained>,
    /// Hands unlisted leases back and acknowledges signals and messages, beside the heartbeats.
    errands: TaskTracker,
    heeded: Vec<SignalId>,
}

/// A lease that the platform knows of, and this worker does not.
struct Unexplained {
    /// When it was first heard of, in claims.
    since: u64,
    /// In how many answers it stood.
    times: u32,
}

/// Why a heartbeat brought no answer.
enum Missed {
    /// The next one may.
    Passing(String, Option<Duration>),
    /// There is no use in another one.
    Final(WorkerError),
}

impl Heart {
    pub(crate) fn new(worker: Arc<Registered>) -> Self {
        Self {
            worker,
            unlisted: HashMap::new(),
            errands: TaskTracker::new(),
            heeded: Vec::new(),
        }
    }

    /// Beats for as long as it is polled; ends only when the platform no longer knows the worker.
    pub(crate) async fn beat(&mut self) -> WorkerError {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
        loop {
            let sent_at = Instant::now();
            let next = match self.send(self.status()).await {
                Ok(()) => {
                    backoff.reset();
                    sent_at + self.worker.heartbeat
                }
                Err(Missed::Passing(error, asked)) => {
                    let pause = backoff.next(asked).min(self.worker.heartbeat);
                    warn!(
                        error,
                        "a heartbeat was not answered, trying again in {pause:.1?}"
                    );
                    Instant::now() + pause
                }
                Err(Missed::Final(error)) => return error,
            };
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.worker.beat_soon.notified() => {}
            }
        }
    }

    fn status(&self) -> Option<WorkerStatus> {
        // What an operator has set stays, unless this worker itself is draining.
        let is_draining = self.worker.draining.is_cancelled();
        is_draining.then_some(WorkerStatus::Draining)
    }

    /// Says good-bye, and hands back what came to light with it.
    pub(crate) async fn say_goodbye(&mut self) {
        if let Err(missed) = self.send(Some(WorkerStatus::Offline)).await {
            let error = match missed {
                Missed::Passing(error, _) => error,
                Missed::Final(error) => error.to_string(),
            };
            warn!(
                error,
                "the platform was not told that this worker is offline"
            );
        }
        self.errands.close();
        self.errands.wait().await;
    }

    async fn send(&mut self, status: Option<WorkerStatus>) -> Result<(), Missed> {
        let worker = Arc::clone(&self.worker);
        let snapshot = worker.leases.snapshot();
        let heartbeat = WorkerHeartbeat {
            status,
            leases: Some(snapshot.leases.clone()),
            ..WorkerHeartbeat::default()
        };
        let patience = (worker.heartbeat / 2).min(ANSWER_PATIENCE_MAX);
        // The clock of a renewal starts before the request does.
        let sent_at = Instant::now();
        let asked = worker.client.heartbeat_worker(worker.worker_id, &heartbeat);
        let answer = match timeout(patience, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error))
                if matches!(error.status(), Some(400 | 413 | 422))
                    && worker.leases.drop_progress(&snapshot) =>
            {
                // What a handler tells must not cost the worker its leases.
                let message = format!("some progress is not acceptable and was dropped: {error}");
                return Err(Missed::Passing(message, None));
            }
            Ok(Err(error)) => return Err(self.missed(error)),
            Err(_) => {
                // The wire may have fallen silent, for all that was sent over it.
                worker.client.forget_connections();
                worker.claims.repeat();
                let message = format!("no answer within {patience:.1?}");
                return Err(Missed::Passing(message, None));
            }
        };
        let gone = [answer.lost.as_slice(), &answer.cancelled].concat();
        worker.leases.renew(&snapshot, sent_at, &gone);
        self.heed(answer);
        worker.was_heard.cancel();
        Ok(())
    }

    fn missed(&self, error: ClientError) -> Missed {
        match &error {
            ClientError::Refused {
                status: 400 | 401 | 403 | 404 | 422,
                ..
            } => Missed::Final(WorkerError::Heartbeat(error)),
            ClientError::Refused { refusal, .. }
                if refusal.code == ErrorCode::InvalidStateTransition =>
            {
                // An operator has set this worker to drain, and the signal was not seen yet.
                self.begin_to_drain("the platform has set this worker to drain");
                Missed::Passing(error.to_string(), None)
            }
            _ => Missed::Passing(error.to_string(), error.retry_after()),
        }
    }

    fn heed(&mut self, answer: WorkerHeartbeatAnswer) {
        for lease in answer.lost {
            self.stop(lease, Stop::Lost);
        }
        for lease in answer.cancelled {
            self.stop(lease, Stop::Cancelled);
        }
        self.hand_back(&answer.unlisted);
        self.heeded
            .retain(|id| answer.pending_signals.iter().any(|signal| signal.id == *id));
        for signal in answer.pending_signals {
            self.heed_signal(&signal);
        }
        for message in answer.messages {
            self.hand_over(&message);
        }
    }

    /// Gives a message to its attempt, and tells the platform that it was received. Whether the handler
    /// listens is its own business; an attempt that follows this one is told again.
    fn hand_over(&self, message: &PendingMessage) {
        if !self.worker.leases.hand_over(message) {
            return;
        }
        let (client, task, id) = (self.worker.client.clone(), message.task_id, message.id);
        let body = AcknowledgeMessage {
            attempt: Some(message.attempt),
            request_id: None,
        };
        self.errands.spawn(async move {
            // If this fails the message comes again, to an attempt that was handed it already.
            if let Err(error) = client.acknowledge_message(task, id, &body).await {
                warn!(%error, task.id = %task, "a message could not be acknowledged");
            }
        });
    }

    fn stop(&self, lease: LeaseRef, reason: Stop) {
        if self.worker.leases.stop(lease, reason) {
            info!(task.id = %lease.task_id, task.attempt = lease.attempt, ?reason, "stopping an attempt");
        }
    }

    /// Releases leases that nobody here works on.
    ///
    /// A claim that is under way may have been granted already, its answer being still on the
    /// way; so a lease is released only when every claim of that moment is over. An answer that is still
    /// missing at the next heartbeat was lost: its claim is repeated, once, or it would never be over.
    fn hand_back(&mut self, unlisted: &[LeaseRef]) {
        let moment = self.worker.claims.moment();
        let worker = Arc::clone(&self.worker);
        self.unlisted.retain(|lease, _| unlisted.contains(lease));
        for lease in unlisted
            .iter()
            .filter(|lease| !worker.leases.holds(**lease))
        {
            let unexplained = self.unlisted.entry(*lease).or_insert(Unexplained {
                since: moment,
                times: 0,
            });
            unexplained.times += 1;
        }
        let over: Vec<LeaseRef> = self
            .unlisted
            .extract_if(|lease, unexplained| {
                worker.leases.holds(*lease) || worker.claims.are_over_since(unexplained.since)
            })
            .map(|(lease, _)| lease)
            .filter(|lease| !worker.leases.holds(*lease))
            .collect();
        if self
            .unlisted
            .values()
            .any(|unexplained| unexplained.times == 2)
        {
            worker.claims.repeat();
        }
        for lease in over {
            info!(task.id = %lease.task_id, task.attempt = lease.attempt, "handing back a task that nobody here works on");
            let reporter = worker.reporter.clone();
            let end = End::Release {
                reason: "unlisted",
                progress: None,
            };
            self.errands
                .spawn(async move { reporter.deliver(lease, end).await });
        }
    }

    fn heed_signal(&mut self, signal: &PendingSignal) {
        if self.heeded.contains(&signal.id) {
            return;
        }
        match signal.signal_type.as_str() {
            "set_draining" | "drain" => {
                self.begin_to_drain("an operator asked this worker to drain");
            }
            "cancel_task" | "cancel" => match signal.task_id {
                Some(task) if self.worker.leases.stop_task(task, Stop::Signalled) => {
                    info!(task.id = %task, "an operator asked to stop a task");
                }
                _ => debug!("an operator asked to stop a task that does not run here"),
            },
            "config_update" => {
                info!("an operator asked to read the configuration again: restart this worker");
            }
            other => warn!(signal = other, "this worker does not know this signal"),
        }
        self.heeded.push(signal.id);
        let (client, worker_id, id) =
            (self.worker.client.clone(), self.worker.worker_id, signal.id);
        self.errands.spawn(async move {
            // If this fails the signal comes again, to a worker that has heeded it already.
            if let Err(error) = client.acknowledge_signal(worker_id, id).await {
                warn!(%error, "a signal could not be acknowledged");
            }
        });
    }

    fn begin_to_drain(&self, reason: &str) {
        if !self.worker.draining.is_cancelled() {
            info!("{reason}");
            self.worker.draining.cancel();
        }
    }
}
