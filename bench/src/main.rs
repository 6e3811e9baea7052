//! Measures a platform over its public API, and beside it pgbench doing the same in plain SQL, on the same
//! server and in the same minute.
//!
//! ```text
//! stint-bench ── HTTP, keep-alive ──► stint-platform ──► PostgreSQL ◄── pgbench, the yardstick
//!      └── reads what all of them cost: /proc, pg_stat_* ──────┘
//! ```
//!
//! Every process is real, and durability is what users get. Every answer is checked: a task that is handed out
//! twice, a completion that is refused, an unexpected status ends the scenario as failed. A scenario is a file in
//! `scenarios/`; its goals are constants at its top.
#![expect(
    clippy::print_stdout,
    reason = "what it prints is what it is there for"
)]

mod bench;
mod client;
mod cluster;
mod fleet;
mod ledger;
mod load;
mod measure;
mod pgbench;
mod platform;
mod plot;
mod procfs;
mod report;
mod scenarios;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use clap::{Parser, ValueEnum as _};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::bench::{Bench, Wanted};
use crate::scenarios::Scenario;

/// Measures a platform, and pgbench beside it.
#[derive(Debug, Parser)]
#[command(name = "scripts/bench")]
struct Flags {
    /// Short windows of the essential scenarios: three minutes
    #[arg(long)]
    quick: bool,
    /// Only these scenarios
    #[arg(long, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Writes the results into this file, as a list of objects
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draws the results into this folder, as SVG
    #[arg(long)]
    plots: Option<PathBuf>,
    /// How often to measure everything
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// How many minutes `sustained` takes
    #[arg(long, default_value_t = 20.0)]
    minutes: f64,
    /// Also prints which statements took most of the database's time
    #[arg(long)]
    statements: bool,
    /// An empty folder for the database and the logs
    #[arg(long)]
    folder: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    match measure_all(flags).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("the bench cannot run: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure_all(flags: Flags) -> anyhow::Result<bool> {
    allow_many_files()?;
    let began = Instant::now();
    let mut bench = Bench::start(Wanted {
        folder: flags.folder.clone(),
        is_quick: flags.quick,
        minutes: flags.minutes,
        tells_statements: flags.statements,
    })
    .await?;
    print_machine(&bench);
    let mut failed = Vec::new();
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let is_interrupted = tokio::select! {
        () = measure_scenarios(&mut bench, &flags, &mut failed) => false,
        _ = interrupt.recv() => true,
        _ = terminate.recv() => true,
    };
    let rows: Vec<_> = bench.rows.iter().map(report::Row::json).collect();
    if let Some(path) = &flags.json {
        std::fs::write(path, serde_json::to_string_pretty(&rows)?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    if let Some(folder) = &flags.plots {
        plot::draw(&rows, folder).with_context(|| format!("drawing into {}", folder.display()))?;
    }
    bench.stop().await;
    if is_interrupted {
        println!("interrupted; what was measured until then counts");
        return Ok(false);
    }
    println!("{}\ntook {} s", report::LEGEND, began.elapsed().as_secs());
    for failure in &failed {
        println!("FAILED {failure}");
    }
    Ok(failed.is_empty())
}

async fn measure_scenarios(bench: &mut Bench, flags: &Flags, failed: &mut Vec<String>) {
    let chosen: Vec<Scenario> = Scenario::value_variants()
        .iter()
        .copied()
        .filter(|scenario| {
            if flags.only.is_empty() {
                !flags.quick || scenario.is_quick()
            } else {
                flags.only.contains(scenario)
            }
        })
        .collect();
    report::print_head();
    for run in 1..=flags.runs {
        bench.run = run;
        for scenario in &chosen {
            if let Err(error) = scenario.run(bench).await {
                let failure = format!("{} (run {run}): {error:#}", scenario.name());
                println!("FAILED {failure}");
                failed.push(failure);
            }
        }
    }
}

fn print_machine(bench: &Bench) {
    let (name, count) = procfs::processors();
    println!(
        "{count} x {name}; PostgreSQL {}, the settings of a private server, data in {}.\n\
         One platform, log level warn, STINT_RATE_PER_SECOND={} so that the admin key can register {} workers; every \
         other setting is the default.\n",
        bench.cluster.version,
        bench.folder().display(),
        platform::RATE_PER_SECOND,
        fleet::FLEET,
    );
}

/// A connection is a file, and a thousand workers are more than the usual limit. The platform inherits it.
fn allow_many_files() -> anyhow::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("raising the limit of open files")
}
