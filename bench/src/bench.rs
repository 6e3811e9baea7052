//! What all scenarios of a run share: the server, the fleet, the yardstick, and the rows found so far.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::Connection as _;

use crate::cluster::Cluster;
use crate::fleet::{self, Member};
use crate::ledger::Ledger;
use crate::load::Span;
use crate::measure::{self, Meter};
use crate::pgbench::Yardstick;
use crate::platform::Platform;
use crate::report::Row;

/// The database that a fleet has registered in, and that every scenario gets a clone of.
const TEMPLATE: &str = "bench_template";
/// The database of the scenario that runs.
const DATABASE: &str = "bench";

/// A run.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    pub(crate) fleet: Arc<Vec<Member>>,
    pub(crate) yardstick: Yardstick,
    /// Short windows.
    pub(crate) is_quick: bool,
    /// How long `sustained` takes.
    pub(crate) minutes: f64,
    /// Whether to tell which statements cost most.
    pub(crate) tells_statements: bool,
    pub(crate) run: usize,
    pub(crate) rows: Vec<Row>,
    folder: PathBuf,
}

/// How a run is to be.
pub(crate) struct Wanted {
    pub(crate) folder: PathBuf,
    pub(crate) is_quick: bool,
    pub(crate) minutes: f64,
    pub(crate) tells_statements: bool,
}

impl Bench {
    /// Starts the server and registers the fleet.
    pub(crate) async fn start(wanted: Wanted) -> anyhow::Result<Self> {
        let cluster = Cluster::start(&wanted.folder).await?;
        if wanted.tells_statements {
            cluster.time_plans().await?;
        }
        let seconds = if wanted.is_quick { 2 } else { 5 };
        let mut bench = Self {
            yardstick: Yardstick::new(&wanted.folder, seconds),
            cluster,
            fleet: Arc::new(Vec::new()),
            is_quick: wanted.is_quick,
            minutes: wanted.minutes,
            tells_statements: wanted.tells_statements,
            run: 1,
            rows: Vec::new(),
            folder: wanted.folder,
        };
        bench.cluster.make_database(TEMPLATE, None).await?;
        let platform = Platform::start(&bench.folder, &bench.cluster.url_of(TEMPLATE), &[]).await?;
        bench.fleet = Arc::new(fleet::register(&platform.admin()?).await?);
        platform.stop().await?;
        Ok(bench)
    }

    /// How long a stretch of load is.
    pub(crate) fn span(&self) -> Span {
        Span {
            warm_up: Duration::from_secs(1),
            measured: Duration::from_secs(if self.is_quick { 3 } else { 8 }),
        }
    }

    /// A database of its own with one platform on it.
    pub(crate) async fn site(&self) -> anyhow::Result<Site> {
        self.site_with(1, &[]).await
    }

    /// A database of its own with so many platforms on it, and settings for them.
    pub(crate) async fn site_with(
        &self,
        replicas: usize,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Site> {
        self.cluster.make_database(DATABASE, Some(TEMPLATE)).await?;
        let mut site = Site {
            platforms: Vec::new(),
        };
        for _ in 0..replicas {
            site.platforms.push(self.platform(settings).await?);
        }
        Ok(site)
    }

    /// One more platform on the scenario's database.
    pub(crate) async fn platform(&self, settings: &[(&str, &str)]) -> anyhow::Result<Platform> {
        Platform::start(&self.folder, &self.cluster.url_of(DATABASE), settings).await
    }

    pub(crate) async fn meter(&self, site: &Site) -> anyhow::Result<Meter> {
        let pids = site.platforms.iter().map(|platform| platform.pid).collect();
        Meter::new(&self.cluster, DATABASE, pids).await
    }

    /// A connection to the scenario's database, for what the API cannot do.
    pub(crate) async fn sql(&self) -> anyhow::Result<sqlx::PgConnection> {
        self.cluster.connect(DATABASE).await
    }

    /// Checks the ledger against the database, and takes everything down.
    pub(crate) async fn close(
        &self,
        site: Site,
        ledger: Option<&Ledger>,
        name: &str,
    ) -> anyhow::Result<()> {
        if self.tells_statements {
            for line in measure::top_statements(&self.cluster, DATABASE, 6).await? {
                println!("    {line}");
            }
        }
        for platform in site.platforms {
            let said = platform.stop().await?;
            if !said.is_empty() {
                let lines: Vec<&str> = said.lines().take(5).collect();
                println!("    the platform said during {name}:\n{}", lines.join("\n"));
            }
        }
        if let Some(ledger) = ledger {
            let mut db = self.sql().await?;
            let completed =
                sqlx::query_scalar("select count(*) from task_results where state = 'completed'")
                    .fetch_one(&mut db)
                    .await?;
            db.close().await?;
            ledger
                .agree(completed)
                .with_context(|| format!("{name}: the books do not agree"))?;
        }
        self.cluster.drop_database(DATABASE).await
    }

    /// Keeps and prints a row.
    pub(crate) fn report(&mut self, mut row: Row) {
        row.run = self.run;
        row.print();
        self.rows.push(row);
    }

    pub(crate) async fn stop(self) {
        self.cluster.stop().await;
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The platforms of a scenario.
pub(crate) struct Site {
    pub(crate) platforms: Vec<Platform>,
}

impl Site {
    /// Where the nth connection goes: to the platforms in turn.
    pub(crate) fn address(&self, connection: usize) -> std::net::SocketAddr {
        self.platforms[connection % self.platforms.len()].address
    }
}
