//! How long it takes from a create to the answer of a claim that waits for it, with a thousand waiting
//! workers.
//!
//! Tasks come at a fixed rate, whatever becomes of those before; so a platform that falls behind does not slow
//! down what is asked of it. The worker completes its task and waits again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval};

use super::cycle::PAYLOAD_BYTES;
use crate::bench::{Bench, Site};
use crate::client::Connection;
use crate::fleet::{ClaimWords, ROLE};
use crate::ledger::Ledger;
use crate::load::{self, Outcome, Span, Stage, Tally};
use crate::pgbench::Kind;
use crate::report::{Goal, Row};
use crate::wire;

const WORKERS: usize = 1_000;
/// Tasks a second.
const RATES: [u64; 2] = [20, 200];
/// How long a claim waits.
const WAIT_SECONDS: u32 = 25;
/// Connections that create, taken in turn: enough for none to be asked while it still waits.
const CREATORS: usize = 16;
/// A commit time is what pgbench needs with one client for one row.
const COMMIT_TIMES_MAX: f64 = 2.0;
const P99_MS_MAX: f64 = 5.0;

/// When a task was asked for, by its number.
type Asked = Arc<Vec<std::sync::OnceLock<Instant>>>;

/// Measures `pickup`.
pub(crate) async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    for rate in RATES {
        let before = bench
            .yardstick
            .recent(&bench.cluster, Kind::Inserts, 1)
            .await?;
        let site = bench.site().await?;
        let mut outcome = load(bench, &site, rate).await?;
        let around = bench
            .yardstick
            .around(&bench.cluster, before, Kind::Inserts)
            .await?;
        let row = Row::of("pickup", format!("{rate} a second"), WORKERS, &mut outcome)
            .more("commit_ms", around.mean_ms)
            .more_times("create", &mut outcome.tally.other_times);
        let (p50, p99) = (row.p(50), row.p(99));
        bench.report(
            row.goal(Goal::at_most(
                &format!("p50 in commit times of {:.2} ms", around.mean_ms),
                p50 / around.mean_ms,
                COMMIT_TIMES_MAX,
            ))
            .goal(Goal::at_most("p99 ms", p99, P99_MS_MAX)),
        );
    }
    Ok(())
}

async fn load(bench: &Bench, site: &Site, rate: u64) -> anyhow::Result<Outcome> {
    let span = Span {
        warm_up: Duration::from_secs(3),
        measured: Duration::from_secs(match (bench.is_quick, rate) {
            (true, _) => 6,
            (false, 20) => 30,
            (false, _) => 15,
        }),
    };
    let tasks_max = rate * 2 * (span.warm_up + span.measured).as_secs();
    let ledger = Arc::new(Ledger::new(tasks_max));
    let asked: Asked = Arc::new((0..tasks_max).map(|_| std::sync::OnceLock::new()).collect());
    let stage = Stage::endless();
    let mut loads: Vec<futures_util::future::BoxFuture<'static, anyhow::Result<Tally>>> =
        Vec::new();
    for number in 0..WORKERS {
        let worker = work(bench, site, number, &stage, &ledger, &asked);
        loads.push(Box::pin(worker));
    }
    loads.push(Box::pin(create(bench, site, rate, &stage, &ledger, &asked)));
    let mut meter = bench.meter(site).await?;
    load::run(&stage, span, &mut meter, loads).await
}

/// A worker that waits, completes, and waits again.
fn work(
    bench: &Bench,
    site: &Site,
    number: usize,
    stage: &Arc<Stage>,
    ledger: &Arc<Ledger>,
    asked: &Asked,
) -> impl Future<Output = anyhow::Result<Tally>> + use<> {
    let (stage, ledger, asked) = (Arc::clone(stage), Arc::clone(ledger), Arc::clone(asked));
    let address = site.address(number);
    let member = &bench.fleet[number];
    let words = ClaimWords {
        start: true,
        wait_seconds: WAIT_SECONDS,
    };
    let claim = member.claim(address, &[ROLE], words);
    let mut complete = member.complete(address, &wire::payload(PAYLOAD_BYTES));
    async move {
        let mut connection = Connection::open(address).await?;
        let mut tally = Tally::default();
        loop {
            let answer = tokio::select! {
                answer = connection.call(&claim) => answer?,
                () = is_over(&stage) => return Ok(tally),
            };
            let now = Instant::now();
            if answer.status == 204 {
                continue;
            }
            answer.expect(200, "a claim")?;
            let task = wire::task_in(answer.body)?;
            ledger.claimed(&task)?;
            let asked = asked[usize::try_from(task.number)?]
                .get()
                .context("a task was handed out before it was asked for")?;
            if stage.is_measured() {
                tally.done += 1;
                tally.times.add(now.duration_since(*asked));
            }
            let answer = connection.call(complete.about(task.id)).await?;
            answer.expect(200, "a complete")?;
            ledger.completed();
        }
    }
}

pub(crate) async fn is_over(stage: &Stage) {
    while !stage.is_over() {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Creates tasks at a fixed rate.
fn create(
    bench: &Bench,
    site: &Site,
    rate: u64,
    stage: &Arc<Stage>,
    ledger: &Arc<Ledger>,
    asked: &Asked,
) -> impl Future<Output = anyhow::Result<Tally>> + use<> {
    let (stage, ledger, asked) = (Arc::clone(stage), Arc::clone(ledger), Arc::clone(asked));
    let address = site.address(0);
    let request = bench.fleet[0].create(address, ROLE, &wire::payload(PAYLOAD_BYTES));
    async move {
        let mut creators = Vec::new();
        for _ in 0..CREATORS {
            let connection = Connection::open(address).await?;
            creators.push(Arc::new(Mutex::new((
                connection,
                request.clone(),
                Tally::default(),
            ))));
        }
        // The workers come first.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut ticks = interval(Duration::from_secs(1) / u32::try_from(rate)?);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut running = tokio::task::JoinSet::new();
        while !stage.is_over() {
            ticks.tick().await;
            let number = ledger.number();
            let place = usize::try_from(number)?;
            ensure!(place < asked.len(), "more tasks were made than were meant");
            let began = *asked[place].get_or_init(Instant::now);
            let creator = Arc::clone(&creators[place % CREATORS]);
            let is_measured = stage.is_measured();
            running.spawn(async move {
                let mut creator = creator.lock().await;
                let (connection, request, tally) = &mut *creator;
                let answer = connection.call(request.numbered(number)).await?;
                answer.expect(201, "a create")?;
                if is_measured {
                    tally.other_times.add(began.elapsed());
                }
                anyhow::Ok(())
            });
            while let Some(created) = running.try_join_next() {
                created??;
            }
        }
        while let Some(created) = running.join_next().await {
            created??;
        }
        let mut all = Tally::default();
        for creator in creators {
            let tally = &mut creator.lock().await.2;
            all.other_times
                .append(std::mem::take(&mut tally.other_times));
        }
        Ok(all)
    }
}
