//! Claim and complete, as fast as connections can: each is a worker of its own that does nothing in
//! between.
//!
//! `cycle` claims with `start: true`, which is two requests a task; `cycle-3` starts in a request of its
//! own. The queue was filled through the API before. Beside it stands pgbench with rows one by one, and
//! with rows in batches of fifty.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::prefill;
use crate::bench::{Bench, Site};
use crate::client::Connection;
use crate::fleet::{ClaimWords, Member, ROLE};
use crate::ledger::Ledger;
use crate::load::{self, Outcome, Span, Stage, Tally};
use crate::pgbench::Kind;
use crate::report::{Goal, Row};
use crate::wire;

/// Beside single rows in pgbench, at 256 and at 64 connections.
const RATIO_AT_256: f64 = 4.0;
const RATIO_AT_64: f64 = 3.0;
/// The same with three requests a task.
const RATIO_IN_THREE: f64 = 2.5;
/// Beside batches of fifty.
const RATIO_OF_BATCHES: f64 = 0.5;
/// With one connection, beside pgbench with one client.
const RATIO_ALONE: f64 = 0.75;
const CLAIM_P99_MS_AT_64: f64 = 7.0;
/// For one task at 256 connections.
const COMMITS_MAX: f64 = 0.1;
const FSYNCS_MAX: f64 = 0.05;
const WAL_BYTES_MAX: f64 = 1024.0;
/// Bytes of the input, and of the output.
pub(crate) const PAYLOAD_BYTES: usize = 200;

/// How a task is taken through its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The claim starts it.
    InTwo,
    /// The start is a request of its own.
    InThree,
}

/// Measures `cycle`.
pub(crate) async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let sizes: &[usize] = if bench.is_quick {
        &[1, 64, 256]
    } else {
        &[1, 16, 64, 256]
    };
    for connections in sizes {
        one(bench, "cycle", *connections, Way::InTwo).await?;
    }
    Ok(())
}

/// Measures `cycle-3`.
pub(crate) async fn run_in_three(bench: &mut Bench) -> anyhow::Result<()> {
    let sizes: &[usize] = if bench.is_quick { &[256] } else { &[64, 256] };
    for connections in sizes {
        one(bench, "cycle-3", *connections, Way::InThree).await?;
    }
    Ok(())
}

async fn one(
    bench: &mut Bench,
    scenario: &'static str,
    connections: usize,
    way: Way,
) -> anyhow::Result<()> {
    let (cluster, yardstick) = (&bench.cluster, &mut bench.yardstick);
    let clients = match connections {
        1 => 1,
        _ => yardstick.best_clients(cluster, Kind::Pairs).await?,
    };
    let before = yardstick.recent(cluster, Kind::Pairs, clients).await?;
    let has_batches = connections == 256 && way == Way::InTwo;
    let batches = if has_batches {
        let clients = yardstick.best_clients(cluster, Kind::PairsOf50).await?;
        Some(yardstick.recent(cluster, Kind::PairsOf50, clients).await?)
    } else {
        None
    };

    let mut outcome = load(bench, scenario, connections, way).await?;
    let mut row = Row::of(scenario, "", connections, &mut outcome)
        .more_times("complete", &mut outcome.tally.other_times);

    let (cluster, yardstick) = (&bench.cluster, &mut bench.yardstick);
    let around = yardstick.around(cluster, before, Kind::Pairs).await?;
    row = row.yardstick(around);
    if let Some(before) = batches {
        let around = yardstick.around(cluster, before, Kind::PairsOf50).await?;
        row = row.second_yardstick("batches_of_50", around);
        let ratio = row.ours / around.per_second;
        row = row.goal(Goal::at_least(
            "ratio to batches of 50",
            ratio,
            RATIO_OF_BATCHES,
        ));
    }
    let ratio = row.ratio();
    let at_least = |bound| Goal::at_least("ratio to single rows", ratio, bound);
    row = match (way, connections) {
        (Way::InTwo, 1) => row.goal(at_least(RATIO_ALONE)),
        (Way::InTwo, 64) => {
            let p99 = row.p(99);
            row.goal(at_least(RATIO_AT_64)).goal(Goal::at_most(
                "claim p99 ms",
                p99,
                CLAIM_P99_MS_AT_64,
            ))
        }
        (Way::InTwo, 256) => {
            let (commits, fsyncs) = (row.commits_each(), row.fsyncs_each());
            let wal = row.wal_each() - 2.0 * PAYLOAD_BYTES as f64;
            row.goal(at_least(RATIO_AT_256))
                .goal(Goal::at_most("commits a task", commits, COMMITS_MAX))
                .goal(Goal::at_most("fsyncs a task", fsyncs, FSYNCS_MAX))
                .goal(Goal::at_most(
                    "WAL bytes a task beyond the payload",
                    wal,
                    WAL_BYTES_MAX,
                ))
        }
        (Way::InThree, 256) => row.goal(at_least(RATIO_IN_THREE)),
        _ => row,
    };
    bench.report(row);
    Ok(())
}

async fn load(
    bench: &Bench,
    scenario: &str,
    connections: usize,
    way: Way,
) -> anyhow::Result<Outcome> {
    let tasks = match (connections, bench.is_quick) {
        (1, true) => 8_000,
        (1, false) => 20_000,
        (_, true) => 80_000,
        (_, false) => 250_000,
    };
    let site = bench.site().await?;
    let ledger = Arc::new(Ledger::new(tasks));
    prefill::through_api(bench, &site, &ledger, tasks, &wire::payload(PAYLOAD_BYTES)).await?;
    let outcome = drain(
        bench,
        &site,
        &ledger,
        connections,
        way,
        tasks,
        PAYLOAD_BYTES,
    )
    .await?;
    bench.close(site, Some(&ledger), scenario).await?;
    Ok(outcome)
}

/// Takes tasks through their lives on so many connections until the usual stretch is over, or nearly all
/// are used up.
pub(crate) async fn drain(
    bench: &Bench,
    site: &Site,
    ledger: &Arc<Ledger>,
    connections: usize,
    way: Way,
    tasks: u64,
    output_bytes: usize,
) -> anyhow::Result<Outcome> {
    let span = bench.span();
    drain_for(
        bench,
        site,
        ledger,
        connections,
        (way, output_bytes),
        tasks,
        span,
    )
    .await
}

/// The same with a stretch of another length.
pub(crate) async fn drain_for(
    bench: &Bench,
    site: &Site,
    ledger: &Arc<Ledger>,
    connections: usize,
    (way, output_bytes): (Way, usize),
    tasks: u64,
    span: Span,
) -> anyhow::Result<Outcome> {
    let stage = Stage::with_turns(tasks);
    let output = wire::payload(output_bytes);
    let workers = (0..connections)
        .map(|number| {
            let address = site.address(number);
            let mut worker = Cycler::new(&bench.fleet[number], address, way, &output);
            worker.may_find_nothing = site.platforms.len() > 1;
            worker.run(Arc::clone(&stage), Arc::clone(ledger))
        })
        .collect();
    let mut meter = bench.meter(site).await?;
    load::run(&stage, span, &mut meter, workers).await
}

/// One worker that claims and completes.
struct Cycler {
    address: SocketAddr,
    claim: Vec<u8>,
    start: Option<wire::TaskRequest>,
    complete: wire::TaskRequest,
    /// Two platforms may hold each other's candidates locked for a moment.
    may_find_nothing: bool,
}

impl Cycler {
    fn new(member: &Member, address: SocketAddr, way: Way, output: &str) -> Self {
        let words = ClaimWords {
            start: way == Way::InTwo,
            wait_seconds: 0,
        };
        Self {
            address,
            claim: member.claim(address, &[ROLE], words),
            start: (way == Way::InThree).then(|| member.start(address)),
            complete: member.complete(address, output),
            may_find_nothing: false,
        }
    }

    async fn run(mut self, stage: Arc<Stage>, ledger: Arc<Ledger>) -> anyhow::Result<Tally> {
        let mut connection = Connection::open(self.address).await?;
        let mut tally = Tally::default();
        while stage.takes_turn() {
            let mut began = Instant::now();
            let mut answer = connection.call(&self.claim).await?;
            while answer.status == 204 {
                ensure!(
                    self.may_find_nothing,
                    "a claim found nothing, although tasks are left"
                );
                tally.empty_claims += 1;
                if stage.is_over() {
                    return Ok(tally);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
                began = Instant::now();
                answer = connection.call(&self.claim).await?;
            }
            answer.expect(200, "a claim")?;
            let claim_took = began.elapsed();
            let task = wire::task_in(answer.body)?;
            ledger.claimed(&task)?;
            if let Some(start) = &mut self.start {
                let answer = connection.call(start.about(task.id)).await?;
                answer.expect(204, "a start")?;
            } else {
                wire::must_be(answer.body, "in_progress")?;
            }
            let began = Instant::now();
            let answer = connection.call(self.complete.about(task.id)).await?;
            answer.expect(204, "a complete")?;
            ledger.completed();
            if stage.is_measured() {
                tally.done += 1;
                tally.times.add(claim_took);
                tally.other_times.add(began.elapsed());
            }
        }
        Ok(tally)
    }
}
