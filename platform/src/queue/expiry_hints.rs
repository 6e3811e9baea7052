//! From which moment on the leases end that still live: a hint for loops that look for those that are over.
//!
//! ```text
//!   expires_at   ···· ended leases, dead entries ···· floor ── ten seconds ── the last look ──► living leases
//! ```
//!
//! While a snapshot is held open nothing is vacuumed, and a look from the very start walks over every lease that
//! ended since. A lease is written with an end that lies ahead, so none can come to lie before a look that has
//! passed, unless whoever wrote it commits late. The floor stays ten seconds behind the last look for their sake, and
//! once a minute a look starts from the beginning for those that took even longer.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use sqlx::types::chrono::{DateTime, Utc};

/// How far the floor stays behind the last look.
const FLOOR_AGE: Duration = Duration::from_secs(10);
/// How often a look starts from the beginning.
const LOOK_FULLY_EVERY: Duration = Duration::from_secs(60);

/// What this replica knows about the ends of leases.
#[derive(Default)]
pub(super) struct ExpiryHints(Mutex<Known>);

#[derive(Default)]
struct Known {
    floor: Option<DateTime<Utc>>,
    /// When a look last started from the beginning, and told.
    looked_fully_at: Option<Instant>,
}

impl ExpiryHints {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0
            .lock()
            .expect("nothing panics while it holds the hints")
    }

    /// No living lease ends before; none when it is time to look from the beginning.
    pub(super) fn floor(&self) -> Option<DateTime<Utc>> {
        let known = self.known();
        known.floor.filter(|_| {
            known
                .looked_fully_at
                .is_some_and(|at| at.elapsed() < LOOK_FULLY_EVERY)
        })
    }

    /// A look from this floor on has found at this moment, by the database's clock, that the next lease ends then.
    pub(super) fn looked(
        &self,
        from: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
        next: Option<DateTime<Utc>>,
    ) {
        let mut known = self.known();
        if from.is_none() {
            known.looked_fully_at = Some(Instant::now());
        }
        known.floor = Some(next.map_or(now, |next| next.min(now)) - FLOOR_AGE);
    }

    /// Something else than the platform may have changed when leases end.
    pub(super) fn forget(&self) {
        *self.known() = Known::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("a moment")
    }

    #[test]
    fn looks_start_a_little_before_the_last_one() {
        let hints = ExpiryHints::default();
        assert_eq!(hints.floor(), None);
        hints.looked(None, moment(1000), None);
        assert_eq!(hints.floor(), Some(moment(990)));
        hints.looked(hints.floor(), moment(1002), Some(moment(1003)));
        assert_eq!(hints.floor(), Some(moment(992)));
    }

    #[test]
    fn a_lease_that_is_over_and_was_not_taken_away_is_seen_again() {
        let hints = ExpiryHints::default();
        hints.looked(None, moment(1000), Some(moment(950)));
        assert_eq!(hints.floor(), Some(moment(940)));
    }

    #[test]
    fn what_is_forgotten_is_looked_for_from_the_beginning() {
        let hints = ExpiryHints::default();
        hints.looked(None, moment(1000), None);
        hints.forget();
        assert_eq!(hints.floor(), None);
    }
}
