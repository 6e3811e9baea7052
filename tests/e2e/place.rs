//! A folder with a private database, for one test.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use stint_platform::db::keeper::{Keeper, KeeperSettings};
use tempfile::TempDir;

/// Longest a condition may take to come true, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A folder for one test, which the server's user can reach although the test may be root.
pub(crate) struct Place {
    outer: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let outer = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(outer.path(), Permissions::from_mode(0o755)).expect("our own folder");
        Self { outer }
    }

    pub(crate) fn path(&self) -> &Path {
        self.outer.path()
    }

    pub(crate) fn settings(&self) -> KeeperSettings {
        KeeperSettings {
            data_dir: self.path().join("data"),
            pg_bin: None,
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join("data").join(name)
    }

    /// The process number of the server that runs in the folder.
    pub(crate) fn server(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.file("cluster/postmaster.pid")).ok()?;
        Some(Pid::from_raw(text.lines().next()?.parse().ok()?))
    }

    pub(crate) async fn start(&self) -> Keeper {
        Keeper::start(self.settings())
            .await
            .expect("a keeper starts")
    }

    pub(crate) async fn refusal(&self, settings: KeeperSettings) -> String {
        let refused = Keeper::start(settings)
            .await
            .err()
            .expect("the keeper does not start");
        format!("{refused:#}")
    }
}

pub(crate) async fn connect(options: &PgConnectOptions) -> PgConnection {
    PgConnection::connect_with(options)
        .await
        .expect("the database answers")
}

pub(crate) async fn write_row(options: &PgConnectOptions) {
    let mut db = connect(options).await;
    sqlx::raw_sql("create table if not exists kept (n int); insert into kept values (1)")
        .execute(&mut db)
        .await
        .expect("a row is written");
}

pub(crate) async fn rows(options: &PgConnectOptions) -> sqlx::Result<i64> {
    let mut db = PgConnection::connect_with(options).await?;
    sqlx::query_scalar("select count(*) from kept")
        .fetch_one(&mut db)
        .await
}

/// Waits until `condition` is true, and names it if it never is.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < deadline, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
