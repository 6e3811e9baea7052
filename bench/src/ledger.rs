//! Who was handed what: every task once.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::ensure;

use crate::wire::Seen;

/// One bit a task, by its number.
pub(crate) struct Ledger {
    bits: Vec<AtomicU64>,
    claimed: AtomicU64,
    completed: AtomicU64,
    next: AtomicU64,
}

impl Ledger {
    /// For tasks with numbers below this.
    pub(crate) fn new(tasks_max: u64) -> Self {
        let words =
            usize::try_from(tasks_max / 64 + 1).expect("a number of tasks that fits memory");
        Self {
            bits: (0..words).map(|_| AtomicU64::new(0)).collect(),
            claimed: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            next: AtomicU64::new(0),
        }
    }

    /// A number for a new task.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Says that tasks up to this number were made elsewhere.
    pub(crate) fn made_elsewhere(&self, tasks: u64) {
        self.next.fetch_max(tasks, Ordering::Relaxed);
    }

    /// How many numbers were given away.
    pub(crate) fn numbers(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Notes a claim, and fails when the task was handed out before.
    pub(crate) fn claimed(&self, seen: &Seen) -> anyhow::Result<()> {
        ensure!(
            seen.attempt == 1,
            "task {} was handed out as attempt {}: the first one was lost",
            seen.number,
            seen.attempt
        );
        let word = usize::try_from(seen.number / 64)?;
        ensure!(
            word < self.bits.len(),
            "task {} was never made",
            seen.number
        );
        let bit = 1 << (seen.number % 64);
        let before = self.bits[word].fetch_or(bit, Ordering::Relaxed);
        ensure!(
            before & bit == 0,
            "task {} was handed out twice",
            seen.number
        );
        self.claimed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Notes a completion that was accepted.
    pub(crate) fn completed(&self) {
        self.completed.fetch_add(1, Ordering::Relaxed);
    }

    /// How many completions were accepted.
    pub(crate) fn completions(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// Fails unless what was claimed was completed, and the database knows of exactly these completions.
    pub(crate) fn agree(&self, completed_in_database: i64) -> anyhow::Result<()> {
        let (claimed, completed) = (self.claimed.load(Ordering::Relaxed), self.completions());
        ensure!(
            claimed == completed,
            "{claimed} tasks were claimed and {completed} completed"
        );
        ensure!(
            u64::try_from(completed_in_database)? == completed,
            "{completed} completions were accepted, and the database has {completed_in_database}"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(number: u64, attempt: u32) -> Seen {
        Seen {
            id: [b'0'; 36],
            number,
            attempt,
        }
    }

    #[test]
    fn a_task_handed_out_twice_is_noticed() {
        let ledger = Ledger::new(100);
        ledger.claimed(&seen(99, 1)).unwrap();
        ledger.claimed(&seen(98, 1)).unwrap();
        assert!(ledger.claimed(&seen(99, 1)).is_err());
        assert!(ledger.claimed(&seen(97, 2)).is_err());
        assert!(ledger.claimed(&seen(100_000, 1)).is_err());
    }

    #[test]
    fn a_lost_completion_is_noticed() {
        let ledger = Ledger::new(100);
        ledger.claimed(&seen(1, 1)).unwrap();
        assert!(ledger.agree(0).is_err());
        ledger.completed();
        assert!(ledger.agree(0).is_err());
        ledger.agree(1).unwrap();
    }
}
