//! Load from many connections at once, and the stretch of it that is measured.
//!
//! ```text
//! warm-up ─► measured ─► stopping: everyone finishes what it has begun
//! ```
//!
//! Connections are tasks of one thread. One thread is enough for ten times what the platform answers on the
//! other cores, and costs less than two that wake each other.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::sync::Notify;

use crate::measure::{Meter, Usage};

const WARMING_UP: u8 = 0;
const MEASURING: u8 = 1;
const STOPPING: u8 = 2;

/// A stretch that is shorter says nothing: CPU time is counted in hundredths of a second.
const SECONDS_MIN: f64 = 0.3;

/// How long a stretch is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What all connections of a load look at.
pub(crate) struct Stage {
    phase: AtomicU8,
    turns_left: AtomicI64,
    ran_out: Notify,
    over: Notify,
}

impl Stage {
    /// A stage on which so many turns may be taken.
    pub(crate) fn with_turns(turns: u64) -> Arc<Self> {
        Arc::new(Self {
            phase: AtomicU8::new(WARMING_UP),
            turns_left: AtomicI64::new(i64::try_from(turns).unwrap_or(i64::MAX)),
            ran_out: Notify::new(),
            over: Notify::new(),
        })
    }

    /// A stage without an end of its own.
    pub(crate) fn endless() -> Arc<Self> {
        Self::with_turns(u64::MAX)
    }

    /// Whether to go on: false when the stretch is over, or nothing is left to do.
    pub(crate) fn takes_turn(&self) -> bool {
        if self.is_over() {
            return false;
        }
        if self.turns_left.fetch_sub(1, Ordering::Relaxed) > 0 {
            return true;
        }
        self.run_out();
        false
    }

    /// Says that nothing is left to do.
    pub(crate) fn run_out(&self) {
        self.ran_out.notify_one();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == STOPPING
    }

    pub(crate) fn is_measured(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == MEASURING
    }

    /// The warm-up is over.
    pub(crate) fn measure(&self) {
        self.phase.store(MEASURING, Ordering::Relaxed);
    }

    pub(crate) fn stop(&self) {
        self.phase.store(STOPPING, Ordering::Relaxed);
        self.over.notify_waiters();
    }

    /// Returns when the stretch is over.
    pub(crate) async fn until_over(&self) {
        let over = self.over.notified();
        // From here on it is told.
        if !self.is_over() {
            over.await;
        }
    }
}

/// Times of one kind of call, in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<u32>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0
            .push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The exact time, in milliseconds, that this share of all calls did not exceed.
    pub(crate) fn percentiles<const N: usize>(&mut self, shares: [f64; N]) -> [Option<f64>; N] {
        self.0.sort_unstable();
        shares.map(|share| {
            let rank = (share / 100.0 * self.0.len() as f64).ceil() as usize;
            let time = self.0.get(rank.max(1) - 1)?;
            Some(f64::from(*time) / 1000.0)
        })
    }
}

/// What one connection, or all of them, did in the measured stretch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) done: u64,
    /// Of the call that a scenario is about.
    pub(crate) times: Times,
    /// Of another one.
    pub(crate) other_times: Times,
    /// Claims that found nothing although tasks were left, where that may be.
    pub(crate) empty_claims: u64,
}

impl Tally {
    fn append(&mut self, other: Self) {
        self.done += other.done;
        self.empty_claims += other.empty_claims;
        self.times.append(other.times);
        self.other_times.append(other.other_times);
    }
}

/// What came of a load.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) usage: Usage,
    /// How long the measured stretch was in the end.
    pub(crate) seconds: f64,
}

impl Outcome {
    pub(crate) fn per_second(&self) -> f64 {
        self.tally.done as f64 / self.seconds
    }
}

/// Runs connections through warm-up and stretch. The first error ends it all.
pub(crate) async fn run<F>(
    stage: &Arc<Stage>,
    span: Span,
    meter: &mut Meter,
    connections: Vec<F>,
) -> anyhow::Result<Outcome>
where
    F: Future<Output = anyhow::Result<Tally>> + Send + 'static,
{
    let mut running = tokio::task::JoinSet::new();
    for connection in connections {
        running.spawn(connection);
    }
    let mut tally = Tally::default();
    let measured = async {
        tokio::time::sleep(span.warm_up).await;
        let from = meter.read().await?;
        let began = Instant::now();
        stage.measure();
        tokio::select! {
            () = tokio::time::sleep(span.measured) => {}
            () = stage.ran_out.notified() => {}
        }
        stage.stop();
        let seconds = began.elapsed().as_secs_f64();
        anyhow::Ok((meter.since(&from).await?, seconds))
    };
    tokio::pin!(measured);
    let (usage, seconds) = loop {
        tokio::select! {
            measured = &mut measured => break measured?,
            Some(ended) = running.join_next() => tally.append(ended??),
        }
    };
    while let Some(ended) = running.join_next().await {
        tally.append(ended??);
    }
    ensure!(
        seconds > SECONDS_MIN,
        "there was work for {seconds:.1} s only; the scenario needs more of it"
    );
    Ok(Outcome {
        tally,
        usage,
        seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact() {
        let mut times = Times::default();
        for milliseconds in (1..=100).rev() {
            times.add(Duration::from_millis(milliseconds));
        }
        assert_eq!(
            times.percentiles([50.0, 99.0, 100.0]),
            [Some(50.0), Some(99.0), Some(100.0)]
        );
        assert_eq!(Times::default().percentiles([50.0]), [None]);
    }

    #[test]
    fn turns_run_out() {
        let stage = Stage::with_turns(1);
        assert!(stage.takes_turn());
        assert!(!stage.takes_turn());
    }
}
