//! How a worker is told to stop.

use tokio_util::sync::CancellationToken;
use tracing::info;

/// Tells a worker to stop: first gently, then at once. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    now: CancellationToken,
}

impl Shutdown {
    /// A shutdown that nobody has asked for yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asked for by SIGTERM or SIGINT: the first one drains, the second one hands back at once.
    ///
    /// # Errors
    /// When the signals of this process cannot be listened to.
    pub fn on_signals() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = Self::new();
        let told = shutdown.clone();
        tokio::spawn(async move {
            while !told.now.is_cancelled() {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if told.drain.is_cancelled() {
                    info!("{name} again: handing back at once what runs");
                    told.now();
                } else {
                    info!("{name}: finishing what runs, claiming nothing new");
                    told.drain();
                }
            }
        });
        Ok(shutdown)
    }

    /// Finish what runs, claim nothing new.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Hand back at once what runs.
    pub fn now(&self) {
        self.drain.cancel();
        self.now.cancel();
    }

    pub(crate) async fn drain_is_wanted(&self) {
        self.drain.cancelled().await;
    }

    pub(crate) async fn is_urgent(&self) {
        self.now.cancelled().await;
    }
}
