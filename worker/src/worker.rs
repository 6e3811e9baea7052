//! A worker: its settings, and its life from registration to good-bye.

use std::sync::Arc;
use std::time::Duration;

use stint_protocol::client::{Client, ClientError};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::claim::keep_claiming;
use crate::handler::{Handler, Handlers, Match};
use crate::heartbeat::Heart;
use crate::lease::Stop;
use crate::mask::{Mask, SecretTooShort};
use crate::register::{Registered, register};
use crate::shutdown::Shutdown;

/// The heartbeat interval unless another is given.
pub const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(10);

/// How long running tasks may go on after the word to drain, unless another time is given.
pub const DRAIN_GRACE_DEFAULT: Duration = Duration::from_secs(60);

/// How long reports may take once all handlers have ended, before the process ends all the same.
const LAST_REPORTS: Duration = Duration::from_secs(15);

/// How long the good-bye may take.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(10);

/// A worker that is ready to run.
pub struct Worker {
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) capacity: i32,
    pub(crate) heartbeat: Duration,
    pub(crate) lease_seconds: Option<i32>,
    pub(crate) drain_grace: Duration,
    pub(crate) handlers: Handlers,
    pub(crate) mask: Mask,
}

/// Collects the settings of a [`Worker`].
pub struct WorkerBuilder {
    url: String,
    api_key: String,
    name: String,
    capacity: u32,
    heartbeat: Duration,
    lease: Option<Duration>,
    drain_grace: Duration,
    handlers: Handlers,
    mask: Mask,
}

/// What a worker has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Attempts it was given.
    pub claimed: u64,
    /// Attempts whose output was accepted.
    pub completed: u64,
    /// Attempts whose failure was accepted.
    pub failed: u64,
    /// Attempts it handed back.
    pub released: u64,
    /// Attempts that were lost or cancelled, so that there was nothing to report.
    pub lost: u64,
}

/// Why a worker could not run, or had to stop.
#[derive(Debug)]
#[non_exhaustive]
pub enum WorkerError {
    /// The settings cannot work.
    Settings(String),
    /// The platform did not let it register.
    Registration(ClientError),
    /// The platform no longer knows it: it was deleted, or its key was revoked.
    Heartbeat(ClientError),
    /// The platform does not let it claim.
    Claim(ClientError),
}

impl std::fmt::Display for WorkerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Settings(message) => f.write_str(message),
            Self::Registration(error) => {
                write!(f, "the platform did not let this worker register: {error}")
            }
            Self::Heartbeat(error) => write!(
                f,
                "the platform no longer knows this worker; an operator deleted it: {error}"
            ),
            Self::Claim(error) => write!(f, "the platform does not let this worker claim: {error}"),
        }
    }
}

impl std::error::Error for WorkerError {}

impl Worker {
    /// Begins to describe a worker of this platform. The key needs the scope worker or admin and
    /// is used to register only; from then on the worker has a key of its own.
    pub fn builder(url: impl Into<String>, api_key: impl Into<String>) -> WorkerBuilder {
        WorkerBuilder {
            url: url.into(),
            api_key: api_key.into(),
            name: "worker".to_owned(),
            capacity: 1,
            heartbeat: HEARTBEAT_DEFAULT,
            lease: None,
            drain_grace: DRAIN_GRACE_DEFAULT,
            handlers: Handlers::default(),
            mask: Mask::default(),
        }
    }

    /// Registers and works until told to stop.
    ///
    /// # Errors
    /// When the platform does not let the worker register, no longer knows it, or does not let it
    /// claim. Handlers that were running have been stopped by then.
    pub async fn run(self, shutdown: Shutdown) -> Result<Summary, WorkerError> {
        let registered = tokio::select! {
            registered = register(&self) => registered?,
            () = shutdown.drain_is_wanted() => return Ok(Summary::default()),
        };
        let life = Life {
            slots: Arc::new(Semaphore::new(
                usize::try_from(self.capacity).expect("checked when built"),
            )),
            grace: self.drain_grace,
            worker: registered,
        };
        life.live(&shutdown).await
    }
}

/// A registered worker at work.
struct Life {
    worker: Arc<Registered>,
    slots: Arc<Semaphore>,
    grace: Duration,
}

impl Life {
    async fn live(self, shutdown: &Shutdown) -> Result<Summary, WorkerError> {
        let mut heart = Heart::new(Arc::clone(&self.worker));
        let outcome = tokio::select! {
            error = heart.beat() => Err(error),
            worked = self.work_and_drain(shutdown) => worked,
        };
        if let Err(error) = &outcome {
            warn!(%error, "stopping");
            self.worker.draining.cancel();
            self.stop_attempts(self.stop_reason(error)).await;
        }
        if !matches!(outcome, Err(WorkerError::Heartbeat(_)))
            && timeout(GOODBYE_PATIENCE, heart.say_goodbye())
                .await
                .is_err()
        {
            warn!("the good-bye was not answered in time");
        }
        let summary = self.worker.tally.summary();
        info!(?summary, "offline");
        outcome.map(|()| summary)
    }

    async fn work_and_drain(&self, shutdown: &Shutdown) -> Result<(), WorkerError> {
        let worker = &self.worker;
        // Leaving the `select` drops the claims, which aborts those that wait.
        tokio::select! {
            claimed = keep_claiming(Arc::clone(worker), Arc::clone(&self.slots)) => claimed?,
            () = shutdown.drain_is_wanted() => worker.draining.cancel(),
        }
        worker.beat_soon.notify_one();
        tokio::select! {
            () = self.all_ended() => return Ok(()),
            () = shutdown.is_urgent() => {}
            () = sleep(self.grace) => {
                info!("the time to finish is over, handing back what still runs");
            }
        }
        self.stop_attempts(Stop::Drain).await;
        Ok(())
    }

    /// A worker that may no longer claim can still hand back; a deleted one has nothing.
    fn stop_reason(&self, error: &WorkerError) -> Stop {
        match error {
            WorkerError::Heartbeat(_) => Stop::Lost,
            WorkerError::Settings(_) | WorkerError::Registration(_) | WorkerError::Claim(_) => {
                Stop::Drain
            }
        }
    }

    /// Tells all handlers to stop and waits until their ends are reported.
    async fn stop_attempts(&self, reason: Stop) {
        self.worker.leases.stop_all(reason);
        let patience = self.worker.handlers.longest_stop_grace() + LAST_REPORTS;
        if timeout(patience, self.all_ended()).await.is_err() {
            self.worker.abandon.cancel();
            self.all_ended().await;
        }
    }

    async fn all_ended(&self) {
        self.worker.attempts.close();
        self.worker.attempts.wait().await;
    }
}

impl WorkerBuilder {
    /// The name under which it registers, for people. A restarted worker registers anew.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many tasks it runs at once; 1 unless given.
    #[must_use]
    pub fn capacity(mut self, capacity: u32) -> Self {
        self.capacity = capacity;
        self
    }

    /// How often it beats, in whole seconds; every 10 s unless given.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval;
        self
    }

    /// How long the leases it claims last; the platform decides unless given.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// How long running tasks may go on after the word to drain; 60 s unless given.
    #[must_use]
    pub fn drain_grace(mut self, grace: Duration) -> Self {
        self.drain_grace = grace;
        self
    }

    /// Registers a handler for the tasks it serves.
    #[must_use]
    pub fn handler(self, serves: Match, handler: impl Handler) -> Self {
        self.shared_handler(serves, Arc::new(handler))
    }

    /// Registers a handler that is also used elsewhere.
    #[must_use]
    pub fn shared_handler(mut self, serves: Match, handler: Arc<dyn Handler>) -> Self {
        self.handlers.add(serves, handler);
        self
    }

    /// Hides a secret in everything the handlers log and in the messages of their failures.
    ///
    /// # Errors
    /// When it is too short to be told apart from ordinary words.
    pub fn secret(self, secret: &str) -> Result<Self, SecretTooShort> {
        self.mask.add(secret)?;
        Ok(self)
    }

    /// Shares a mask that is also used elsewhere, such as for the program's own log.
    #[must_use]
    pub fn mask(mut self, mask: Mask) -> Self {
        self.mask = mask;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// When they cannot work or contradict each other.
    pub fn build(self) -> Result<Worker, WorkerError> {
        let problem = |message: String| Err(WorkerError::Settings(message));
        if self.handlers.is_empty() {
            return problem("no handler is configured, so there is nothing to work on".to_owned());
        }
        if let Some(serves) = self.handlers.duplicate() {
            return problem(format!("two handlers serve the same tasks: {serves}"));
        }
        if self.name.trim().is_empty() || self.name.chars().count() > 200 {
            return problem("the name must have 1 to 200 characters".to_owned());
        }
        if !(1..=1000).contains(&self.capacity) {
            return problem(format!(
                "the capacity must be from 1 to 1000, not {}",
                self.capacity
            ));
        }
        let heartbeat = self.heartbeat.as_secs();
        if !(5..=3600).contains(&heartbeat) {
            return problem(format!(
                "the heartbeat interval must be from 5 to 3600 seconds, not {heartbeat}"
            ));
        }
        if let Some(lease) = self.lease.map(|lease| lease.as_secs())
            && !(heartbeat * 2..=86_400).contains(&lease)
        {
            return problem(format!(
                "a lease of {lease} s does not go with a heartbeat every {heartbeat} s: \
                 it must last at least two heartbeats ({} s), and a day at most",
                heartbeat * 2
            ));
        }
        let settings = |error: ClientError| WorkerError::Settings(error.to_string());
        let client = Client::new(&self.url, &self.api_key).map_err(settings)?;
        self.mask
            .add(&self.api_key)
            .map_err(|_| WorkerError::Settings("the API key is too short to be one".to_owned()))?;
        Ok(Worker {
            client,
            name: self.name,
            capacity: i32::try_from(self.capacity).expect("checked above"),
            heartbeat: self.heartbeat,
            lease_seconds: self
                .lease
                .map(|lease| i32::try_from(lease.as_secs()).expect("checked above")),
            drain_grace: self.drain_grace,
            handlers: self.handlers,
            mask: self.mask,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::{Failure, TaskRun};

    async fn shout(_run: TaskRun) -> Result<(), Failure> {
        Ok(())
    }

    fn builder() -> WorkerBuilder {
        Worker::builder("http://127.0.0.1:9", "st_worker_key").handler(Match::role("x"), shout)
    }

    fn problem(builder: WorkerBuilder) -> String {
        match builder.build() {
            Err(error) => error.to_string(),
            Ok(_) => panic!("it should be refused"),
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused_with_a_sentence() {
        assert!(builder().build().is_ok());
        let bare = Worker::builder("http://127.0.0.1:9", "st_worker_key");
        assert!(problem(bare).contains("no handler"));
        assert!(problem(builder().handler(Match::role("x"), shout)).contains("role \"x\""));
        assert!(problem(builder().capacity(0)).contains("capacity"));
        assert!(problem(builder().heartbeat(Duration::from_secs(2))).contains("heartbeat"));
        assert!(problem(builder().lease(Duration::from_secs(15))).contains("two heartbeats"));
        let elsewhere = Worker::builder("nowhere", "st_worker_key").handler(Match::NoRole, shout);
        assert!(problem(elsewhere).contains("URL"));
    }
}
