//! A folder with a private database, for one test.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::Pid;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use stint_platform::db::keeper::{Keeper, KeeperSettings};
use tempfile::TempDir;

use crate::run::until_within;

/// Longest a condition may take to come true, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A folder for one test, which the server's user can reach although the test may be root.
pub struct Place {
    outer: TempDir,
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// An empty one.
    ///
    /// # Panics
    /// When no temporary folder can be made.
    pub fn new() -> Self {
        let outer = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(outer.path(), Permissions::from_mode(0o755)).expect("our own folder");
        Self { outer }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.outer.path()
    }

    /// How its server is kept.
    pub fn settings(&self) -> KeeperSettings {
        KeeperSettings {
            data_dir: self.path().join("data"),
            pg_bin: None,
        }
    }

    /// A file of the server's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join("data").join(name)
    }

    /// The process number of the server that runs in the folder.
    pub fn server(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.file("cluster/postmaster.pid")).ok()?;
        Some(Pid::from_raw(text.lines().next()?.parse().ok()?))
    }

    /// Starts its server.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(&self) -> Keeper {
        Keeper::start(self.settings())
            .await
            .expect("a keeper starts")
    }

    /// Why a server with these settings does not start.
    ///
    /// # Panics
    /// When it does.
    pub async fn refusal(&self, settings: KeeperSettings) -> String {
        let refused = Keeper::start(settings)
            .await
            .err()
            .expect("the keeper does not start");
        format!("{refused:#}")
    }
}

/// A connection.
///
/// # Panics
/// When there is none.
pub async fn connect(options: &PgConnectOptions) -> PgConnection {
    PgConnection::connect_with(options)
        .await
        .expect("the database answers")
}

/// Writes a row into a table of its own.
///
/// # Panics
/// When that fails.
pub async fn write_row(options: &PgConnectOptions) {
    let mut db = connect(options).await;
    sqlx::raw_sql("create table if not exists kept (n int); insert into kept values (1)")
        .execute(&mut db)
        .await
        .expect("a row is written");
}

/// How many rows [`write_row`] has written.
///
/// # Errors
/// When the database does not answer.
pub async fn rows(options: &PgConnectOptions) -> sqlx::Result<i64> {
    let mut db = PgConnection::connect_with(options).await?;
    sqlx::query_scalar("select count(*) from kept")
        .fetch_one(&mut db)
        .await
}

/// Waits until `condition` is true, and names it if it never is.
///
/// # Panics
/// When it stays false.
pub async fn until(what: &str, condition: impl AsyncFnMut() -> bool) {
    until_within(DEADLINE, what, condition).await;
}

/// The files below a folder that contain one of the texts, but for those called `worker.toml`: workers are
/// given their secrets there.
///
/// # Panics
/// When something cannot be read.
pub fn files_with(folder: &Path, texts: &[String]) -> Vec<String> {
    let mut grep = Command::new("grep");
    grep.args(["-r", "-l", "-a", "-F", "-s", "--exclude=worker.toml"]);
    for text in texts {
        grep.args(["-e", text]);
    }
    let found = grep.arg(folder).output().expect("grep runs");
    let found = String::from_utf8_lossy(&found.stdout);
    found.lines().map(str::to_owned).collect()
}
