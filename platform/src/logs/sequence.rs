//! The numbers of an attempt's entries: repetitions and gaps.

use std::collections::HashMap;

use protocol::{LogGap, TaskId};
use uuid::Uuid;

/// An attempt of a task.
pub(super) type Attempt = (Uuid, i32);

/// What a number means after those that came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The next one.
    Next,
    /// One that was taken before.
    Repetition,
    /// A later one: these two and what lies between them are missing.
    Jump { from: i64, to: i64 },
}

/// What `seq` means after `last`.
pub(super) fn step(last: i64, seq: i64) -> Step {
    if seq <= last {
        Step::Repetition
    } else if seq == last + 1 {
        Step::Next
    } else {
        Step::Jump {
            from: last + 1,
            to: seq - 1,
        }
    }
}

/// How far the logs of attempts have come.
#[derive(Debug, Default)]
pub(super) struct Heads(HashMap<Attempt, Head>);

#[derive(Clone, Copy, Debug)]
struct Head {
    last: i64,
    is_stored: bool,
    has_moved: bool,
}

/// A head that has moved and must be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moved {
    pub(super) attempt: Attempt,
    pub(super) last: i64,
    pub(super) is_stored: bool,
}

impl Heads {
    /// A head as it is stored.
    pub(super) fn add_stored(&mut self, attempt: Attempt, last: i64) {
        let head = Head {
            last,
            is_stored: true,
            has_moved: false,
        };
        self.0.insert(attempt, head);
    }

    /// Takes the next number of an attempt.
    pub(super) fn take(&mut self, attempt: Attempt, seq: i64) -> Step {
        let head = self.0.entry(attempt).or_insert(Head {
            last: 0,
            is_stored: false,
            has_moved: false,
        });
        let step = step(head.last, seq);
        if step != Step::Repetition {
            head.last = seq;
            head.has_moved = true;
        }
        step
    }

    /// The heads that must be written, in the order in which they are locked.
    pub(super) fn moved(&self) -> Vec<Moved> {
        let mut moved: Vec<_> = self
            .0
            .iter()
            .filter(|(_, head)| head.has_moved)
            .map(|(attempt, head)| Moved {
                attempt: *attempt,
                last: head.last,
                is_stored: head.is_stored,
            })
            .collect();
        moved.sort_unstable();
        moved
    }
}

/// A gap as the sender is told of it.
pub(super) fn gap((task, attempt): Attempt, from_seq: i64, to_seq: i64) -> LogGap {
    LogGap {
        task_id: TaskId::from(task),
        attempt,
        from_seq,
        to_seq,
    }
}

/// Puts the numbered entries of each attempt into the order of their numbers, and leaves every other
/// entry where it is: two requests of one attempt that overtook each other are not taken for a gap.
pub(super) fn in_order<T>(
    entries: Vec<T>,
    number: impl Fn(&T) -> Option<(Attempt, i64)>,
) -> Vec<T> {
    let mut places: HashMap<Attempt, Vec<(i64, usize)>> = HashMap::new();
    for (place, entry) in entries.iter().enumerate() {
        if let Some((attempt, seq)) = number(entry) {
            places.entry(attempt).or_default().push((seq, place));
        }
    }
    // For each place, the entry that shall stand there.
    let mut wanted: Vec<usize> = (0..entries.len()).collect();
    for numbered in places.values() {
        let mut by_number = numbered.clone();
        by_number.sort_unstable();
        for ((_, place), (_, from)) in numbered.iter().zip(by_number) {
            wanted[*place] = from;
        }
    }
    let mut entries: Vec<Option<T>> = entries.into_iter().map(Some).collect();
    wanted
        .into_iter()
        .map(|from| entries[from].take().expect("each entry has one place"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Attempt = (Uuid::from_u128(1), 1);
    const B: Attempt = (Uuid::from_u128(1), 2);

    #[test]
    fn numbers_follow_repeat_or_jump() {
        assert_eq!(step(0, 1), Step::Next);
        assert_eq!(step(7, 8), Step::Next);
        assert_eq!(step(7, 7), Step::Repetition);
        assert_eq!(step(7, 1), Step::Repetition);
        assert_eq!(step(7, 11), Step::Jump { from: 8, to: 10 });
        assert_eq!(step(0, 3), Step::Jump { from: 1, to: 2 });
    }

    #[test]
    fn attempts_are_counted_apart_and_only_moved_heads_are_written() {
        let mut heads = Heads::default();
        heads.add_stored(A, 5);
        assert_eq!(heads.take(A, 5), Step::Repetition);
        assert_eq!(heads.take(B, 1), Step::Next);
        assert_eq!(heads.take(B, 4), Step::Jump { from: 2, to: 3 });
        let moved = heads.moved();
        assert_eq!(
            moved,
            [Moved {
                attempt: B,
                last: 4,
                is_stored: false
            }]
        );
    }

    #[test]
    fn numbered_entries_are_put_in_order_and_others_stay_where_they_are() {
        let entries = vec![
            ("begin", None),
            ("a3", Some((A, 3))),
            ("b1", Some((B, 1))),
            ("a1", Some((A, 1))),
            ("note", None),
            ("a2", Some((A, 2))),
        ];
        let names: Vec<_> = in_order(entries, |entry| entry.1)
            .iter()
            .map(|entry| entry.0)
            .collect();
        assert_eq!(names, ["begin", "a1", "b1", "a2", "note", "a3"]);
    }
}
