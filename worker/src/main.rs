//! The worker with command handlers.

use std::process::ExitCode;

use clap::Parser as _;
use stint_worker::Shutdown;
use stint_worker::config::{Action, Config, Flags};
use stint_worker::journal;
use tracing::error;

fn main() -> ExitCode {
    let flags = Flags::parse();
    match act(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may not be open: what is wrong may be the configuration itself.
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn act(flags: &Flags) -> anyhow::Result<()> {
    let config = Config::load(flags, &|name| std::env::var_os(name))?;
    let worker = config.worker()?;
    if flags.action == Some(Action::Check) {
        approve(&config);
        return Ok(());
    }
    journal::open(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals()?;
        if let Err(reason) = worker.run(shutdown).await {
            let reason = config.mask.hide(&reason.to_string());
            error!("{reason}");
            anyhow::bail!("{reason}");
        }
        Ok(())
    })
}

#[expect(clippy::print_stdout, reason = "the answer to `check` is its output")]
fn approve(config: &Config) {
    println!(
        "The configuration is valid: {} at {}.",
        config.name, config.url
    );
    for (serves, handler) in &config.handlers {
        println!("  {serves}: {}", handler.program);
    }
}

#[expect(clippy::print_stderr, reason = "a program says on stderr why it ended")]
fn complain(error: &anyhow::Error) {
    eprintln!("stint-worker: {error:#}");
}
