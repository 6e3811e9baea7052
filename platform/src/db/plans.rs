//! When the plans that the lanes keep suit their tables no more.
//!
//! On the hot path planning takes longer than running (2.6 ms against 0.6 ms for a lone claim), so a lane keeps its
//! plans. But what suits an empty table walks a full one. PostgreSQL plans anew by itself after a vacuum or an
//! analyze; a table that is new or busy can grow a thousandfold before. So the sizes are looked at while lanes are
//! in use, and when a table has about doubled, every lane makes its plans anew.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::app::App;
use crate::error::Error;
use crate::loops::Turn;

/// How soon to look again after a table has grown: it may go on.
const AGAIN_AFTER_GROWTH: Duration = Duration::from_millis(500);

/// Which plans are the present ones.
#[derive(Default)]
pub(super) struct Plans {
    generation: AtomicU64,
    /// Whether a lane has run anything since the sizes were looked at.
    are_used: AtomicBool,
    sizes: Mutex<Vec<u32>>,
}

impl Plans {
    /// Which generation of plans a lane must have that is about to run something.
    pub(super) fn generation(&self) -> u64 {
        self.are_used.store(true, Ordering::Relaxed);
        self.generation.load(Ordering::Relaxed)
    }

    fn were_used(&self) -> bool {
        self.are_used.swap(false, Ordering::Relaxed)
    }

    /// Takes the tables' sizes of this moment, in bytes. Whether that makes the plans old.
    fn suit(&self, bytes: &[i64]) -> bool {
        let sizes = bytes.iter().map(|bytes| magnitude(*bytes)).collect();
        let mut known = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == sizes {
            return true;
        }
        *known = sizes;
        self.generation.fetch_add(1, Ordering::Relaxed);
        false
    }
}

/// Sizes between two powers of two, in blocks of the default size, are alike.
fn magnitude(bytes: i64) -> u32 {
    (bytes.unsigned_abs() / 8192 + 1).ilog2()
}

/// Looks whether the tables have outgrown the plans of the lanes.
///
/// # Errors
/// Those of the database.
pub async fn review_plans(app: App) -> Result<Turn, Error> {
    let plans = app.db.plans();
    if !plans.were_used() {
        return Ok(Turn::default());
    }
    let mut db = app.db.internal().await?;
    let sizes = sqlx::query_scalar!(
        r#"select array_agg(coalesce(pg_relation_size(oid), 0) order by oid) as "sizes!"
           from pg_class where relnamespace = quote_ident(current_schema())::regnamespace and relkind = 'r'"#
    )
    .fetch_one(&mut *db)
    .await?;
    let suit = plans.suit(&sizes);
    Ok(Turn {
        changed: u64::from(!suit),
        again_in: (!suit).then_some(AGAIN_AFTER_GROWTH),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: i64 = 8192;

    #[test]
    fn plans_are_made_anew_when_a_table_has_doubled_and_not_before() {
        let plans = Plans::default();
        assert!(!plans.suit(&[0, 1_000 * BLOCK]));
        let first = plans.generation();
        assert!(plans.suit(&[0, 1_020 * BLOCK]));
        assert_eq!(plans.generation(), first);
        assert!(!plans.suit(&[BLOCK, 1_020 * BLOCK]));
        assert!(!plans.suit(&[BLOCK, 2_000 * BLOCK]));
        assert_eq!(plans.generation(), first + 2);
    }

    #[test]
    fn sizes_are_looked_at_only_while_lanes_are_in_use() {
        let plans = Plans::default();
        assert!(!plans.were_used());
        plans.generation();
        assert!(plans.were_used());
        assert!(!plans.were_used());
    }
}
