//! Platform processes, as an operator starts them.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stint_protocol::client::Client;
use tokio::process::{Child, Command};

use crate::client::Connection;
use crate::wire;

/// The admin key of every platform of a run.
const ADMIN_KEY: &str = "the-admin-key-of-the-bench";
/// The sealing key, so that every process on a clone of one database has the same.
const SEAL_KEY: &str = "c3RpbnQgYmVuY2ggc2VhbGluZyBrZXkgMzIgYnl0ZXM=";
/// Requests a second one key may make. Only the admin key needs more than the default of 1,000, to register a
/// thousand workers at once. The limits of the hot path are the defaults: no agent comes near them.
pub(crate) const RATE_PER_SECOND: u32 = 50_000;
/// How long a platform may take to start, or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running platform.
pub(crate) struct Platform {
    child: Child,
    log: PathBuf,
    /// Its process number.
    pub(crate) pid: u32,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Platform {
    /// Starts the platform that was built beside this program, on a database.
    pub(crate) async fn start(
        folder: &Path,
        database_url: &str,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let log = folder.join(format!("platform-{number}.log"));
        let address = free_address()?;
        let program = std::env::current_exe()?.with_file_name("stint-platform");
        // The kernel ends it when this program dies, however that happens.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .arg(&program)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("DATABASE_URL", database_url)
            .env("STINT_LISTEN", address.to_string())
            .env("STINT_DATA_DIR", folder.join("platform"))
            .env("STINT_ADMIN_API_KEY", ADMIN_KEY)
            .env("STINT_SEAL_KEY", SEAL_KEY)
            .env("STINT_RATE_PER_SECOND", RATE_PER_SECOND.to_string())
            .env("STINT_LOG", "warn")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            // Ctrl-C is for this program, which then stops things in order.
            .process_group(0)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let pid = child.id().context("a process that has just started")?;
        let mut platform = Self {
            child,
            log,
            pid,
            address,
        };
        platform.wait_until_ready().await?;
        Ok(platform)
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let request = wire::request(self.address, "GET", "/ready", ADMIN_KEY, "");
        let began = Instant::now();
        loop {
            if let Ok(mut connection) = Connection::open(self.address).await
                && connection
                    .call(&request)
                    .await
                    .is_ok_and(|answer| answer.status == 200)
            {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the platform ended ({status}): {}", self.said());
            }
            if began.elapsed() > PATIENCE {
                bail!("the platform does not get ready: {}", self.said());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A client with the admin key, for what is not measured.
    pub(crate) fn admin(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&format!("http://{}", self.address), ADMIN_KEY)?)
    }

    /// The warnings and errors it has logged.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Stops it in order, and returns what it had to say.
    pub(crate) async fn stop(mut self) -> anyhow::Result<String> {
        kill(Pid::from_raw(i32::try_from(self.pid)?), Signal::SIGTERM)?;
        tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .context("the platform does not stop")??;
        Ok(self.said())
    }
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// The admin key, for requests that are written by hand.
pub(crate) fn admin_key() -> &'static str {
    ADMIN_KEY
}
