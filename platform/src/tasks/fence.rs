//! The two rules that keep a task from being believed twice: which report counts, and what becomes of a task
//! whose holder fell silent.
//!
//! The hot reports decide by the first rule in SQL (`queue/complete.sql`, `queue/start.sql`). The model in
//! `tests/faults/model.rs` calls these functions, and runs beside a platform to show that both agree.

use protocol::TaskState;

use crate::queue::{HeldTask, Report, Verdict};

/// Judges a report on a task by the lease that is there: `Moved` when it counts.
///
/// A report that names an attempt counts for that attempt alone; one that names none only where the holder
/// need not, or comes from an operator.
pub fn judge(report: &Report, held: Option<&HeldTask>, is_operator: bool) -> Verdict {
    let Some(held) = held else {
        return Verdict::Absent;
    };
    match report.attempt {
        None if held.fenced && !is_operator => return Verdict::AttemptMissing,
        Some(attempt) if attempt != held.attempt => return Verdict::Stale(held.attempt),
        _ => {}
    }
    let is_holder = report.agent.is_none_or(|agent| agent == held.agent)
        && report
            .worker
            .is_none_or(|worker| held.worker == Some(worker));
    if is_holder {
        Verdict::Moved
    } else {
        Verdict::NotHolder
    }
}

/// Where a task goes whose holder fell silent, this loss included in `abandons`: back to the queue, or, when it
/// has cost too many holders, to its end. A task whose run was cancelled is cancelled with it.
pub fn after_lost_lease(abandons: i32, max_abandons: i32, is_cancelled: bool) -> TaskState {
    if is_cancelled {
        TaskState::Cancelled
    } else if abandons > max_abandons {
        TaskState::Failed
    } else {
        TaskState::Ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_costs_too_many_holders_fails_unless_it_is_cancelled() {
        assert_eq!(after_lost_lease(3, 3, false), TaskState::Ready);
        assert_eq!(after_lost_lease(4, 3, false), TaskState::Failed);
        assert_eq!(after_lost_lease(4, 3, true), TaskState::Cancelled);
    }
}
