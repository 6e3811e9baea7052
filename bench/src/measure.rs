//! What a stretch of load cost: CPU by who used it, and what the database counted.
//!
//! - Statements are those of the scenario's database, transaction commands included: a round trip each.
//! - Commits are transactions that got a transaction id, which are those that write. The counters of
//!   `pg_stat_database` lag by up to a second and count reads too; transaction ids do neither.
//! - Fsyncs are those of the write-ahead log, which `pg_stat_wal` counts; backends report with a delay of
//!   at most a second, at the beginning as at the end.
//! - Strangers are whatever keeps the machine busy and is not the load, the platform, the server, pgbench,
//!   or a thread of the kernel: these write our pages and our journal.

use std::time::Instant;

use sqlx::{PgConnection, Row as _};

use crate::cluster::Cluster;
use crate::procfs::{self, MachineTicks, TICKS_PER_SECOND};

/// Counts for one database and the processes that work on it.
pub(crate) struct Meter {
    db: PgConnection,
    database: String,
    postmaster: u32,
    platforms: Vec<u32>,
}

/// All counters at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    at: Instant,
    machine: MachineTicks,
    kernel: u64,
    load: u64,
    platform: u64,
    postgres: u64,
    statements: f64,
    write_transactions: f64,
    fsyncs: f64,
    wal_bytes: f64,
}

/// What happened between two readings.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) seconds: f64,
    pub(crate) other_percent: f64,
    pub(crate) load_cpu_s: f64,
    pub(crate) platform_cpu_s: f64,
    pub(crate) postgres_cpu_s: f64,
    pub(crate) statements: f64,
    pub(crate) commits: f64,
    pub(crate) fsyncs: f64,
    pub(crate) wal_bytes: f64,
    pub(crate) rss_mib: f64,
}

impl Meter {
    pub(crate) async fn new(
        cluster: &Cluster,
        database: &str,
        platforms: Vec<u32>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            db: cluster.connect_aside().await?,
            database: database.to_owned(),
            postmaster: cluster.postmaster,
            platforms,
        })
    }

    pub(crate) async fn read(&mut self) -> anyhow::Result<Reading> {
        let row = sqlx::query(
            "select (select coalesce(sum(s.calls), 0) from pg_stat_statements s
                     join pg_database d on d.oid = s.dbid where d.datname = $1)::float8 as statements,
                    pg_snapshot_xmax(pg_current_snapshot())::text::float8 as write_transactions,
                    (select wal_sync from pg_stat_wal)::float8 as fsyncs,
                    (pg_current_wal_insert_lsn() - '0/0')::float8 as wal_bytes",
        )
        .bind(&self.database)
        .fetch_one(&mut self.db)
        .await?;
        let mut platform = 0;
        for pid in &self.platforms {
            platform += procfs::ticks_of(*pid)?;
        }
        Ok(Reading {
            at: Instant::now(),
            machine: procfs::machine()?,
            kernel: procfs::ticks_of_kernel(),
            load: procfs::ticks_of(std::process::id())?,
            platform,
            postgres: procfs::ticks_of_family(self.postmaster)?,
            statements: row.get("statements"),
            write_transactions: row.get("write_transactions"),
            fsyncs: row.get("fsyncs"),
            wal_bytes: row.get("wal_bytes"),
        })
    }

    /// What has happened since an earlier reading.
    pub(crate) async fn since(&mut self, from: &Reading) -> anyhow::Result<Usage> {
        let to = self.read().await?;
        let mut usage = between(from, &to);
        for pid in &self.platforms {
            usage.rss_mib += procfs::rss_mib(*pid)?;
        }
        Ok(usage)
    }
}

fn between(from: &Reading, to: &Reading) -> Usage {
    let seconds = |from: u64, to: u64| to.saturating_sub(from) as f64 / TICKS_PER_SECOND;
    let load = seconds(from.load, to.load);
    let platform = seconds(from.platform, to.platform);
    let postgres = seconds(from.postgres, to.postgres);
    let kernel = seconds(from.kernel, to.kernel);
    let busy = seconds(from.machine.busy, to.machine.busy);
    let total = seconds(from.machine.total, to.machine.total);
    Usage {
        seconds: to.at.duration_since(from.at).as_secs_f64(),
        other_percent: share(busy - kernel - load - platform - postgres, total),
        load_cpu_s: load,
        platform_cpu_s: platform,
        postgres_cpu_s: postgres,
        statements: to.statements - from.statements,
        commits: to.write_transactions - from.write_transactions,
        fsyncs: to.fsyncs - from.fsyncs,
        wal_bytes: to.wal_bytes - from.wal_bytes,
        rss_mib: 0.0,
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        (100.0 * part / whole).max(0.0)
    } else {
        0.0
    }
}

/// Tells how much of the machine strangers used while something ran.
pub(crate) struct Strangers {
    postmaster: u32,
    machine: MachineTicks,
    ours: u64,
}

impl Strangers {
    pub(crate) fn watch(cluster: &Cluster) -> anyhow::Result<Self> {
        let mut watch = Self {
            postmaster: cluster.postmaster,
            machine: procfs::machine()?,
            ours: 0,
        };
        watch.ours = watch.count_ours()?;
        Ok(watch)
    }

    /// The server, the kernel, the load, and its children that have ended, of which pgbench is one.
    fn count_ours(&self) -> anyhow::Result<u64> {
        Ok(procfs::ticks_of_family(self.postmaster)?
            + procfs::ticks_of_kernel()
            + procfs::ticks_of(std::process::id())?)
    }

    pub(crate) fn percent(&self) -> anyhow::Result<f64> {
        let now = procfs::machine()?;
        let ours = self.count_ours()?.saturating_sub(self.ours);
        let busy = now.busy.saturating_sub(self.machine.busy);
        let total = now.total.saturating_sub(self.machine.total);
        Ok(share(busy as f64 - ours as f64, total as f64))
    }
}

/// The statements of a database that took most of its time, one line each.
pub(crate) async fn top_statements(
    cluster: &Cluster,
    database: &str,
    count: i64,
) -> anyhow::Result<Vec<String>> {
    let mut db = cluster.connect_aside().await?;
    let rows = sqlx::query(
        "select calls, total_exec_time + total_plan_time as total, mean_exec_time, mean_plan_time, rows::float8 / calls as rows_each,
                shared_blks_hit::float8 / calls as hits_each,
                left(regexp_replace(query, '\\s+', ' ', 'g'), 110) as text
         from pg_stat_statements s join pg_database d on d.oid = s.dbid
         where d.datname = $1
         order by total desc limit $2",
    )
    .bind(database)
    .bind(count)
    .fetch_all(&mut db)
    .await?;
    Ok(rows
        .iter()
        .map(|row| {
            format!(
                "{:>7.0} ms in {:>6} calls; each {:.3} ms to plan, {:.3} ms, {:.1} rows, {:.0} pages: {}",
                row.get::<f64, _>("total"),
                row.get::<i64, _>("calls"),
                row.get::<f64, _>("mean_plan_time"),
                row.get::<f64, _>("mean_exec_time"),
                row.get::<f64, _>("rows_each"),
                row.get::<f64, _>("hits_each"),
                row.get::<String, _>("text"),
            )
        })
        .collect())
}
