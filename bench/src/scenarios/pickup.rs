//! How long it takes from a create to the answer of a claim that waits for it, with a thousand waiting
//! workers.
//!
//! Tasks come at a fixed rate, whatever becomes of those before; so a platform that falls behind does not slow
//! down what is asked of it. The worker completes its task and waits again.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::BoxFuture;
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
use crate::wire::{self, CreateRequest};

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

/// Who waits for what, and what comes how often.
pub(crate) struct Plan {
    pub(crate) workers: usize,
    /// The roles that a worker serves.
    pub(crate) served: fn(usize) -> Vec<String>,
    /// The roles of the tasks that come, in turn.
    pub(crate) wanted: Vec<String>,
    /// Tasks a second.
    pub(crate) rate: u64,
    pub(crate) span: Span,
}

/// When tasks were asked for, by their numbers; those that were there before are not timed.
struct Asked {
    before: u64,
    at: Vec<OnceLock<Instant>>,
}

impl Asked {
    fn place(&self, number: u64) -> Option<&OnceLock<Instant>> {
        let place = number.checked_sub(self.before)?;
        self.at.get(usize::try_from(place).ok()?)
    }
}

/// Measures `pickup`.
pub(crate) async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    for rate in RATES {
        let before = bench
            .yardstick
            .recent(&bench.cluster, Kind::Inserts, 1)
            .await?;
        let site = bench.site().await?;
        let plan = Plan {
            workers: WORKERS,
            served: |_| vec![ROLE.to_owned()],
            wanted: vec![ROLE.to_owned()],
            rate,
            span: Span {
                warm_up: Duration::from_secs(3),
                measured: Duration::from_secs(match (bench.is_quick, rate) {
                    (true, _) => 6,
                    (false, 20) => 30,
                    (false, _) => 15,
                }),
            },
        };
        let ledger = Arc::new(Ledger::new(plan.tasks_max()));
        let mut outcome = load(bench, &site, &plan, &ledger).await?;
        bench.close(site, Some(&ledger), "pickup").await?;
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

impl Plan {
    /// More tasks than will come.
    pub(crate) fn tasks_max(&self) -> u64 {
        self.rate * 2 * (self.span.warm_up + self.span.measured).as_secs()
    }
}

/// Runs a plan. The times are from create to claim, the other times those of the creates.
pub(crate) async fn load(
    bench: &Bench,
    site: &Site,
    plan: &Plan,
    ledger: &Arc<Ledger>,
) -> anyhow::Result<Outcome> {
    let asked = Arc::new(Asked {
        before: ledger.numbers(),
        at: (0..plan.tasks_max()).map(|_| OnceLock::new()).collect(),
    });
    let stage = Stage::endless();
    let mut loads: Vec<BoxFuture<'static, anyhow::Result<Tally>>> = Vec::new();
    for number in 0..plan.workers {
        let roles = (plan.served)(number);
        let worker = work(bench, site, number, &roles, &stage, ledger, &asked);
        loads.push(Box::pin(worker));
    }
    loads.push(Box::pin(create(bench, site, plan, &stage, ledger, &asked)));
    let mut meter = bench.meter(site).await?;
    load::run(&stage, plan.span, &mut meter, loads).await
}

/// A worker that waits, completes, and waits again.
fn work(
    bench: &Bench,
    site: &Site,
    number: usize,
    roles: &[String],
    stage: &Arc<Stage>,
    ledger: &Arc<Ledger>,
    asked: &Arc<Asked>,
) -> impl Future<Output = anyhow::Result<Tally>> + use<> {
    let (stage, ledger, asked) = (Arc::clone(stage), Arc::clone(ledger), Arc::clone(asked));
    let address = site.address(number);
    let member = &bench.fleet[number];
    let words = ClaimWords {
        start: true,
        wait_seconds: WAIT_SECONDS,
    };
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    let claim = member.claim(address, &roles, words);
    let mut complete = member.complete(address, &wire::payload(PAYLOAD_BYTES));
    async move {
        let mut connection = Connection::open(address).await?;
        let mut tally = Tally::default();
        while !stage.is_over() {
            let answer = tokio::select! {
                answer = connection.call(&claim) => answer?,
                () = stage.until_over() => break,
            };
            let now = Instant::now();
            if answer.status == 204 {
                continue;
            }
            answer.expect(200, "a claim")?;
            let task = wire::task_in(answer.body)?;
            ledger.claimed(&task)?;
            let place = asked.place(task.number);
            if let Some(place) = place.filter(|_| stage.is_measured()) {
                let at = place
                    .get()
                    .context("a task was handed out before it was asked for")?;
                tally.done += 1;
                tally.times.add(now.duration_since(*at));
            }
            let answer = connection.call(complete.about(task.id)).await?;
            answer.expect(204, "a complete")?;
            ledger.completed();
        }
        Ok(tally)
    }
}

/// A connection that creates, with a request for each role.
type Creator = Arc<Mutex<(Connection, Vec<CreateRequest>, Tally)>>;

/// Creates tasks at a fixed rate.
fn create(
    bench: &Bench,
    site: &Site,
    plan: &Plan,
    stage: &Arc<Stage>,
    ledger: &Arc<Ledger>,
    asked: &Arc<Asked>,
) -> impl Future<Output = anyhow::Result<Tally>> + use<> {
    let (stage, ledger, asked) = (Arc::clone(stage), Arc::clone(ledger), Arc::clone(asked));
    let address = site.address(0);
    let input = wire::payload(PAYLOAD_BYTES);
    let requests: Vec<CreateRequest> = plan
        .wanted
        .iter()
        .map(|role| bench.fleet[0].create(address, role, &input))
        .collect();
    let rate = plan.rate;
    async move {
        let mut creators: Vec<Creator> = Vec::new();
        for _ in 0..CREATORS {
            let connection = Connection::open(address).await?;
            let creator = (connection, requests.clone(), Tally::default());
            creators.push(Arc::new(Mutex::new(creator)));
        }
        // The workers come first.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut ticks = interval(Duration::from_secs(1) / u32::try_from(rate)?);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut running = tokio::task::JoinSet::new();
        let mut turn = 0;
        while !stage.is_over() {
            ticks.tick().await;
            let number = ledger.number();
            let place = asked
                .place(number)
                .context("more tasks were made than were meant")?;
            let began = *place.get_or_init(Instant::now);
            let creator = Arc::clone(&creators[turn % CREATORS]);
            let role = turn % requests.len();
            turn += 1;
            let is_measured = stage.is_measured();
            running.spawn(async move {
                let mut creator = creator.lock().await;
                let (connection, requests, tally) = &mut *creator;
                let answer = connection.call(requests[role].numbered(number)).await?;
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
