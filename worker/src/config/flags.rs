//! The command line, and the variables that stand in for it.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use secrecy::SecretString;
use serde::Deserialize;

/// Runs tasks of a Stint platform with the commands of its configuration file.
#[derive(Clone, Debug, Parser)]
#[command(name = "stint-worker", version, about)]
pub struct Flags {
    /// The configuration file (TOML)
    #[arg(long, env = "STINT_WORKER_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Where the platform is, such as http://127.0.0.1:7000
    #[arg(long, env = "STINT_URL", global = true)]
    pub url: Option<String>,
    /// The key to register with: scope worker or admin. Other users of this machine can see flags; prefer the variable or a file
    #[arg(
        long,
        env = "STINT_API_KEY",
        hide_env_values = true,
        value_name = "KEY",
        global = true
    )]
    pub api_key: Option<SecretString>,
    /// A file that holds the key
    #[arg(
        long,
        env = "STINT_WORKER_API_KEY_FILE",
        value_name = "FILE",
        global = true
    )]
    pub api_key_file: Option<PathBuf>,
    /// The name to register under; the host name unless given
    #[arg(long, env = "STINT_WORKER_NAME", global = true)]
    pub name: Option<String>,
    /// How many tasks run at once; 1 unless given
    #[arg(
        long,
        env = "STINT_WORKER_CAPACITY",
        value_name = "TASKS",
        global = true
    )]
    pub capacity: Option<u32>,
    /// How often to beat; every 10 seconds unless given
    #[arg(
        long,
        env = "STINT_WORKER_HEARTBEAT_SECONDS",
        value_name = "SECONDS",
        global = true
    )]
    pub heartbeat_seconds: Option<u64>,
    /// How long leases last; the platform decides unless given
    #[arg(
        long,
        env = "STINT_WORKER_LEASE_SECONDS",
        value_name = "SECONDS",
        global = true
    )]
    pub lease_seconds: Option<u64>,
    /// Where the folders of attempts are made; stint-worker in the temporary folder unless given
    #[arg(
        long,
        env = "STINT_WORKER_WORK_DIR",
        value_name = "FOLDER",
        global = true
    )]
    pub work_dir: Option<PathBuf>,
    /// Keep the folders of attempts, to look at them
    #[arg(long, env = "STINT_WORKER_KEEP_FOLDERS", global = true)]
    pub keep_folders: bool,
    /// How long running tasks may go on after the word to drain; 60 seconds unless given
    #[arg(
        long,
        env = "STINT_WORKER_DRAIN_GRACE_SECONDS",
        value_name = "SECONDS",
        global = true
    )]
    pub drain_grace_seconds: Option<u64>,
    /// How log lines are written; human unless given
    #[arg(
        long,
        env = "STINT_WORKER_LOG_FORMAT",
        value_name = "FORMAT",
        global = true
    )]
    pub log_format: Option<LogFormat>,
    /// Which log lines are written, such as debug or stint_worker=debug; info unless given
    #[arg(long, env = "STINT_WORKER_LOG", value_name = "FILTER", global = true)]
    pub log: Option<String>,
    /// What to do; run unless given
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Action {
    /// Work until told to stop
    Run,
    /// Check the configuration and end
    Check,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// For programs: one JSON object a line.
    Json,
}
