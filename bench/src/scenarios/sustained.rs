//! Twenty minutes at 60 % of the peak; in the second half another session holds a snapshot open, so that no
//! dead row can be removed.
//!
//! The peak is measured first, with the same load at full speed. Then every worker creates, claims and
//! completes at a fixed pace, and each twentieth of the time becomes a row: rate, times, costs, sizes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::{Executor as _, PgConnection, Row as _};

use super::backlog::filled_site;
use super::turnover::Turner;
use crate::bench::{Bench, Site};
use crate::ledger::Ledger;
use crate::load::{self, Outcome, Span, Stage, Tally};
use crate::measure::Usage;
use crate::report::{Goal, Row};

const CONNECTIONS: usize = 256;
/// Ready tasks that the load finds and leaves.
const BACKLOG: u64 = 20_000;
const SHARE_OF_PEAK: f64 = 0.6;
/// Rows that the time is divided into. A quarter of them is "five minutes".
const SAMPLES: usize = 20;
/// The last five minutes beside the first five.
const RATIO: f64 = 0.9;
/// Tables that do not keep history may grow by this factor after the first quarter, or up to a size that is
/// too small to matter.
const GROWTH_MAX: f64 = 1.5;
const SMALL_MIB: f64 = 64.0;

/// Sizes at one moment, in MiB.
#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    database: f64,
    /// Tables in which rows come and go.
    hot: f64,
    hot_indexes: f64,
    dead_rows: f64,
}

/// One stretch of the time.
#[derive(Clone, Copy, Debug)]
struct Sample {
    per_second: f64,
    hot_mib: f64,
    other_percent: f64,
}

/// Measures `sustained`.
pub(crate) async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let mut peak = peak(bench).await?;
    let rate = SHARE_OF_PEAK * peak.per_second();
    bench.report(Row::of("sustained", "peak", CONNECTIONS, &mut peak));
    let each = Duration::from_secs_f64(bench.minutes * 60.0 / SAMPLES as f64);

    let site = filled_site(bench, BACKLOG).await?;
    let tasks_max = BACKLOG + (2.0 * rate * bench.minutes * 60.0) as u64 + 100_000;
    let ledger = Arc::new(Ledger::new(tasks_max));
    ledger.made_elsewhere(BACKLOG);
    let samples = keep_pace(bench, &site, &ledger, rate, each).await?;
    bench.close(site, Some(&ledger), "sustained").await?;

    let mean = |part: &[Sample], figure: fn(&Sample) -> f64| {
        part.iter().map(figure).sum::<f64>() / part.len() as f64
    };
    let others = mean(&samples, |sample| sample.other_percent);
    let rate_of = |part| mean(part, |sample| sample.per_second);
    let quarter = SAMPLES / 4;
    let first = rate_of(&samples[..quarter]);
    let clean = rate_of(&samples[quarter..2 * quarter]);
    let held = rate_of(&samples[3 * quarter..]);
    let bound = (GROWTH_MAX * samples[quarter - 1].hot_mib).max(SMALL_MIB);
    let hot_mib = samples[2 * quarter - 1].hot_mib;
    for (variant, rate, is_held) in [("clean", clean, false), ("snapshot held", held, true)] {
        let row = Row::summary("sustained", variant, CONNECTIONS, rate, others);
        let row = row.compared_with(first).more("snapshot_held", is_held);
        let ratio = row.ratio();
        let mut row = row.goal(Goal::at_least(
            "last quarter beside the first",
            ratio,
            RATIO,
        ));
        if !is_held {
            row = row.goal(Goal::at_most(
                "MiB of tables without history",
                hot_mib,
                bound,
            ));
        }
        bench.report(row);
    }
    Ok(())
}

async fn peak(bench: &Bench) -> anyhow::Result<Outcome> {
    let site = filled_site(bench, BACKLOG).await?;
    let ledger = Arc::new(Ledger::new(BACKLOG + 5_000_000));
    ledger.made_elsewhere(BACKLOG);
    let stage = Stage::endless();
    let workers = (0..CONNECTIONS)
        .map(|number| {
            Turner::new(&bench.fleet[number], number, site.address(number))
                .run(Arc::clone(&stage), Arc::clone(&ledger))
        })
        .collect();
    let mut meter = bench.meter(&site).await?;
    let span = Span {
        warm_up: Duration::from_secs(2),
        measured: Duration::from_secs(10),
    };
    let outcome = load::run(&stage, span, &mut meter, workers).await?;
    bench.close(site, Some(&ledger), "sustained").await?;
    Ok(outcome)
}

async fn keep_pace(
    bench: &mut Bench,
    site: &Site,
    ledger: &Arc<Ledger>,
    rate: f64,
    each: Duration,
) -> anyhow::Result<Vec<Sample>> {
    let stage = Stage::endless();
    stage.measure();
    let slice: Arc<Mutex<Tally>> = Arc::default();
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..CONNECTIONS {
        let worker = Turner::new(&bench.fleet[number], number, site.address(number))
            .paced(number, CONNECTIONS, rate)
            .reporting_to(Arc::clone(&slice));
        workers.spawn(worker.run(Arc::clone(&stage), Arc::clone(ledger)));
    }
    let mut meter = bench.meter(site).await?;
    let (mut looking, mut holding) = (bench.sql().await?, bench.sql().await?);
    let mut samples = Vec::with_capacity(SAMPLES);
    let mut from = meter.read().await?;
    for number in 0..SAMPLES {
        if number == SAMPLES / 2 {
            hold_a_snapshot(&mut holding).await?;
        }
        let began = Instant::now();
        tokio::select! {
            () = tokio::time::sleep(each) => {}
            Some(ended) = workers.join_next() => {
                ended??;
                anyhow::bail!("a worker ended before its time");
            }
        }
        let tally = std::mem::take(&mut *slice.lock().unwrap_or_else(PoisonError::into_inner));
        let usage = meter.since(&from).await?;
        let seconds = began.elapsed().as_secs_f64();
        from = meter.read().await?;
        let sizes = sizes(&mut looking).await?;
        let minute = (number + 1) as f64 * each.as_secs_f64() / 60.0;
        let sample = report(
            bench,
            minute,
            number >= SAMPLES / 2,
            (tally, usage, seconds),
            sizes,
        );
        samples.push(sample);
    }
    holding.execute("rollback").await?;
    stage.stop();
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(samples)
}

fn report(
    bench: &mut Bench,
    minute: f64,
    is_held: bool,
    (tally, usage, seconds): (Tally, Usage, f64),
    sizes: Sizes,
) -> Sample {
    let mut outcome = Outcome {
        tally,
        usage,
        seconds,
    };
    let sample = Sample {
        per_second: outcome.per_second(),
        hot_mib: sizes.hot,
        other_percent: usage.other_percent,
    };
    let row = Row::of(
        "sustained",
        format!("to minute {minute:.1}"),
        CONNECTIONS,
        &mut outcome,
    )
    .more_times("create", &mut outcome.tally.other_times)
    .more("minute", minute)
    .more("snapshot_held", is_held)
    .more("database_mib", sizes.database)
    .more("hot_mib", sizes.hot)
    .more("hot_index_mib", sizes.hot_indexes)
    .more("hot_dead_rows", sizes.dead_rows);
    bench.report(row);
    sample
}

/// Opens a transaction that sees the database as it is now, and keeps it open.
async fn hold_a_snapshot(db: &mut PgConnection) -> anyhow::Result<()> {
    db.execute("set idle_in_transaction_session_timeout = 0")
        .await?;
    db.execute("begin isolation level repeatable read").await?;
    db.execute("select count(*) from tenants")
        .await
        .context("the first statement takes the snapshot")?;
    Ok(())
}

/// Whatever is neither the facts of tasks, nor their ends, nor history, is hot.
async fn sizes(db: &mut PgConnection) -> anyhow::Result<Sizes> {
    let row = sqlx::query(
        "select pg_database_size(current_database())::float8 as database,
                coalesce(sum(pg_total_relation_size(relid)), 0)::float8 as hot,
                coalesce(sum(pg_indexes_size(relid)), 0)::float8 as hot_indexes,
                coalesce(sum(n_dead_tup), 0)::float8 as dead_rows
         from pg_stat_user_tables
         where relname not in ('tasks', 'task_results')
           and relname not like 'events%' and relname not like 'execution_logs%'",
    )
    .fetch_one(db)
    .await?;
    let mib = |name: &str| row.get::<f64, _>(name) / f64::from(1 << 20);
    Ok(Sizes {
        database: mib("database"),
        hot: mib("hot"),
        hot_indexes: mib("hot_indexes"),
        dead_rows: row.get("dead_rows"),
    })
}
