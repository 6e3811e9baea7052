//! Every statement that makes and drops partitions, and empties the default ones.

use sqlx::{AssertSqlSafe, PgConnection};

use super::partition::{Day, Partition, Table};
use crate::app::App;
use crate::error::Error;

/// How long a statement waits for its lock: everyone behind it waits as long.
const LOCK_TIMEOUT: &str = "set local lock_timeout = '500ms'";
/// Whoever changes partitions holds this lock, so that two replicas do not do the same at once.
const PARTITIONS_LOCK: i64 = 0x7374_696e_7470;

/// What became of a partition that was to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// It is there now.
    Yes,
    /// Someone held a lock; the next turn tries again.
    Locked,
    /// The default partition has rows of that day.
    DayHasRows,
}

/// Today, by the database clock, in UTC.
pub(super) async fn today(db: &mut PgConnection) -> sqlx::Result<Day> {
    let row = sqlx::query!(r#"select (clock_timestamp() at time zone 'UTC')::date as "today!""#)
        .fetch_one(db)
        .await?;
    Ok(row.today.into())
}

/// The partitions that a table has, its default partition aside.
pub(super) async fn partitions(
    db: &mut PgConnection,
    table: Table,
) -> sqlx::Result<Vec<Partition>> {
    let rows = sqlx::query!(
        r#"select c.relname::text as "name!"
           from pg_inherits i
           join pg_class c on c.oid = i.inhrelid
           where i.inhparent = to_regclass($1)
           order by c.relname"#,
        table.name(),
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .iter()
        .filter_map(|row| Partition::of_name(table, &row.name))
        .collect())
}

/// Makes a partition. Writers go on meanwhile: it is made beside its table and then attached, which
/// locks nobody out but those who write into the default partition.
pub(super) async fn make(app: &App, partition: Partition) -> Result<Made, Error> {
    let mut tx = app.db.begin_internal().await?;
    if !have_turn(tx.conn()).await? {
        return Ok(Made::Locked);
    }
    let (table, name) = (partition.table.name(), partition.name());
    let (from, to) = (partition.day.begins_at(), partition.day.plus(1).begins_at());
    // Names and days are made by `partition.rs` alone, of fixed words and digits. A young partition need not be
    // analyzed every few seconds: rows only come, and each time plans are made anew.
    let statements = format!(
        "{LOCK_TIMEOUT};
         create table {name} (like {table} including defaults including constraints including indexes)
             with (autovacuum_analyze_threshold = 10000);
         alter table {table} attach partition {name} for values from ('{from}') to ('{to}')"
    );
    match sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(tx.conn())
        .await
    {
        Ok(_) => {
            tx.commit(app).await?;
            Ok(Made::Yes)
        }
        Err(error) => match code(&error).as_deref() {
            Some("55P03") => Ok(Made::Locked),
            // check_violation: rows of that day lie in the default partition.
            Some("23514") => Ok(Made::DayHasRows),
            // duplicate_table: another replica was faster than the list we read.
            Some("42P07") => Ok(Made::Yes),
            _ => Err(error.into()),
        },
    }
}

/// Drops a partition with everything in it. False when someone held a lock.
pub(super) async fn drop_partition(app: &App, partition: Partition) -> Result<bool, Error> {
    let mut tx = app.db.begin_internal().await?;
    if !have_turn(tx.conn()).await? {
        return Ok(false);
    }
    let statements = format!("{LOCK_TIMEOUT}; drop table if exists {}", partition.name());
    match sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(tx.conn())
        .await
    {
        Ok(_) => {
            tx.commit(app).await?;
            Ok(true)
        }
        Err(error) if code(&error).as_deref() == Some("55P03") => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether no other replica changes partitions now.
async fn have_turn(db: &mut PgConnection) -> sqlx::Result<bool> {
    let row = sqlx::query!(
        r#"select pg_try_advisory_xact_lock($1) as "is_ours!""#,
        PARTITIONS_LOCK
    )
    .fetch_one(db)
    .await?;
    Ok(row.is_ours)
}

fn code(error: &sqlx::Error) -> Option<String> {
    error
        .as_database_error()
        .and_then(|error| error.code().map(|code| code.into_owned()))
}

/// Deletes rows of a default partition that are past their retention, a bounded number.
pub(super) async fn delete_old_strays(
    db: &mut PgConnection,
    table: Table,
    keep_days: i32,
    limit: i64,
) -> sqlx::Result<u64> {
    let deleted = match table {
        Table::Events => {
            sqlx::query!(
                "delete from events_default e
                 using (select tenant_id, xid, id, created_at
                        from events_default
                        where created_at < clock_timestamp() - make_interval(days => $1)
                        limit $2
                        for update skip locked) old
                 where e.tenant_id = old.tenant_id and e.xid = old.xid and e.id = old.id
                   and e.created_at = old.created_at",
                keep_days,
                limit,
            )
            .execute(db)
            .await?
        }
        Table::ExecutionLogs => {
            sqlx::query!(
                "delete from execution_logs_default l
                 using (select tenant_id, xid, id, created_at
                        from execution_logs_default
                        where created_at < clock_timestamp() - make_interval(days => $1)
                        limit $2
                        for update skip locked) old
                 where l.tenant_id = old.tenant_id and l.xid = old.xid and l.id = old.id
                   and l.created_at = old.created_at",
                keep_days,
                limit,
            )
            .execute(db)
            .await?
        }
    };
    Ok(deleted.rows_affected())
}

/// Gives rows with a transaction id from another cluster the oldest id there is.
pub(super) async fn adopt_restored(db: &mut PgConnection) -> Result<u64, Error> {
    let is_ahead = sqlx::query_scalar!(
        r#"select exists (
               select from tenants t
               where exists (select from events e where e.tenant_id = t.id and e.xid >= pg_snapshot_xmax(pg_current_snapshot()))
                  or exists (select from execution_logs l where l.tenant_id = t.id and l.xid >= pg_snapshot_xmax(pg_current_snapshot()))
           ) as "is_ahead!""#
    )
    .fetch_one(&mut *db)
    .await?;
    if !is_ahead {
        return Ok(0);
    }
    // Rows of this cluster's own transactions, should there be some already, keep their ids.
    let events = sqlx::query!(
        "update events set xid = '3' where xid >= pg_snapshot_xmax(pg_current_snapshot())"
    )
    .execute(&mut *db)
    .await?;
    let logs = sqlx::query!(
        "update execution_logs set xid = '3' where xid >= pg_snapshot_xmax(pg_current_snapshot())"
    )
    .execute(db)
    .await?;
    Ok(events.rows_affected() + logs.rows_affected())
}
