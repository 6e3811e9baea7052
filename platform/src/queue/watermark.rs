//! Beyond which seq a claim looks, for each priority of a lane.
//!
//! ```text
//!   seq   0 ········ floor ········ a second ago ── mark ──► ready tasks
//!         dead entries, more of them with every task that was ever claimed
//! ```
//!
//! The watermark keeps claims from walking over the index entries of tasks that were claimed since the
//! last vacuum. A row whose insert committed late lies before it, so once a second one claim starts at the
//! mark of a second ago. The **floor** is the mark of minutes ago, older than any transaction of ours can
//! be: a claim that finds nothing beyond its mark looks from there before it says so, and now and then one
//! starts there anyway. While a snapshot is held open nothing is vacuumed, and a walk from the very start
//! takes longer with every task; it is made once in ten minutes, and when a task went back to its old place.

use std::time::{Duration, Instant};

/// How often one claim starts from the mark of a second ago.
const REWIND_EVERY: Duration = Duration::from_secs(1);
/// How often one claim starts from the floor.
const REWIND_TO_FLOOR_EVERY: Duration = Duration::from_secs(20);
/// How often one claim starts from the very beginning.
const REWIND_FULLY_EVERY: Duration = Duration::from_secs(600);
/// How old the floor is at least. No transaction of ours lasts as long: an idle one is ended after 60 s,
/// and so is a statement.
const FLOOR_AGE: Duration = Duration::from_secs(180);
/// Priorities, from critical to low.
pub(super) const PRIORITIES: usize = 4;

/// A seq for each priority of a lane.
pub(super) type Marks = [i64; PRIORITIES];

/// How far back the next claim starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rewind {
    ToFloor,
    ToStart,
}

/// The watermark of a lane.
pub(super) struct Watermark {
    marks: Marks,
    marks_of_a_second_ago: Marks,
    floor: Marks,
    /// What becomes the floor once it is old enough.
    next_floor: Marks,
    floored_at: Instant,
    rewound_at: Instant,
    rewound_to_floor_at: Instant,
    rewound_fully_at: Instant,
    /// Something lies before the mark: the next claim starts further back.
    rewinds_next: Option<Rewind>,
}

impl Watermark {
    /// Knows nothing: looks from the start.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            marks: [0; PRIORITIES],
            marks_of_a_second_ago: [0; PRIORITIES],
            floor: [0; PRIORITIES],
            next_floor: [0; PRIORITIES],
            floored_at: now,
            rewound_at: now,
            rewound_to_floor_at: now,
            rewound_fully_at: now,
            rewinds_next: None,
        }
    }

    /// Where the claim that asks starts. A rewind is for this one claim: the next one starts at the mark again.
    pub(super) fn look(&mut self) -> Marks {
        match self.rewind_due() {
            Some(Rewind::ToStart) => return [0; PRIORITIES],
            Some(Rewind::ToFloor) => return self.floor(),
            None => {}
        }
        if self.rewound_at.elapsed() >= REWIND_EVERY {
            self.rewound_at = Instant::now();
            return std::mem::replace(&mut self.marks_of_a_second_ago, self.marks);
        }
        self.marks
    }

    /// Where to look before saying that there is nothing.
    pub(super) fn floor(&mut self) -> Marks {
        if self.floored_at.elapsed() >= FLOOR_AGE {
            self.floored_at = Instant::now();
            self.floor = std::mem::replace(&mut self.next_floor, self.marks);
        }
        self.floor
    }

    /// A claim received this seq. The mark never goes back.
    pub(super) fn advance(&mut self, priority: usize, seq: i64) {
        let Some(mark) = self.marks.get_mut(priority) else {
            return;
        };
        if seq < *mark {
            // There was something before the mark, and there may be more of it.
            self.rewinds_next = self.rewinds_next.max(Some(Rewind::ToFloor));
        }
        *mark = (*mark).max(seq);
    }

    /// A task went back to its old place, which may be anywhere.
    pub(super) fn rewind_to_start(&mut self) {
        self.rewinds_next = Some(Rewind::ToStart);
    }

    fn rewind_due(&mut self) -> Option<Rewind> {
        let by_time = if self.rewound_fully_at.elapsed() >= REWIND_FULLY_EVERY {
            Some(Rewind::ToStart)
        } else if self.rewound_to_floor_at.elapsed() >= REWIND_TO_FLOOR_EVERY {
            Some(Rewind::ToFloor)
        } else {
            None
        };
        let due = by_time.max(self.rewinds_next.take());
        if due.is_some() {
            self.rewound_to_floor_at = Instant::now();
        }
        if due == Some(Rewind::ToStart) {
            self.rewound_fully_at = Instant::now();
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewound_watermark_is_not_lost() {
        let mut watermark = Watermark::new();
        watermark.advance(2, 40);
        // Something lay before the mark: one claim looks from the floor, the next one beyond it again.
        watermark.advance(2, 30);
        assert_eq!(watermark.look()[2], 0);
        assert_eq!(watermark.look()[2], 40);
    }

    #[test]
    fn the_floor_follows_the_mark_once_it_is_old_enough() {
        let mut watermark = Watermark::new();
        let ages = |watermark: &mut Watermark| watermark.floored_at -= FLOOR_AGE;
        watermark.advance(1, 40);
        ages(&mut watermark);
        assert_eq!(watermark.floor()[1], 0, "the mark of now is no floor yet");
        watermark.advance(1, 50);
        ages(&mut watermark);
        assert_eq!(watermark.floor()[1], 40);
    }

    #[test]
    fn a_task_at_its_old_place_is_looked_for_from_the_start() {
        let mut watermark = Watermark::new();
        watermark.advance(0, 40);
        watermark.floor = [20; PRIORITIES];
        watermark.rewind_to_start();
        assert_eq!(watermark.look(), [0; PRIORITIES]);
        assert_eq!(watermark.look()[0], 40);
    }
}
