//! Tasks that depend on others: one that holds back ten thousand, ten thousand that hold back one, and a
//! chain.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;

use super::cycle::{self, PAYLOAD_BYTES, Way};
use crate::bench::{Bench, Site};
use crate::client::Connection;
use crate::fleet::{ClaimWords, ROLE};
use crate::ledger::Ledger;
use crate::load::{self, Outcome, Span, Stage, Tally};
use crate::report::{Goal, Row};
use crate::wire::{self, CreateRequest, ID_CHARS};

const WIDTH: u64 = 10_000;
/// Tasks that hold back joins, all together.
const JOINED: u64 = 30_000;
const JOINED_QUICKLY: u64 = 10_000;
/// Tasks that one join depends on.
const FAN_INS: [u64; 3] = [100, 1_000, 10_000];
const CHAIN: u64 = 1_000;
const CONNECTIONS: usize = 64;
/// A completion into the widest join may cost little more than one into the narrowest.
const RATIO_OF_JOINS: f64 = 0.9;
/// From one completion to the next claim.
const CHAIN_P95_MS: f64 = 20.0;
/// The role of a task on which, or of one which, everything hangs.
pub(super) const KNOT: &str = "knot";

/// Measures `deps`.
pub(crate) async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    fan_out(bench).await?;
    let mut narrowest = None;
    for width in FAN_INS {
        let mut outcome = fan_in(bench, width).await?;
        let row = Row::of(
            "deps",
            format!("joins of {width}"),
            CONNECTIONS,
            &mut outcome,
        )
        .more("fan_in", width)
        .more_times("complete", &mut outcome.tally.other_times);
        let row = match narrowest {
            None => row,
            Some(rate) => {
                let row = row.compared_with(rate);
                let ratio = row.ratio();
                row.goal(Goal::at_least(
                    "ratio to joins of 100",
                    ratio,
                    RATIO_OF_JOINS,
                ))
            }
        };
        narrowest = narrowest.or(Some(row.ours));
        bench.report(row);
    }
    chain(bench).await
}

/// Creates tasks on many connections, and returns their ids in the order of their numbers.
async fn create_all(
    bench: &Bench,
    site: &Site,
    ledger: &Arc<Ledger>,
    tasks: u64,
    state: &'static str,
    more: &str,
) -> anyhow::Result<Vec<[u8; ID_CHARS]>> {
    let creators = (0..CONNECTIONS as u64).map(|number| {
        let address = site.address(0);
        let key = &bench.fleet[usize::try_from(number).expect("small")].agent_key;
        let input = wire::payload(PAYLOAD_BYTES);
        let mut request = CreateRequest::new(address, key, ROLE, &input, more);
        let share = tasks / CONNECTIONS as u64 + u64::from(number < tasks % CONNECTIONS as u64);
        let ledger = Arc::clone(ledger);
        tokio::spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut ids = Vec::new();
            for _ in 0..share {
                let number = ledger.number();
                let answer = connection.call(request.numbered(number)).await?;
                answer.expect(201, "a create")?;
                wire::must_be(answer.body, state)?;
                ids.push(wire::task_in(answer.body)?.id);
            }
            anyhow::Ok(ids)
        })
    });
    let mut all = Vec::new();
    for ids in try_join_all(creators).await? {
        all.extend(ids?);
    }
    Ok(all)
}

/// A member of a create that names what it depends on.
fn depends_on(ids: &[[u8; ID_CHARS]]) -> anyhow::Result<String> {
    let quoted: Vec<String> = ids
        .iter()
        .map(|id| anyhow::Ok(format!(r#""{}""#, std::str::from_utf8(id)?)))
        .collect::<Result<_, _>>()?;
    Ok(format!(r#","depends_on":[{}]"#, quoted.join(",")))
}

async fn create_one(
    bench: &Bench,
    site: &Site,
    ledger: &Ledger,
    role: &str,
    state: &str,
    more: &str,
) -> anyhow::Result<[u8; ID_CHARS]> {
    let address = site.address(0);
    let mut request = CreateRequest::new(address, &bench.fleet[0].agent_key, role, "{}", more);
    let mut connection = Connection::open(address).await?;
    let answer = connection.call(request.numbered(ledger.number())).await?;
    answer.expect(201, "a create")?;
    wire::must_be(answer.body, state)?;
    Ok(wire::task_in(answer.body)?.id)
}

/// Claims and completes the one task of a role that must be there; returns how long the completion took.
pub(super) async fn do_one(
    bench: &Bench,
    site: &Site,
    ledger: &Ledger,
    connection: &mut Connection,
    role: &str,
) -> anyhow::Result<Duration> {
    let (address, member) = (site.address(0), &bench.fleet[0]);
    let words = ClaimWords {
        start: true,
        wait_seconds: 5,
    };
    let answer = connection
        .call(&member.claim(address, &[role], words))
        .await?;
    answer.expect(200, "a claim of a task that must be ready")?;
    let task = wire::task_in(answer.body)?;
    ledger.claimed(&task)?;
    let mut complete = member.complete(address, "{}");
    let began = Instant::now();
    let answer = connection.call(complete.about(task.id)).await?;
    answer.expect(204, "a complete")?;
    ledger.completed();
    Ok(began.elapsed())
}

/// One task holds back ten thousand; its completion makes all of them ready.
async fn fan_out(bench: &mut Bench) -> anyhow::Result<()> {
    let site = bench.site().await?;
    let ledger = Arc::new(Ledger::new(2 * WIDTH));
    let root = create_one(bench, &site, &ledger, KNOT, "ready", "").await?;
    let more = depends_on(&[root])?;
    create_all(bench, &site, &ledger, WIDTH, "pending", &more).await?;
    let mut connection = Connection::open(site.address(0)).await?;
    let took = do_one(bench, &site, &ledger, &mut connection, KNOT).await?;
    let mut outcome = drain(bench, &site, &ledger, WIDTH).await?;
    bench.close(site, Some(&ledger), "deps").await?;
    let row = Row::of("deps", "fan-out to 10000", CONNECTIONS, &mut outcome)
        .more("release_ms", took.as_secs_f64() * 1000.0)
        .more(
            "release_us_per_dependant",
            took.as_secs_f64() * 1e6 / WIDTH as f64,
        );
    bench.report(row);
    Ok(())
}

/// Many tasks hold back joins of a width.
async fn fan_in(bench: &Bench, width: u64) -> anyhow::Result<Outcome> {
    let site = bench.site().await?;
    let joined = if bench.is_quick {
        JOINED_QUICKLY
    } else {
        JOINED
    };
    let ledger = Arc::new(Ledger::new(2 * joined));
    let ids = create_all(bench, &site, &ledger, joined, "ready", "").await?;
    let mut joins = 0;
    for group in ids.chunks(usize::try_from(width)?) {
        create_one(bench, &site, &ledger, KNOT, "pending", &depends_on(group)?).await?;
        joins += 1;
    }
    let outcome = drain(bench, &site, &ledger, joined).await?;
    let mut connection = Connection::open(site.address(0)).await?;
    for _ in 0..joins {
        do_one(bench, &site, &ledger, &mut connection, KNOT).await?;
    }
    bench.close(site, Some(&ledger), "deps").await?;
    Ok(outcome)
}

/// Takes all tasks of the usual role through their lives, from the first to the last.
pub(super) async fn drain(
    bench: &Bench,
    site: &Site,
    ledger: &Arc<Ledger>,
    tasks: u64,
) -> anyhow::Result<Outcome> {
    let span = Span {
        warm_up: Duration::ZERO,
        measured: Duration::from_secs(120),
    };
    let before = ledger.completions();
    let way = (Way::InTwo, PAYLOAD_BYTES);
    let outcome = cycle::drain_for(bench, site, ledger, CONNECTIONS, way, tasks, span).await?;
    ensure!(
        ledger.completions() - before == tasks,
        "{} of {tasks} tasks were done",
        ledger.completions() - before
    );
    Ok(outcome)
}

/// A thousand tasks of which each depends on the one before; two workers wait in turn.
async fn chain(bench: &mut Bench) -> anyhow::Result<()> {
    let site = bench.site().await?;
    let ledger = Arc::new(Ledger::new(2 * CHAIN));
    let mut last = None;
    for _ in 0..CHAIN {
        let (state, more) = match last {
            None => ("ready", String::new()),
            Some(last) => ("pending", depends_on(&[last])?),
        };
        last = Some(create_one(bench, &site, &ledger, ROLE, state, &more).await?);
    }
    let completed_at: Arc<Mutex<Option<Instant>>> = Arc::default();
    let stage = Stage::with_turns(CHAIN);
    let workers = (0..2)
        .map(|number| {
            let address = site.address(number);
            let member = &bench.fleet[number];
            let words = ClaimWords {
                start: true,
                wait_seconds: 1,
            };
            let claim = member.claim(address, &[ROLE], words);
            let mut complete = member.complete(address, &wire::payload(PAYLOAD_BYTES));
            let (stage, ledger) = (Arc::clone(&stage), Arc::clone(&ledger));
            let completed_at = Arc::clone(&completed_at);
            async move {
                let mut connection = Connection::open(address).await?;
                let mut tally = Tally::default();
                while ledger.completions() < CHAIN {
                    let answer = connection.call(&claim).await?;
                    if answer.status == 204 {
                        continue;
                    }
                    answer.expect(200, "a claim")?;
                    let before = completed_at.lock().ok().and_then(|at| *at);
                    if let Some(before) = before {
                        tally.times.add(before.elapsed());
                    }
                    tally.done += 1;
                    let task = wire::task_in(answer.body)?;
                    ledger.claimed(&task)?;
                    *completed_at.lock().ok().context("nobody panics")? = Some(Instant::now());
                    let answer = connection.call(complete.about(task.id)).await?;
                    answer.expect(204, "a complete")?;
                    ledger.completed();
                    stage.takes_turn();
                }
                stage.run_out();
                Ok(tally)
            }
        })
        .collect();
    let mut meter = bench.meter(&site).await?;
    let span = Span {
        warm_up: Duration::ZERO,
        measured: Duration::from_secs(120),
    };
    let mut outcome = load::run(&stage, span, &mut meter, workers).await?;
    bench.close(site, Some(&ledger), "deps").await?;
    let row = Row::of("deps", "chain of 1000", 2, &mut outcome);
    let p95 = row.p(95);
    bench.report(row.goal(Goal::at_most(
        "p95 ms from a completion to the next claim",
        p95,
        CHAIN_P95_MS,
    )));
    Ok(())
}
