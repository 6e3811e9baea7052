//! The binary: reads the settings, starts a replica, and stops it on SIGTERM or SIGINT.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use stint_platform::app::RunLoops;
use stint_platform::config::{Config, LogFormat};
use stint_platform::start::{Started, raise_open_files, start};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    if let Err(error) = log_to_stderr(&config) {
        say(&format!("error: {error:#}"));
        return ExitCode::FAILURE;
    }
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the platform cannot run: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log)
        .context("STINT_LOG is not a filter such as info,sqlx=warn")?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Colours are for eyes: a log file has none.
        .with_ansi(std::io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Human => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}

async fn run(config: Config) -> anyhow::Result<()> {
    raise_open_files()?;
    // Bound before the database is started: a taken port is found at once.
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!(
            "cannot listen on {}; another STINT_LISTEN may do",
            config.listen
        )
    })?;
    let address = listener.local_addr()?;
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let started = tokio::select! {
        started = start(config) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let Started {
        platform,
        keeper,
        new_admin_key,
    } = started;
    if let Some(key) = new_admin_key {
        // To standard output, not to the log: a log is kept, and read by others.
        say(&format!("admin key, shown this once: {}", key.reveal()));
    }
    let shutdown = platform.app().shutdown.clone();
    tracing::info!("serving http://{address}, API pages at http://{address}/docs");
    let serve = platform.serve(listener, RunLoops::Yes);
    tokio::pin!(serve);
    loop {
        tokio::select! {
            served = &mut serve => break served?,
            _ = terminate.recv() => shutdown.cancel(),
            _ = interrupt.recv() => shutdown.cancel(),
        }
        tracing::info!("shutting down: finishing what runs");
    }
    if let Some(keeper) = keeper {
        keeper.stop().await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Writes a line for whoever started the process.
fn say(line: &str) {
    if let Err(error) = writeln!(std::io::stdout(), "{line}") {
        tracing::warn!(%error, "standard output is closed");
    }
}
