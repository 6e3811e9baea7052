//! Every setting and every limit, read once at the start.
//!
//! A flag wins over the environment. The doc comments are the help text of `stint-platform --help`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};
use secrecy::SecretString;

/// The Stint API server.
#[derive(Clone, Debug, Parser)]
#[command(name = "stint-platform", version)]
pub struct Config {
    /// Address and port to listen on.
    #[arg(long, env = "STINT_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    #[command(flatten)]
    pub database: DatabaseConfig,

    #[command(flatten)]
    pub auth: AuthConfig,

    #[command(flatten)]
    pub limits: LimitConfig,

    #[command(flatten)]
    pub retention: RetentionConfig,

    /// How log lines look.
    #[arg(long, env = "STINT_LOG_FORMAT", default_value = "human")]
    pub log_format: LogFormat,

    /// Which log lines are written, in the syntax of tracing's EnvFilter.
    #[arg(long, env = "STINT_LOG", default_value = "info,sqlx=warn")]
    pub log: String,

    /// How long requests that run may take to finish at shutdown.
    #[arg(long, env = "STINT_SHUTDOWN_GRACE_SECONDS", default_value_t = 20)]
    pub shutdown_grace_seconds: u64,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For eyes.
    Human,
    /// One JSON object a line.
    Json,
}

/// Where the data is.
#[derive(Clone, Debug, Args)]
pub struct DatabaseConfig {
    /// PostgreSQL to use, 15 or later. Not set: a private one in the data folder.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<SecretString>,

    /// Folder of the private PostgreSQL and of the sealing key. Default: /var/lib/stint for root,
    /// else ~/.local/share/stint.
    #[arg(long, env = "STINT_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// Folder with the PostgreSQL programs (initdb, postgres), when they are not found by themselves.
    #[arg(long, env = "STINT_PG_BIN")]
    pub pg_bin: Option<PathBuf>,

    /// Connections for requests that change something.
    #[arg(long, env = "STINT_WRITE_CONNECTIONS", default_value_t = 8)]
    pub write_connections: u32,

    /// Connections for requests that only read.
    #[arg(long, env = "STINT_READ_CONNECTIONS", default_value_t = 8)]
    pub read_connections: u32,

    /// How long a request waits for a connection before it is told to come back.
    #[arg(long, env = "STINT_CONNECTION_WAIT_SECONDS", default_value_t = 5)]
    pub connection_wait_seconds: u64,
}

/// Who may do what.
#[derive(Clone, Debug, Args)]
pub struct AuthConfig {
    /// The admin key of the default tenant. Not set: one is made at the first start and shown once.
    #[arg(long, env = "STINT_ADMIN_API_KEY", hide_env_values = true)]
    pub admin_api_key: Option<SecretString>,

    /// 32 bytes in base64 that encrypt secrets at rest. Not set: made in the data folder.
    #[arg(long, env = "STINT_SEAL_KEY", hide_env_values = true)]
    pub seal_key: Option<SecretString>,

    /// How long an exchanged token lasts.
    #[arg(long, env = "STINT_TOKEN_SECONDS", default_value_t = 3600)]
    pub token_seconds: u32,

    /// How long the keys of agents and workers last.
    #[arg(long, env = "STINT_HOLDER_KEY_DAYS", default_value_t = 365)]
    pub holder_key_days: u32,
}

/// How much of something there may be.
#[derive(Clone, Debug, Args)]
pub struct LimitConfig {
    /// Largest request body.
    #[arg(long, env = "STINT_BODY_BYTES_MAX", default_value_t = 1024 * 1024)]
    pub body_bytes_max: usize,

    /// Requests a second one key may make, on average, on this replica.
    #[arg(long, env = "STINT_RATE_PER_SECOND", default_value_t = 1_000)]
    pub rate_per_second: u32,

    /// Claims, reports, heartbeats and log entries a second one key may make, on average, on this replica.
    #[arg(long, env = "STINT_HOT_RATE_PER_SECOND", default_value_t = 50_000)]
    pub hot_rate_per_second: u32,

    /// Failed authentications a second from one address, on average, on this replica.
    #[arg(long, env = "STINT_ADDRESS_RATE_PER_SECOND", default_value_t = 20)]
    pub address_rate_per_second: u32,

    /// Requests that may wait in one lane of the hot path.
    #[arg(long, env = "STINT_LANE_ITEMS_MAX", default_value_t = 8192)]
    pub lane_items_max: usize,

    /// Bytes of request bodies that may wait in one lane of the hot path.
    #[arg(long, env = "STINT_LANE_BYTES_MAX", default_value_t = 64 * 1024 * 1024)]
    pub lane_bytes_max: usize,

    /// Claims that may wait for work at once on this replica.
    #[arg(long, env = "STINT_WAITING_CLAIMS_MAX", default_value_t = 20_000)]
    pub waiting_claims_max: usize,

    /// Live streams of events, and of log entries, that this replica serves at once, each.
    #[arg(long, env = "STINT_STREAMS_MAX", default_value_t = 1_000)]
    pub streams_max: usize,

    /// How deep subtasks may be nested.
    #[arg(long, env = "STINT_SUBTASK_DEPTH_MAX", default_value_t = 3)]
    pub subtask_depth_max: i32,

    /// How many subtasks one task may have.
    #[arg(long, env = "STINT_SUBTASKS_MAX", default_value_t = 20)]
    pub subtasks_max: i64,

    /// How long an attempt may take unless its task says so.
    #[arg(long, env = "STINT_TASK_TIMEOUT_MINUTES", default_value_t = 180)]
    pub task_timeout_minutes: i32,

    /// How long a holder may take to end a task whose run was cancelled, before its lease is taken away.
    #[arg(long, env = "STINT_CANCEL_GRACE_SECONDS", default_value_t = 60)]
    pub cancel_grace_seconds: u32,

    /// After how long without anything happening the orchestrator of a run is woken all the same.
    #[arg(long, env = "STINT_ACTIVATION_HEARTBEAT_MINUTES", default_value_t = 30)]
    pub activation_heartbeat_minutes: u32,
}

/// How long things are kept.
#[derive(Clone, Debug, Args)]
pub struct RetentionConfig {
    /// Days that ended tasks are kept.
    #[arg(long, env = "STINT_TASK_RETENTION_DAYS", default_value_t = 30)]
    pub task_retention_days: i32,

    /// Days that ended runs are kept, with their work items and tasks.
    #[arg(long, env = "STINT_WORKFLOW_RETENTION_DAYS", default_value_t = 30)]
    pub workflow_retention_days: i32,

    /// Days that events are kept.
    #[arg(long, env = "STINT_EVENT_RETENTION_DAYS", default_value_t = 30)]
    pub event_retention_days: i32,

    /// Days that execution logs are kept.
    #[arg(long, env = "STINT_LOG_RETENTION_DAYS", default_value_t = 30)]
    pub log_retention_days: i32,

    /// Days that workers and agents are kept after they were last heard from.
    #[arg(long, env = "STINT_HOLDER_RETENTION_DAYS", default_value_t = 30)]
    pub holder_retention_days: i32,
}

impl Config {
    /// Refuses settings that contradict each other or cannot work.
    ///
    /// # Errors
    /// A sentence that names the setting and what would do.
    pub fn check(&self) -> anyhow::Result<()> {
        let database = &self.database;
        anyhow::ensure!(
            database.write_connections >= 2 && database.read_connections >= 2,
            "STINT_WRITE_CONNECTIONS and STINT_READ_CONNECTIONS must be at least 2 each: \
             with fewer, requests would wait for each other"
        );
        let limits = &self.limits;
        anyhow::ensure!(
            limits.body_bytes_max >= 4096,
            "STINT_BODY_BYTES_MAX must be at least 4096"
        );
        anyhow::ensure!(
            limits.lane_bytes_max >= limits.body_bytes_max,
            "STINT_LANE_BYTES_MAX must be at least STINT_BODY_BYTES_MAX, or the largest request could never run"
        );
        anyhow::ensure!(
            limits.rate_per_second > 0
                && limits.hot_rate_per_second > 0
                && limits.address_rate_per_second > 0,
            "rates must be at least 1 a second"
        );
        anyhow::ensure!(
            limits.hot_rate_per_second >= limits.rate_per_second,
            "STINT_HOT_RATE_PER_SECOND must not be below STINT_RATE_PER_SECOND"
        );
        anyhow::ensure!(
            (1..=240).contains(&limits.task_timeout_minutes),
            "STINT_TASK_TIMEOUT_MINUTES must be between 1 and 240"
        );
        anyhow::ensure!(
            limits.activation_heartbeat_minutes >= 1,
            "STINT_ACTIVATION_HEARTBEAT_MINUTES must be at least 1"
        );
        let retention = &self.retention;
        for (name, days) in [
            ("STINT_TASK_RETENTION_DAYS", retention.task_retention_days),
            ("STINT_EVENT_RETENTION_DAYS", retention.event_retention_days),
            ("STINT_LOG_RETENTION_DAYS", retention.log_retention_days),
            (
                "STINT_HOLDER_RETENTION_DAYS",
                retention.holder_retention_days,
            ),
        ] {
            anyhow::ensure!(days >= 1, "{name} must be at least 1");
        }
        Ok(())
    }

    /// The settings of a platform of its own for a test: everything at its default.
    pub fn for_database(database_url: &str) -> Self {
        let mut config = Self::parse_from(["stint-platform"]);
        config.database.database_url = Some(SecretString::from(database_url.to_owned()));
        config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_agree_with_each_other() {
        Config::for_database("postgres://nowhere/none")
            .check()
            .unwrap();
    }

    #[test]
    fn a_pool_of_one_is_refused() {
        let mut config = Config::for_database("postgres://nowhere/none");
        config.database.write_connections = 1;
        let refusal = config.check().unwrap_err().to_string();
        assert!(refusal.contains("STINT_WRITE_CONNECTIONS"), "{refusal}");
    }
}
