//! Log lines in batches of a hundred from 64 workers, each about a task that it holds; and how long a line
//! takes to a live tail that follows all of them.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval_at};

use super::cycle::PAYLOAD_BYTES;
use super::prefill;
use crate::bench::{Bench, Site};
use crate::client::Connection;
use crate::fleet::{ClaimWords, Member, ROLE};
use crate::ledger::Ledger;
use crate::load::{self, Outcome, Span, Stage, Tally};
use crate::pgbench::Kind;
use crate::platform;
use crate::report::Row;
use crate::wire;

const WORKERS: usize = 64;
const LINES: u64 = 100;
/// Characters of a line beside its number.
const LINE: &str =
    "a line that a program prints while it works, long enough to be like most of them are";
/// How a line begins; the number of its batch follows.
const MARK: &str = "batch ";
/// Batches that are timed on their way to the tail.
const TIMED_MAX: usize = 100_000;

/// When batches were sent, by their numbers.
type Sent = Arc<Vec<OnceLock<Instant>>>;

/// Measures `logs`.
pub(crate) async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let clients = bench
        .yardstick
        .best_clients(&bench.cluster, Kind::Lines)
        .await?;
    let before = bench
        .yardstick
        .recent(&bench.cluster, Kind::Lines, clients)
        .await?;
    let mut flat_out = load(bench, None).await?;
    let around = bench
        .yardstick
        .around(&bench.cluster, before, Kind::Lines)
        .await?;
    let row = Row::of("logs", "flat out", WORKERS, &mut flat_out);
    bench.report(row.unit("lines/s").yardstick(around));

    let mut steady = load(bench, Some(Duration::from_secs(1))).await?;
    let mut tail = std::mem::take(&mut steady.tally.other_times);
    ensure!(!tail.is_empty(), "nothing reached the tail");
    let row = Row::of(
        "logs",
        "live tail, a batch a second each",
        WORKERS,
        &mut steady,
    );
    bench.report(
        row.unit("lines/s")
            .more_times("ingest", &mut steady.tally.times)
            .times(&mut tail),
    );
    Ok(())
}

async fn load(bench: &Bench, pace: Option<Duration>) -> anyhow::Result<Outcome> {
    let site = bench.site().await?;
    let ledger = Arc::new(Ledger::new(WORKERS as u64));
    let input = wire::payload(PAYLOAD_BYTES);
    prefill::of_role(bench, &site, &ledger, WORKERS as u64, ROLE, &input).await?;
    let sent: Sent = Arc::new((0..TIMED_MAX).map(|_| OnceLock::new()).collect());
    let stage = Stage::endless();
    let mut loads: Vec<BoxFuture<'static, anyhow::Result<Tally>>> = Vec::new();
    for number in 0..WORKERS {
        let shipper = Shipper {
            member: bench.fleet[number].clone(),
            address: site.address(number),
            number,
            pace,
            sent: Arc::clone(&sent),
        };
        loads.push(Box::pin(
            shipper.run(Arc::clone(&stage), Arc::clone(&ledger)),
        ));
    }
    if pace.is_some() {
        loads.push(Box::pin(follow(&site, &stage, &sent)));
    }
    let mut meter = bench.meter(&site).await?;
    let span = Span {
        warm_up: Duration::from_secs(2),
        ..bench.span()
    };
    let outcome = load::run(&stage, span, &mut meter, loads).await?;
    bench.close(site, Some(&ledger), "logs").await?;
    Ok(outcome)
}

/// A worker that holds a task and sends its lines.
struct Shipper {
    member: Member,
    address: SocketAddr,
    number: usize,
    pace: Option<Duration>,
    sent: Sent,
}

#[derive(Deserialize)]
struct Ingested {
    data: Counts,
}

#[derive(Deserialize)]
struct Counts {
    accepted: u64,
    rejected: u64,
}

impl Shipper {
    async fn run(self, stage: Arc<Stage>, ledger: Arc<Ledger>) -> anyhow::Result<Tally> {
        let mut connection = Connection::open(self.address).await?;
        let words = ClaimWords {
            start: true,
            wait_seconds: 5,
        };
        let claim = self.member.claim(self.address, &[ROLE], words);
        let answer = connection.call(&claim).await?;
        answer.expect(200, "a claim")?;
        let task = wire::task_in(answer.body)?;
        ledger.claimed(&task)?;
        let task_id = std::str::from_utf8(&task.id)?.to_owned();
        let mut ticks = self.pace.map(|pace| {
            let first = pace.mul_f64(self.number as f64 / WORKERS as f64);
            let mut ticks = interval_at(tokio::time::Instant::now() + first, pace);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        let (mut tally, mut turn) = (Tally::default(), 0);
        while stage.takes_turn() {
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            let batch = turn * WORKERS + self.number;
            let body = entries(&task_id, turn as u64, batch);
            let path = "/api/v1/logs/ingest";
            let request = wire::request(self.address, "POST", path, &self.member.agent_key, &body);
            let began = Instant::now();
            if let Some(place) = self.sent.get(batch) {
                place.set(began).ok().context("a batch is sent once")?;
            }
            let answer = connection.call(&request).await?;
            answer.expect(201, "a log ingest")?;
            let counts: Ingested = serde_json::from_slice(answer.body)?;
            ensure!(
                counts.data.accepted == LINES && counts.data.rejected == 0,
                "{} lines were accepted and {} rejected",
                counts.data.accepted,
                counts.data.rejected
            );
            turn += 1;
            if stage.is_measured() {
                tally.done += LINES;
                tally.times.add(began.elapsed());
            }
        }
        let mut complete = self.member.complete(self.address, "{}");
        let answer = connection.call(complete.about(task.id)).await?;
        answer.expect(204, "a complete")?;
        ledger.completed();
        Ok(tally)
    }
}

/// The body of a batch, as our own worker sends it.
fn entries(task: &str, turn: u64, batch: usize) -> String {
    let mut body = String::with_capacity(40_000);
    body.push_str(r#"{"entries":["#);
    for line in 1..=LINES {
        let seq = turn * LINES + line;
        let comma = if line == LINES { "" } else { "," };
        write!(
            body,
            r#"{{"trace_id":"{task}","span_id":"{task}","source":"task_container","category":"tool","operation":"command.output","status":"completed","task_id":"{task}","attempt":1,"seq":{seq},"payload":{{"stream":"stdout","line":"{MARK}{batch:012} {LINE}","seq":{seq}}}}}{comma}"#
        )
        .expect("a text takes everything");
    }
    body.push_str("]}");
    body
}

/// Follows all lines, and times the first one of each batch.
fn follow(
    site: &Site,
    stage: &Arc<Stage>,
    sent: &Sent,
) -> impl Future<Output = anyhow::Result<Tally>> + use<> {
    let address = site.address(0);
    let (stage, sent) = (Arc::clone(stage), Arc::clone(sent));
    async move {
        let request = wire::request(
            address,
            "GET",
            "/api/v1/logs/stream",
            platform::admin_key(),
            "",
        );
        let mut stream = Connection::open(address).await?.follow(&request).await?;
        let mut tally = Tally::default();
        let mut seen = vec![false; TIMED_MAX];
        while !stage.is_over() {
            let news = stream.lines(|line| {
                let now = Instant::now();
                let Some(batch) = batch_in(line) else { return };
                let (Some(seen), Some(at)) = (seen.get_mut(batch), sent.get(batch)) else {
                    return;
                };
                if std::mem::replace(seen, true) || !stage.is_measured() {
                    return;
                }
                if let Some(at) = at.get() {
                    tally.other_times.add(now.duration_since(*at));
                }
            });
            tokio::select! {
                news = news => news?,
                () = stage.until_over() => {}
            }
        }
        Ok(tally)
    }
}

fn batch_in(line: &[u8]) -> Option<usize> {
    let at = wire::find(line, MARK.as_bytes())? + MARK.len();
    std::str::from_utf8(line.get(at..at + 12)?)
        .ok()?
        .parse()
        .ok()
}
