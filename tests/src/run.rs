//! From a test's body to its verdict.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use stint_platform::app::RunLoops;
use stint_platform::config::Config;

use crate::log::Errors;
use crate::platform::TestPlatform;
use crate::server::server;

/// Longest a test may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Runs a test on a platform with the default settings, whose loops are stepped by hand.
///
/// # Panics
/// When the test fails, takes longer than its deadline, or leaves something behind that it should not.
pub fn test(body: impl AsyncFnOnce(&TestPlatform)) {
    Setup::new().test(body);
}

/// What a test starts with.
pub struct Setup {
    pub(crate) config: Config,
    pub(crate) run_loops: RunLoops,
    deadline: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// The default settings.
    pub fn new() -> Self {
        let mut config = Config::for_database("postgres://nowhere/none");
        config.database.write_connections = 4;
        config.database.read_connections = 4;
        config.limits.address_rate_per_second = 10_000;
        config.shutdown_grace_seconds = 5;
        Self {
            config,
            run_loops: RunLoops::No,
            deadline: DEADLINE,
        }
    }

    /// Changes settings.
    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Gives a test that does thousands of things one after the other this many times the usual time.
    pub fn patient(mut self, times: u32) -> Self {
        self.deadline = DEADLINE * times;
        self
    }

    /// Runs the loops as they are due.
    pub fn with_loops(mut self) -> Self {
        self.run_loops = RunLoops::Yes;
        self
    }

    /// Runs a test.
    ///
    /// Everything in it, the platform too, runs on the calling thread, so that what it logs belongs to it.
    ///
    /// # Panics
    /// As [`test`].
    pub fn test(self, body: impl AsyncFnOnce(&TestPlatform)) {
        server();
        let errors = Errors::default();
        let guard = errors.capture();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let deadline = self.deadline;
        runtime.block_on(Box::pin(async {
            let t = TestPlatform::start(self, errors).await;
            let whole = async {
                let ended = tokio::time::timeout(deadline, Box::pin(body(&t))).await;
                assert!(ended.is_ok(), "the test did not end within {deadline:?}");
                t.look_at_remains().await;
            };
            let ended = AssertUnwindSafe(whole).catch_unwind().await;
            t.stop().await;
            if let Err(panic) = ended {
                resume_unwind(panic);
            }
        }));
        drop(guard);
    }
}

/// Waits until `condition` is true, and names it if it never is.
///
/// # Panics
/// When it stays false.
pub async fn until(what: &str, condition: impl AsyncFnMut() -> bool) {
    until_within(DEADLINE / 2, what, condition).await;
}

/// Waits this long until `condition` is true, and names it if it never is.
///
/// # Panics
/// When it stays false.
pub async fn until_within(
    patience: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) {
    let deadline = Instant::now() + patience;
    while !condition().await {
        assert!(Instant::now() < deadline, "still not so: {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
