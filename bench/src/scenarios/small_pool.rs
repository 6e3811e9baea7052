//! The smallest pools that the platform accepts, and 64 of everything at once: it may be slow, but it must
//! not hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use futures_util::future::BoxFuture;

use super::cycle::PAYLOAD_BYTES;
use super::turnover::{self, Turner};
use crate::bench::{Bench, Site};
use crate::client::Connection;
use crate::ledger::Ledger;
use crate::load::{self, Stage, Tally};
use crate::report::{Goal, Row};
use crate::{platform, wire};

/// Connections for each kind of request.
const EACH: usize = 64;
/// What `Config::check` accepts at least.
const SETTINGS: [(&str, &str); 2] = [
    ("STINT_WRITE_CONNECTIONS", "2"),
    ("STINT_READ_CONNECTIONS", "2"),
];
/// The longest call. A request that gets no connection is told so after five seconds.
const LONGEST_MS_MAX: f64 = 10_000.0;

/// A kind of request beside the usual turns: its name, method and path, and a body.
const KINDS: [(&str, &str, &str, &str); 6] = [
    (
        "list_tasks",
        "GET",
        "/api/v1/tasks?state=ready&per_page=20",
        "",
    ),
    ("queue_depth", "GET", "/api/v1/tasks/queue-depth", ""),
    ("list_workers", "GET", "/api/v1/workers?per_page=20", ""),
    ("events", "GET", "/api/v1/events?per_page=20", ""),
    (
        "create_key",
        "POST",
        "/api/v1/api-keys",
        r#"{"scope":"service","label":"bench"}"#,
    ),
    (
        "register_agent",
        "POST",
        "/api/v1/agents/register",
        r#"{"name":"bench"}"#,
    ),
];

/// Answers to one kind: accepted, and told to come back.
#[derive(Default)]
struct Answers {
    accepted: AtomicU64,
    put_off: AtomicU64,
}

/// Measures `small-pool`.
pub(crate) async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let site = bench.site_with(1, &SETTINGS).await?;
    let ledger = Arc::new(Ledger::new(10_000_000));
    let stage = Stage::endless();
    let mut loads: Vec<BoxFuture<'static, anyhow::Result<Tally>>> = Vec::new();
    for number in 0..EACH {
        let turner = Turner::new(
            &bench.fleet[number],
            turnover::ROLES * number,
            site.address(0),
        );
        loads.push(Box::pin(
            turner.run(Arc::clone(&stage), Arc::clone(&ledger)),
        ));
        loads.push(Box::pin(beat(bench, &site, number, &stage)));
    }
    let answers: Arc<Vec<Answers>> = Arc::new(KINDS.iter().map(|_| Answers::default()).collect());
    for kind in 0..KINDS.len() {
        for _ in 0..EACH {
            loads.push(Box::pin(ask(&site, kind, &stage, &answers)));
        }
    }
    let connections = loads.len();
    let mut meter = bench.meter(&site).await?;
    let mut outcome = load::run(&stage, bench.span(), &mut meter, loads).await?;
    bench.close(site, Some(&ledger), "small-pool").await?;

    let [longest] = outcome.tally.other_times.percentiles([100.0]);
    let mut row = Row::of(
        "small-pool",
        format!("{EACH} of each kind"),
        connections,
        &mut outcome,
    )
    .more("payload_bytes", PAYLOAD_BYTES)
    .more("longest_ms", longest);
    let mut fewest = u64::MAX;
    for ((name, ..), answers) in KINDS.iter().zip(answers.iter()) {
        let accepted = answers.accepted.load(Ordering::Relaxed);
        fewest = fewest.min(accepted);
        row = row.more(&format!("{name}_accepted"), accepted).more(
            &format!("{name}_put_off"),
            answers.put_off.load(Ordering::Relaxed),
        );
    }
    let longest = longest.unwrap_or(f64::INFINITY);
    bench.report(
        row.goal(Goal::at_most("longest call ms", longest, LONGEST_MS_MAX))
            .goal(Goal::at_least(
                "answers to the slowest kind",
                fewest as f64,
                1.0,
            )),
    );
    Ok(())
}

/// Asks one kind of question again and again. Being put off is an answer, too.
fn ask(
    site: &Site,
    kind: usize,
    stage: &Arc<Stage>,
    answers: &Arc<Vec<Answers>>,
) -> impl Future<Output = anyhow::Result<Tally>> + use<> {
    let (stage, answers) = (Arc::clone(stage), Arc::clone(answers));
    let address = site.address(0);
    let (name, method, path, body) = KINDS[kind];
    let request = wire::request(address, method, path, platform::admin_key(), body);
    async move {
        let mut connection = Connection::open(address).await?;
        let mut tally = Tally::default();
        while stage.takes_turn() {
            let began = Instant::now();
            let answer = connection.call(&request).await?;
            match answer.status {
                200 | 201 => &answers[kind].accepted,
                429 | 503 => &answers[kind].put_off,
                _ => {
                    answer.expect(200, name)?;
                    bail!("{name} was answered oddly")
                }
            }
            .fetch_add(1, Ordering::Relaxed);
            tally.other_times.add(began.elapsed());
        }
        Ok(tally)
    }
}

fn beat(
    bench: &Bench,
    site: &Site,
    number: usize,
    stage: &Arc<Stage>,
) -> impl Future<Output = anyhow::Result<Tally>> + use<> {
    let stage = Arc::clone(stage);
    let address = site.address(0);
    let request = bench.fleet[number].beat(address);
    async move {
        let mut connection = Connection::open(address).await?;
        let mut tally = Tally::default();
        while stage.takes_turn() {
            let began = Instant::now();
            connection
                .call(&request)
                .await?
                .expect(200, "a heartbeat")?;
            tally.other_times.add(began.elapsed());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(tally)
    }
}
