//! Brings the schema up to this release.
//!
//! Migrations are embedded, numbered and only go forward. Any number of replicas may start at
//! once: one applies them while the others wait. A database that a newer release has already
//! migrated is accepted, because each migration leaves the previous release working.
//!
//! The previous release goes on meanwhile. A migration that waits for a table, because a backup or a long report
//! reads it, would make everybody else wait behind it; so it gives up after a moment, lets them pass, and tries
//! again.

use std::time::Duration;

use anyhow::Context;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tracing::{info, warn};

/// Names the session lock that a replica holds while it migrates: "stint" in ASCII.
const MIGRATION_LOCK: i64 = 0x73_7469_6e74;

/// Between two looks at a lock that another replica holds.
const LOCK_POLL: Duration = Duration::from_millis(200);

/// How long a migration may wait for a table, as a setting of PostgreSQL. Whoever wants the table meanwhile
/// waits behind it, so this is less than what requests wait for each other.
const TABLE_PATIENCE: &str = "1s";

/// How long others go first before the migration tries again.
const TABLE_PAUSE: Duration = Duration::from_secs(2);

/// Applies what this release has and the database has not.
///
/// Uses a connection of its own, so that whatever goes wrong, closing it gives the lock back.
pub async fn migrate(options: &PgConnectOptions) -> anyhow::Result<()> {
    apply(&mut embedded(), options).await
}

/// The migrations of this release.
pub fn embedded() -> Migrator {
    sqlx::migrate!("../migrations")
}

/// Whether every migration of this release has been applied. A newer release may have applied more.
///
/// # Errors
/// Those of the database, also when it has never been migrated.
pub async fn is_migrated(db: &mut PgConnection) -> sqlx::Result<bool> {
    let newest = embedded().iter().map(|step| step.version).max();
    let applied: Option<i64> =
        sqlx::query_scalar("select max(version) from _sqlx_migrations where success")
            .fetch_one(db)
            .await?;
    Ok(applied >= newest)
}

/// Applies what a release has and the database has not.
///
/// # Errors
/// A sentence that says which migration failed, and what to do about it.
pub async fn apply(migrator: &mut Migrator, options: &PgConnectOptions) -> anyhow::Result<()> {
    // Our own lock replaces the one of sqlx, for the reason told at `take_lock`.
    migrator.set_ignore_missing(true).set_locking(false);
    let mut db = PgConnection::connect_with(options)
        .await
        .context("connecting to migrate")?;
    // A migration may take long, whatever limits the server sets for ordinary statements.
    sqlx::raw_sql("set statement_timeout = 0; set client_min_messages = warning")
        .execute(&mut db)
        .await
        .context("preparing to migrate")?;
    take_lock(&mut db).await?;
    run(migrator, &mut db).await.map_err(explain)?;
    report(migrator, &mut db).await?;
    db.close()
        .await
        .context("closing the connection that migrated")
}

/// Waits for our turn to migrate.
///
/// Asks again and again instead of waiting inside `pg_advisory_lock`: a waiting statement holds a
/// snapshot, and CREATE INDEX CONCURRENTLY in the replica that migrates waits for every snapshot,
/// so that the two would wait for each other.
async fn take_lock(db: &mut PgConnection) -> anyhow::Result<()> {
    let mut is_first = true;
    loop {
        let taken: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
            .bind(MIGRATION_LOCK)
            .fetch_one(&mut *db)
            .await
            .context("taking the migration lock")?;
        if taken {
            return Ok(());
        }
        if is_first {
            info!("another replica is migrating the database; waiting for it");
            is_first = false;
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

/// Applies migrations, each as often as it is kept waiting.
async fn run(migrator: &Migrator, db: &mut PgConnection) -> Result<(), MigrateError> {
    let steps: Vec<_> = migrator.iter().collect();
    for alike in steps.chunk_by(|one, next| one.no_tx == next.no_tx) {
        let last = alike.last().expect("no group is empty").version;
        // What runs without a transaction, such as CREATE INDEX CONCURRENTLY, waits without stopping others,
        // and would have to be cleaned up if it gave up.
        let patience = if alike[0].no_tx { "0" } else { TABLE_PATIENCE };
        sqlx::query_scalar::<_, String>("select set_config('lock_timeout', $1, false)")
            .bind(patience)
            .fetch_one(&mut *db)
            .await?;
        while let Err(error) = migrator.run_to(last, &mut *db).await {
            if !was_kept_waiting(&error) {
                return Err(error);
            }
            info!(%error, "a migration waits for a table that is in use; letting others pass, and trying again");
            tokio::time::sleep(TABLE_PAUSE).await;
        }
    }
    Ok(())
}

/// Whether a migration was rolled back because of what others did at that moment.
fn was_kept_waiting(error: &MigrateError) -> bool {
    let MigrateError::ExecuteMigration(error, _) = error else {
        return false;
    };
    let code = error.as_database_error().and_then(|cause| cause.code());
    // lock_not_available, deadlock_detected
    matches!(code.as_deref(), Some("55P03" | "40P01"))
}

fn explain(error: MigrateError) -> anyhow::Error {
    let next = match &error {
        MigrateError::VersionMismatch(version) => format!(
            "migration {version} differs from the one this database was migrated with; run a \
             release whose migrations match, or a database of its own for this build"
        ),
        MigrateError::Dirty(version) => format!(
            "migration {version} was begun and not finished; look at the database log, repair \
             what it left, and delete its row from _sqlx_migrations"
        ),
        MigrateError::ExecuteMigration(_, version) => {
            format!("migration {version} failed and was rolled back; nothing after it was applied")
        }
        _ => "migrating the database failed".to_owned(),
    };
    anyhow::Error::new(error).context(next)
}

async fn report(migrator: &Migrator, db: &mut PgConnection) -> anyhow::Result<()> {
    let applied: Vec<i64> =
        sqlx::query_scalar("select version from _sqlx_migrations order by version")
            .fetch_all(db)
            .await
            .context("listing the applied migrations")?;
    let newer = applied
        .iter()
        .filter(|version| !migrator.version_exists(**version))
        .count();
    if newer > 0 {
        warn!(
            "the database has {newer} migrations that this release does not know; a newer release \
             has used it, and this one goes on beside it"
        );
    }
    info!(
        "the database schema is ready, with {} migrations",
        applied.len()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use sqlx::SqlSafeStr;
    use sqlx::migrate::{Migration, MigrationType};
    use tempfile::TempDir;

    use super::*;
    use crate::db::keeper::{Keeper, KeeperSettings};

    async fn database() -> (Keeper, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let data_dir = folder.path().join("data");
        let keeper = Keeper::start(KeeperSettings {
            data_dir,
            pg_bin: None,
        })
        .await
        .unwrap();
        (keeper, folder)
    }

    fn release(statements: &[&'static str]) -> Migrator {
        let each = statements.iter().zip(1..).map(|(sql, version)| {
            let sql = sql.into_sql_str();
            Migration::new(version, "step".into(), MigrationType::Simple, sql, false)
        });
        Migrator::with_migrations(each.collect())
    }

    const ONE: &str = "create table one (n int); insert into one values (1)";
    const TWO: &str = "create table two (n int); insert into one values (2)";

    #[tokio::test]
    async fn each_migration_runs_once_however_many_replicas_start_together() {
        let (keeper, _folder) = database().await;
        let options = keeper.connect_options();
        let replicas = (0..5).map(|_| async {
            let mut release = release(&[ONE, TWO]);
            apply(&mut release, &options).await
        });
        futures_util::future::try_join_all(replicas).await.unwrap();

        let mut db = PgConnection::connect_with(&options).await.unwrap();
        let rows: Vec<i32> = sqlx::query_scalar("select n from one order by n")
            .fetch_all(&mut db)
            .await
            .unwrap();
        assert_eq!(rows, [1, 2]);
        keeper.stop().await;
    }

    #[tokio::test]
    async fn a_database_of_a_newer_release_is_accepted_and_a_changed_migration_is_not() {
        let (keeper, _folder) = database().await;
        let options = keeper.connect_options();
        apply(&mut release(&[ONE, TWO]), &options).await.unwrap();
        apply(&mut release(&[ONE]), &options).await.unwrap();

        let changed = "create table one (n bigint)";
        let refusal = apply(&mut release(&[changed]), &options).await.unwrap_err();
        assert!(
            format!("{refusal:#}").contains("migration 1 differs"),
            "{refusal:#}"
        );
        keeper.stop().await;
    }

    #[tokio::test]
    async fn a_migration_that_waits_for_a_table_lets_others_pass() {
        let (keeper, _folder) = database().await;
        let options = keeper.connect_options();
        apply(&mut release(&[ONE]), &options).await.unwrap();
        let mut backup = PgConnection::connect_with(&options).await.unwrap();
        sqlx::raw_sql("begin; select * from one")
            .execute(&mut backup)
            .await
            .unwrap();

        let widening = "alter table one add column more int";
        let mut next = release(&[ONE, widening]);
        let migrates = async { apply(&mut next, &options).await.unwrap() };
        let others = async {
            let mut db = PgConnection::connect_with(&options).await.unwrap();
            let waits = "select count(*) from pg_locks where not granted";
            while sqlx::query_scalar::<_, i64>(waits)
                .fetch_one(&mut db)
                .await
                .unwrap()
                == 0
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            sqlx::raw_sql("set statement_timeout = '20s'; select * from one")
                .execute(&mut db)
                .await
                .expect("others are not kept waiting by the one that waits");
            sqlx::raw_sql("commit").execute(&mut backup).await.unwrap();
        };
        tokio::join!(migrates, others);
        let mut db = PgConnection::connect_with(&options).await.unwrap();
        sqlx::raw_sql("select more from one")
            .execute(&mut db)
            .await
            .unwrap();
        keeper.stop().await;
    }

    #[tokio::test]
    async fn a_failed_migration_leaves_nothing_and_frees_the_lock() {
        let (keeper, _folder) = database().await;
        let options = keeper.connect_options();
        let broken = "create table two (n int); select 1 / 0";
        let refusal = apply(&mut release(&[ONE, broken]), &options)
            .await
            .unwrap_err();
        assert!(
            format!("{refusal:#}").contains("migration 2 failed"),
            "{refusal:#}"
        );
        apply(&mut release(&[ONE, TWO]), &options).await.unwrap();
        keeper.stop().await;
    }
}
