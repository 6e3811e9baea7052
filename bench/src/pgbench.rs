//! The yardstick: what pgbench reaches in the same server with plain SQL, without anything in between.
//!
//! | kind | what one unit is |
//! |---|---|
//! | pairs | a row claimed with `skip locked`, then completed: two transactions |
//! | pairs of 50 | the same with fifty rows each; the unit is still one row |
//! | inserts | one row, one transaction |
//! | lines | one row of a hundred in one transaction |
//!
//! The table has what the comparison needs and nothing else: no events, no keys, no fencing. It is made
//! anew for each measurement, vacuumed and analyzed, and dropped afterwards, so that dead rows of one
//! measurement slow down neither the next one nor the platform.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tokio::process::Command;

use crate::cluster::Cluster;
use crate::measure::Strangers;

const DATABASE: &str = "yardstick";
/// Rows of a pair's table for each second of measuring: more than any of the scripts uses up.
const ROWS_PER_SECOND: u64 = 90_000;
/// A measurement this young still tells how the machine is doing.
const FRESH: Duration = Duration::from_secs(40);

/// What pgbench does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Pairs,
    PairsOf50,
    Inserts,
    Lines,
}

impl Kind {
    fn script(self) -> &'static str {
        match self {
            Self::Pairs => {
                "update jobs set state = 1, claimed_by = :client_id, claimed_at = now()
                 where id = (select id from jobs where state = 0 order by id limit 1 for update skip locked)
                 returning id \\gset
                 update jobs set state = 2, done_at = now() where id = :id;
                "
            }
            Self::PairsOf50 => {
                "with taken as (
                     update jobs set state = 1, claimed_by = :client_id, claimed_at = now()
                     where id = any(array(select id from jobs where state = 0 order by id limit 50 for update skip locked))
                     returning id
                 ) select array_agg(id) as ids from taken \\gset
                 update jobs set state = 2, done_at = now() where id = any(cast(:ids as bigint[]));
                "
            }
            Self::Inserts => "insert into jobs (payload) values (repeat('x', 200));\n",
            Self::Lines => {
                "insert into jobs (payload) select repeat('x', 100) from generate_series(1, 100);\n"
            }
        }
    }

    fn units(self) -> f64 {
        match self {
            Self::Pairs | Self::Inserts => 1.0,
            Self::PairsOf50 => 50.0,
            Self::Lines => 100.0,
        }
    }

    fn rows(self, seconds: u64) -> u64 {
        match self {
            Self::Pairs => ROWS_PER_SECOND / 5 * seconds,
            Self::PairsOf50 => ROWS_PER_SECOND * seconds,
            Self::Inserts | Self::Lines => 0,
        }
    }
}

/// What one measurement found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) per_second: f64,
    /// Of one run of the script.
    pub(crate) mean_ms: f64,
    pub(crate) clients: usize,
    pub(crate) other_percent: f64,
    at: Instant,
}

/// Two measurements with something in between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around {
    pub(crate) per_second: f64,
    pub(crate) mean_ms: f64,
    pub(crate) clients: usize,
    pub(crate) other_percent: f64,
}

/// Measures with pgbench, and remembers which number of clients does best.
pub(crate) struct Yardstick {
    folder: PathBuf,
    seconds: u64,
    latest: HashMap<(Kind, usize), Found>,
    best: HashMap<Kind, usize>,
}

impl Yardstick {
    pub(crate) fn new(folder: &Path, seconds: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            seconds,
            latest: HashMap::new(),
            best: HashMap::new(),
        }
    }

    /// A recent measurement with so many clients, or a new one.
    pub(crate) async fn recent(
        &mut self,
        cluster: &Cluster,
        kind: Kind,
        clients: usize,
    ) -> anyhow::Result<Found> {
        match self.latest.get(&(kind, clients)) {
            Some(found) if found.at.elapsed() < FRESH => Ok(*found),
            _ => self.measure(cluster, kind, clients).await,
        }
    }

    /// The number of clients that does best, of those that are tried.
    pub(crate) async fn best_clients(
        &mut self,
        cluster: &Cluster,
        kind: Kind,
    ) -> anyhow::Result<usize> {
        if let Some(clients) = self.best.get(&kind) {
            return Ok(*clients);
        }
        let mut best: Option<Found> = None;
        for clients in [16, 64] {
            let found = self.recent(cluster, kind, clients).await?;
            if best.is_none_or(|best| found.per_second > best.per_second) {
                best = Some(found);
            }
        }
        let clients = best.context("two were tried")?.clients;
        self.best.insert(kind, clients);
        Ok(clients)
    }

    /// The mean of the measurement before something and of a new one.
    pub(crate) async fn around(
        &mut self,
        cluster: &Cluster,
        before: Found,
        kind: Kind,
    ) -> anyhow::Result<Around> {
        let after = self.measure(cluster, kind, before.clients).await?;
        Ok(Around {
            per_second: f64::midpoint(before.per_second, after.per_second),
            mean_ms: f64::midpoint(before.mean_ms, after.mean_ms),
            clients: before.clients,
            other_percent: before.other_percent.max(after.other_percent),
        })
    }

    /// Measures now.
    pub(crate) async fn measure(
        &mut self,
        cluster: &Cluster,
        kind: Kind,
        clients: usize,
    ) -> anyhow::Result<Found> {
        cluster.make_database(DATABASE, None).await?;
        let mut db = cluster.connect(DATABASE).await?;
        db.execute(
            "create table jobs (
                 id bigint generated always as identity primary key,
                 state smallint not null default 0,
                 payload text not null,
                 claimed_by integer, claimed_at timestamptz, done_at timestamptz
             )",
        )
        .await?;
        let rows = kind.rows(self.seconds);
        if rows > 0 {
            let fill = format!(
                "insert into jobs (payload) select repeat('x', 200) from generate_series(1, {rows})"
            );
            db.execute(AssertSqlSafe(fill)).await?;
            db.execute("create index jobs_ready on jobs (id) where state = 0")
                .await?;
            db.execute("vacuum (analyze) jobs").await?;
        }
        let strangers = Strangers::watch(cluster)?;
        let (scripts_per_second, mean_ms) = self.run(cluster, kind, clients).await?;
        let found = Found {
            per_second: scripts_per_second * kind.units(),
            mean_ms,
            clients,
            other_percent: strangers.percent()?,
            at: Instant::now(),
        };
        db.close().await?;
        cluster.drop_database(DATABASE).await?;
        self.latest.insert((kind, clients), found);
        Ok(found)
    }

    async fn run(
        &self,
        cluster: &Cluster,
        kind: Kind,
        clients: usize,
    ) -> anyhow::Result<(f64, f64)> {
        let script = self.folder.join(format!("{kind:?}.sql"));
        std::fs::write(&script, kind.script())?;
        let output = Command::new(cluster.programs.join("pgbench"))
            .args(["--no-vacuum", "--protocol=prepared"])
            .arg(format!("--client={clients}"))
            .arg(format!("--jobs={}", clients.min(2)))
            .arg(format!("--time={}", self.seconds))
            .arg("--file")
            .arg(&script)
            .arg(cluster.url_of(DATABASE))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("running pgbench, which comes with the PostgreSQL server")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "pgbench failed: {errors}");
        let number = |begin: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(begin))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        number("tps = ")
            .zip(number("latency average = "))
            .with_context(|| format!("pgbench told no rate: {text}"))
    }
}
