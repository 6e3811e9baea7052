//! Workers that have nothing to do: each holds a waiting claim open, renews it when it ends, and beats.
//!
//! Measured with the beats and without them, so that what waiting costs can be told from what beating costs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::bench::Bench;
use crate::client::Connection;
use crate::fleet::{ClaimWords, ROLE};
use crate::load::{self, Outcome, Span, Stage, Tally};
use crate::report::{Goal, Row};

/// How long a claim waits.
const WAIT_SECONDS: u32 = 25;
const BEAT_EVERY: Duration = Duration::from_secs(10);
/// For a thousand workers, beside their beats.
const CORES_MAX: f64 = 0.05;
const STATEMENTS_A_SECOND_MAX: f64 = 5.0;
const RSS_MIB_MAX: f64 = 60.0;

/// Measures `idle`.
pub(crate) async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let sizes: &[usize] = if bench.is_quick {
        &[1_000]
    } else {
        &[100, 1_000]
    };
    for workers in sizes {
        for has_beats in [false, true] {
            one(bench, *workers, has_beats).await?;
        }
    }
    Ok(())
}

async fn one(bench: &mut Bench, workers: usize, has_beats: bool) -> anyhow::Result<()> {
    let site = bench.site().await?;
    let stage = Stage::endless();
    let begin = Instant::now();
    let lives = (0..workers)
        .map(|number| {
            let stage = Arc::clone(&stage);
            let address = site.address(number);
            let member = bench.fleet[number].clone();
            let words = ClaimWords {
                start: true,
                wait_seconds: WAIT_SECONDS,
            };
            let claim = member.claim(address, &[ROLE], words);
            let beat = member.beat(address);
            // Beats are spread evenly, as those of workers that started at different times are.
            let first = begin + BEAT_EVERY.mul_f64(number as f64 / workers as f64);
            async move {
                let mut tally = Tally::default();
                let waiting = async {
                    let mut connection = Connection::open(address).await?;
                    loop {
                        let answer = connection.call(&claim).await?;
                        answer.expect(204, "a claim that waited for nothing")?;
                    }
                    #[expect(unreachable_code, reason = "gives the block its type")]
                    anyhow::Ok(())
                };
                let beating = async {
                    let mut beats = interval_at(first, BEAT_EVERY);
                    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
                    let mut connection = Connection::open(address).await?;
                    loop {
                        beats.tick().await;
                        if !has_beats {
                            continue;
                        }
                        let began = std::time::Instant::now();
                        let answer = connection.call(&beat).await?;
                        answer.expect(200, "a heartbeat")?;
                        if stage.is_measured() {
                            tally.done += 1;
                            tally.times.add(began.elapsed());
                        }
                    }
                    #[expect(unreachable_code, reason = "gives the block its type")]
                    anyhow::Ok(())
                };
                tokio::select! {
                    ended = waiting => ended?,
                    ended = beating => ended?,
                    () = stage.until_over() => {}
                }
                Ok(tally)
            }
        })
        .collect();
    let mut meter = bench.meter(&site).await?;
    let span = Span {
        // The first claims ask the database, the later ones know that there is nothing.
        warm_up: Duration::from_secs(if bench.is_quick { 4 } else { 8 }),
        measured: Duration::from_secs(if bench.is_quick { 6 } else { 30 }),
    };
    let mut outcome = load::run(&stage, span, &mut meter, lives).await?;
    if has_beats {
        let expected = workers as f64 * outcome.seconds / BEAT_EVERY.as_secs_f64();
        ensure!(
            outcome.tally.done as f64 > 0.8 * expected,
            "{} beats were answered instead of {expected:.0}",
            outcome.tally.done
        );
    }
    bench.close(site, None, "idle").await?;
    bench.report(row(workers, has_beats, &mut outcome));
    Ok(())
}

fn row(workers: usize, has_beats: bool, outcome: &mut Outcome) -> Row {
    let usage = outcome.usage;
    let cores = (usage.platform_cpu_s + usage.postgres_cpu_s) / usage.seconds;
    let statements = usage.statements / usage.seconds;
    let variant = if has_beats {
        "with beats"
    } else {
        "waiting only"
    };
    let row = Row::of("idle", variant, workers, outcome)
        .figure(cores, "cores")
        .more("beats_per_second", outcome.per_second())
        .more("statements_per_second", statements)
        .more("platform_cores", usage.platform_cpu_s / usage.seconds)
        .more("postgres_cores", usage.postgres_cpu_s / usage.seconds);
    if workers < 1_000 {
        return row;
    }
    let row = row.goal(Goal::at_most("RSS MiB", usage.rss_mib, RSS_MIB_MAX));
    if has_beats {
        return row;
    }
    row.goal(Goal::at_most("cores beside the beats", cores, CORES_MAX))
        .goal(Goal::at_most(
            "statements a second beside the beats",
            statements,
            STATEMENTS_A_SECOND_MAX,
        ))
}
