//! Create, claim and complete, with ten thousand, one million and five million ready tasks of mixed roles
//! and priorities behind.
//!
//! A backlog of millions would take minutes through the API, so `backlog.sql` multiplies one task in the
//! platform's own tables. The platform starts on it afterwards, when autovacuum has seen the tables, as it has
//! where a backlog grew by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use uuid::Uuid;

use super::cycle::PAYLOAD_BYTES;
use super::turnover::{self, Turner};
use crate::bench::{Bench, Site};
use crate::client::Connection;
use crate::ledger::Ledger;
use crate::load::{self, Outcome, Stage};
use crate::report::{Goal, Row};
use crate::wire;

const CONNECTIONS: usize = 256;
const SIZES: [u64; 3] = [10_000, 1_000_000, 5_000_000];
/// Beside the smallest backlog.
const RATIO: f64 = 0.9;
/// Rows that one statement makes.
const CHUNK: u64 = 250_000;
/// How long autovacuum may take to see what was filled in.
const SETTLING: Duration = Duration::from_secs(180);
/// Tasks that a stretch may create beside the backlog.
const NEW_TASKS_MAX: u64 = 5_000_000;

/// Measures `backlog`.
pub(crate) async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let mut smallest = None;
    let sizes = if bench.is_quick {
        &SIZES[..2]
    } else {
        &SIZES[..]
    };
    for size in sizes.iter().copied() {
        let mut outcome = one(bench, size).await?;
        let row = Row::of("backlog", thousands(size), CONNECTIONS, &mut outcome)
            .more("backlog", size)
            .more_times("create", &mut outcome.tally.other_times);
        let row = match smallest {
            None => row,
            Some(rate) => {
                let row = row.compared_with(rate);
                let ratio = row.ratio();
                row.goal(Goal::at_least("ratio to 10 thousand", ratio, RATIO))
            }
        };
        smallest = smallest.or(Some(row.ours));
        bench.report(row);
    }
    Ok(())
}

fn thousands(size: u64) -> String {
    match size {
        1_000_000.. => format!("{} million", size / 1_000_000),
        _ => format!("{} thousand", size / 1_000),
    }
}

async fn one(bench: &Bench, size: u64) -> anyhow::Result<Outcome> {
    let site = filled_site(bench, size).await?;
    let ledger = Arc::new(Ledger::new(size + NEW_TASKS_MAX));
    ledger.made_elsewhere(size);
    let stage = Stage::endless();
    let workers = (0..CONNECTIONS)
        .map(|number| {
            Turner::new(&bench.fleet[number], number, site.address(number))
                .run(Arc::clone(&stage), Arc::clone(&ledger))
        })
        .collect();
    let mut meter = bench.meter(&site).await?;
    let outcome = load::run(&stage, bench.span(), &mut meter, workers).await?;
    bench.close(site, Some(&ledger), "backlog").await?;
    Ok(outcome)
}

/// A database with this many ready tasks, and a platform that has just started on it.
pub(crate) async fn filled_site(bench: &Bench, size: u64) -> anyhow::Result<Site> {
    let mut site = bench.site().await?;
    let address = site.address(0);
    let mut request =
        bench.fleet[0].create(address, &turnover::role(0), &wire::payload(PAYLOAD_BYTES));
    let mut connection = Connection::open(address).await?;
    let answer = connection.call(request.numbered(0)).await?;
    answer.expect(201, "a create")?;
    let sample = std::str::from_utf8(&wire::task_in(answer.body)?.id)?.parse()?;
    drop(connection);
    // It knows that its queues are empty, and would hear only of what the API makes.
    for platform in site.platforms.drain(..) {
        platform.stop().await?;
    }
    fill(bench, size, sample).await?;
    site.platforms.push(bench.platform(&[]).await?);
    Ok(site)
}

async fn fill(bench: &Bench, size: u64, sample: Uuid) -> anyhow::Result<()> {
    let mut db = bench.sql().await?;
    let mut first = 1;
    while first < size {
        let last = (first + CHUNK).min(size) - 1;
        sqlx::query(include_str!("backlog.sql"))
            .bind(i64::try_from(first)?)
            .bind(i64::try_from(last)?)
            .bind(sample)
            .bind(i64::try_from(turnover::ROLES)?)
            .execute(&mut db)
            .await?;
        first = last + 1;
    }
    let began = Instant::now();
    loop {
        // Only what is committed before a look at the tables counts, hence a transaction each.
        let is_settled: bool = sqlx::query_scalar(
            "select (select count(*) from pg_stat_user_tables
                     where relname in ('tasks', 'task_queue') and last_autoanalyze is not null) = 2
                    and not exists (select from pg_stat_progress_vacuum)
                    and not exists (select from pg_stat_activity where backend_type = 'autovacuum worker')",
        )
        .fetch_one(&mut db)
        .await?;
        if is_settled {
            break;
        }
        if began.elapsed() > SETTLING {
            println!(
                "    autovacuum has not seen the backlog within {} s",
                SETTLING.as_secs()
            );
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    db.close().await?;
    Ok(())
}
