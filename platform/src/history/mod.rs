//! The partitions of history: events and execution logs, one table a day each.
//!
//! ```text
//! events ── events_20260131   made some days ahead
//!        ── events_20260201
//!        ── events_default    what a late loop made no partition for
//! ```
//!
//! Old days are dropped as whole tables, which costs nothing however much happened on them. Days are
//! days in UTC. What lies in a default partition stays there until it is old; its day gets no
//! partition of its own any more.
//!
//! Every statement that changes partitions gives up soon when it cannot have its lock: whoever waits
//! for such a lock makes everyone behind it wait too. The next turn is the retry.

mod partition;
mod store;

use std::time::Duration;

pub use partition::Table;

use crate::app::App;
use crate::error::Error;
use crate::loops::Turn;
use partition::{Day, Partition};

/// Partitions are made this many days ahead: a loop that fails for so long loses nothing but tidiness.
const DAYS_AHEAD: i64 = 3;
/// When to try again what was locked, or to go on with what was too much for one turn.
const AGAIN_IN: Duration = Duration::from_secs(60);
/// Rows of a default partition that one statement deletes at most.
const CHUNK: i64 = 5_000;
/// Such statements in one turn at most.
const CHUNKS: usize = 20;

/// Loop body: makes the partitions of today and the next days. Also done once before a replica serves.
///
/// # Errors
/// Those of the database, locks that were not to be had aside.
pub async fn make_partitions(app: App) -> Result<Turn, Error> {
    let mut turn = Turn::default();
    for table in Table::ALL {
        let (today, existing) = {
            let mut db = app.db.internal().await?;
            let today = store::today(&mut db).await?;
            (today, store::partitions(&mut db, table).await?)
        };
        for day in today.following(DAYS_AHEAD) {
            let partition = Partition { table, day };
            if existing.contains(&partition) {
                continue;
            }
            match store::make(&app, partition).await? {
                store::Made::Yes => turn.changed += 1,
                store::Made::Locked => turn.again_in = Some(AGAIN_IN),
                store::Made::DayHasRows => tracing::warn!(
                    "{} has rows of a day that has no partition; they stay there until they are old",
                    table.default_partition()
                ),
            }
        }
    }
    Ok(turn)
}

/// Loop body: drops the days that are past their retention, and old rows of the default partitions.
///
/// # Errors
/// Those of the database, locks that were not to be had aside.
pub async fn drop_old_history(app: App) -> Result<Turn, Error> {
    let mut turn = Turn::default();
    for table in Table::ALL {
        let keep_days = table.retention_days(&app.config.retention);
        let old = {
            let mut db = app.db.internal().await?;
            let today = store::today(&mut db).await?;
            past_retention(&store::partitions(&mut db, table).await?, today, keep_days)
        };
        for partition in old {
            if store::drop_partition(&app, partition).await? {
                turn.changed += 1;
            } else {
                turn.again_in = Some(AGAIN_IN);
            }
        }
        let (deleted, has_more) = delete_in_chunks(&app, table, keep_days).await?;
        turn.changed += deleted;
        if has_more {
            turn.again_in = Some(AGAIN_IN);
        }
    }
    Ok(turn)
}

/// The partitions of days before those that are kept. Today is not counted among these.
fn past_retention(partitions: &[Partition], today: Day, keep_days: i32) -> Vec<Partition> {
    let first_kept = today.plus(-i64::from(keep_days));
    partitions
        .iter()
        .copied()
        .filter(|partition| partition.day < first_kept)
        .collect()
}

async fn delete_in_chunks(app: &App, table: Table, keep_days: i32) -> Result<(u64, bool), Error> {
    let mut deleted = 0;
    for _ in 0..CHUNKS {
        let mut db = app.db.internal().await?;
        let chunk = store::delete_old_strays(&mut db, table, keep_days, CHUNK).await?;
        deleted += chunk;
        if chunk < CHUNK.unsigned_abs() {
            return Ok((deleted, false));
        }
    }
    Ok((deleted, true))
}

/// Takes over history that was restored from a dump.
///
/// A dump keeps the transaction ids of another cluster. Where they are ahead of this cluster's own,
/// readers would wait for transactions that never come, so such rows get the oldest id there is; their
/// order is kept by their own numbers. Cursors from before the restore begin anew.
///
/// # Errors
/// Those of the database.
pub async fn adopt_restored(db: &crate::db::Pools) -> Result<(), Error> {
    let mut tx = db.begin_internal().await?;
    let adopted = store::adopt_restored(tx.conn()).await?;
    tx.commit_quietly().await?;
    if adopted > 0 {
        tracing::info!(
            rows = adopted,
            "took over history that was restored from a dump"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_days_before_the_kept_ones_are_dropped() {
        let today = Day::parse("20260301").unwrap();
        let partitions: Vec<_> = ["20260226", "20260227", "20260228", "20260301", "20260302"]
            .iter()
            .map(|day| Partition {
                table: Table::Events,
                day: Day::parse(day).unwrap(),
            })
            .collect();
        let dropped = past_retention(&partitions, today, 2);
        assert_eq!(
            dropped.iter().map(Partition::name).collect::<Vec<_>>(),
            ["events_20260226"]
        );
    }
}
