//! What the platform does by itself: one table of loops.
//!
//! A loop takes no input; running it twice, or on two machines at once, does no harm; a turn does a
//! bounded amount of work; the next turn is the retry. Waking a loop only makes its next turn sooner.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use protocol::LoopReport;
use tokio::sync::Notify;

use crate::app::App;
use crate::error::Error;
use crate::queue;

/// One loop.
pub struct Loop {
    /// Its name: in reports, metrics and tests.
    pub name: &'static str,
    /// How long it sleeps at most.
    pub longest: Duration,
    /// One turn.
    pub run: fn(App) -> BoxFuture<'static, Result<Turn, Error>>,
}

/// What one turn did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    /// How many things it changed.
    pub changed: u64,
    /// When to come back, if before the longest sleep.
    pub again_in: Option<Duration>,
}

impl From<u64> for Turn {
    fn from(changed: u64) -> Self {
        Self {
            changed,
            again_in: None,
        }
    }
}

/// Shortest sleep between two turns, so that a loop which always finds something leaves room for others.
const SHORTEST_SLEEP: Duration = Duration::from_millis(10);

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

macro_rules! table {
    ($($name:literal, $longest:expr, $run:path;)*) => {
        &[$(Loop {
            name: $name,
            longest: $longest,
            run: |app| Box::pin(async move { $run(app).await.map(Turn::from) }),
        }),*]
    };
}

/// Every loop of the platform.
pub const LOOPS: &[Loop] = table! {
    "keep_pulse",        seconds(1),    queue::keep_pulse;
    "expire_leases",     seconds(2),    queue::expire_leases;
    "release_due",       seconds(60),   queue::release_due;
    "time_out_tasks",    seconds(5),    queue::time_out_tasks;
    "look_for_work",     seconds(2),    queue::look_for_work;
    "settle_gates",      seconds(60),   queue::settle_gates;
    "expire_approvals",  seconds(30),   crate::workflows::expire_approvals;
    "dispatch_activations", seconds(5), crate::activations::dispatch_activations;
    "wake_idle_runs",    seconds(60),   crate::activations::wake_idle_runs;
    "forget_workflows",  seconds(900),  crate::workflows::forget_workflows;
    "forget_tasks",      seconds(900),  crate::tasks::forget_tasks;
    "forget_claims",     seconds(900),  queue::forget_claim_requests;
    "forget_requests",   seconds(900),  crate::http::forget_requests;
    "review_plans",      seconds(2),    crate::db::review_plans;
    "forget_idle_rates", seconds(60),   forget_idle_rates;
    "note_key_use",      seconds(60),   crate::keys::note_key_use;
    "forget_keys",       seconds(3600), crate::keys::forget_keys;
    "mark_silent",       seconds(10),   crate::holders::mark_silent;
    "forget_holders",    seconds(3600), crate::holders::forget_holders;
    "forget_signals",    seconds(3600), crate::workers::forget_signals;
    "make_partitions",   seconds(3600), crate::history::make_partitions;
    "drop_old_history",  seconds(3600), crate::history::drop_old_history;
    "forget_log_heads",  seconds(900),  crate::logs::forget_log_heads;
    "drain_metrics",     seconds(10),   crate::system::drain_metrics;
};

async fn forget_idle_rates(app: App) -> Result<u64, Error> {
    app.rates.forget_idle();
    Ok(0)
}

/// How the loops of this replica are doing.
pub struct Loops {
    states: Vec<State>,
}

struct State {
    row: &'static Loop,
    wake: Notify,
    report: Mutex<LoopReport>,
}

impl Loops {
    /// Nothing has run yet.
    pub fn new() -> Self {
        let state = |row: &'static Loop| State {
            row,
            wake: Notify::new(),
            report: Mutex::new(LoopReport {
                name: row.name.to_owned(),
                longest_sleep_seconds: row.longest.as_secs_f64(),
                runs: 0,
                last_run: None,
                took_ms: None,
                changed: 0,
                error: None,
            }),
        };
        Self {
            states: LOOPS.iter().map(state).collect(),
        }
    }

    /// Makes the next turn of a loop sooner.
    pub fn wake(&self, name: &str) {
        if let Some(state) = self.states.iter().find(|state| state.row.name == name) {
            state.wake.notify_one();
        }
    }

    /// How every loop is doing.
    pub fn reports(&self) -> Vec<LoopReport> {
        self.states
            .iter()
            .map(|state| {
                state
                    .report
                    .lock()
                    .expect("no panic under this lock")
                    .clone()
            })
            .collect()
    }

    /// Runs one turn of a loop now.
    ///
    /// # Errors
    /// What the turn failed with; a name that no loop has.
    pub async fn run_once(&self, app: &App, name: &str) -> Result<Turn, Error> {
        let state = self
            .states
            .iter()
            .find(|state| state.row.name == name)
            .ok_or_else(|| anyhow::anyhow!("there is no loop {name}"))?;
        state.turn(app).await
    }
}

impl Default for Loops {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    async fn turn(&self, app: &App) -> Result<Turn, Error> {
        let began = Instant::now();
        // A panic fails the turn; it must not end the loop.
        let ended = AssertUnwindSafe(app.db.unless_silent((self.row.run)(app.clone())))
            .catch_unwind()
            .await;
        let ended = ended
            .unwrap_or_else(|_| Err(anyhow::anyhow!("loop {} panicked", self.row.name).into()))
            .flatten();
        let mut report = self.report.lock().expect("no panic under this lock");
        report.runs += 1;
        report.last_run = Some(crate::http::meta().timestamp);
        report.took_ms = Some(began.elapsed().as_secs_f64() * 1000.0);
        match &ended {
            Ok(turn) => {
                report.changed += turn.changed;
                report.error = None;
            }
            Err(error) => report.error = Some(error.to_string()),
        }
        ended
    }
}

/// Runs every loop until the platform shuts down.
pub fn start(app: &App) {
    for place in 0..LOOPS.len() {
        app.spawn(keep_running(app.clone(), place));
    }
}

async fn keep_running(app: App, place: usize) {
    let state = &app.loops.states[place];
    loop {
        let sleep = match state.turn(&app).await {
            Ok(turn) => turn
                .again_in
                .unwrap_or(state.row.longest)
                .clamp(SHORTEST_SLEEP, state.row.longest),
            Err(error) => {
                tracing::warn!(%error, "loop {} failed; it tries again", state.row.name);
                metrics::counter!("stint_loop_errors_total", "loop" => state.row.name).increment(1);
                state.row.longest.min(Duration::from_secs(1))
            }
        };
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            () = state.wake.notified() => {}
            () = app.shutdown.cancelled() => return,
        }
    }
}
