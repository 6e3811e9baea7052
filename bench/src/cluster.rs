//! The database server: a private one, made anew, with the settings that the platform gives its own.
//!
//! `fsync`, `synchronous_commit` and `full_page_writes` are on and cannot be switched off: the keeper of the
//! platform passes them as arguments. Every scenario gets a database of its own, a clone of one in which a
//! fleet has registered.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use stint_platform::db::keeper::{Keeper, KeeperSettings};

/// The server while it runs.
pub(crate) struct Cluster {
    keeper: Keeper,
    base_url: String,
    /// Where `pgbench` is.
    pub(crate) programs: PathBuf,
    /// The process all others of the server descend from.
    pub(crate) postmaster: u32,
    /// As it prints its version.
    pub(crate) version: String,
}

impl Cluster {
    /// Makes a server in this folder.
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let keeper = Keeper::start(KeeperSettings {
            data_dir: folder.join("postgres"),
            pg_bin: None,
        })
        .await?;
        let url = keeper.url().expose_secret().to_owned();
        let (base_url, _) = url.rsplit_once('/').context("a URL names a database")?;
        let mut db = PgConnection::connect_with(&keeper.connect_options()).await?;
        db.execute("create extension if not exists pg_stat_statements")
            .await
            .context(
                "pg_stat_statements counts statements; it comes with PostgreSQL's contrib package",
            )?;
        let programs: String =
            sqlx::query_scalar("select setting from pg_config where name = 'BINDIR'")
                .fetch_one(&mut db)
                .await?;
        let version: String = sqlx::query_scalar("select current_setting('server_version')")
            .fetch_one(&mut db)
            .await?;
        let backend: i32 = sqlx::query_scalar("select pg_backend_pid()")
            .fetch_one(&mut db)
            .await?;
        let postmaster = crate::procfs::parent_of(u32::try_from(backend)?)?;
        db.close().await?;
        Ok(Self {
            base_url: base_url.to_owned(),
            keeper,
            programs: programs.into(),
            postmaster,
            version,
        })
    }

    /// The address of a database.
    pub(crate) fn url_of(&self, database: &str) -> String {
        format!("{}/{database}", self.base_url)
    }

    /// A connection to a database.
    pub(crate) async fn connect(&self, database: &str) -> anyhow::Result<PgConnection> {
        let options = PgConnectOptions::from_str(&self.url_of(database))?;
        Ok(PgConnection::connect_with(&options).await?)
    }

    /// A connection to the database that nothing is measured in.
    pub(crate) async fn connect_aside(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect_with(&self.keeper.connect_options()).await?)
    }

    /// Makes a database, a clone of another one if that is named.
    pub(crate) async fn make_database(
        &self,
        name: &str,
        template: Option<&str>,
    ) -> anyhow::Result<()> {
        let template = template.map_or(String::new(), |template| format!(" template {template}"));
        self.run(&[
            format!("drop database if exists {name} with (force)"),
            format!("create database {name}{template}"),
            // What comes next begins with the same distance to the next checkpoint.
            "checkpoint".to_owned(),
        ])
        .await
    }

    pub(crate) async fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        self.run(&[format!("drop database if exists {name} with (force)")])
            .await
    }

    /// Has the server also count how long it plans, which costs a little.
    pub(crate) async fn time_plans(&self) -> anyhow::Result<()> {
        self.run(&[
            "alter system set pg_stat_statements.track_planning = on".to_owned(),
            "select pg_reload_conf()".to_owned(),
        ])
        .await
    }

    async fn run(&self, statements: &[String]) -> anyhow::Result<()> {
        let mut db = self.connect_aside().await?;
        for statement in statements {
            db.execute(AssertSqlSafe(statement.clone()))
                .await
                .with_context(|| statement.clone())?;
        }
        db.close().await?;
        Ok(())
    }

    pub(crate) async fn stop(&self) {
        self.keeper.stop().await;
    }
}
