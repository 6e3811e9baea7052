//! Whether an entry is taken: who may log for which attempt, and until when.

use std::collections::HashSet;

use protocol::{LogInput, Scope};
use uuid::Uuid;

use crate::http::Caller;

/// How long after its end an attempt may still hand in log entries.
const LATE_SECONDS_MAX: f64 = 600.0;

/// Who hands log entries in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reporter {
    /// An operator, who may log for every task.
    Operator,
    /// An agent, for tasks that it holds or held last.
    Agent(Uuid),
    /// A worker, for tasks that its agents hold or held last.
    Worker(Uuid),
    /// A key that acts for nobody.
    Nobody,
}

impl Reporter {
    /// Who a caller logs as.
    pub(super) fn of(caller: &Caller) -> Self {
        match caller.scope() {
            Scope::Admin | Scope::Service => Self::Operator,
            Scope::Agent => caller
                .agent()
                .map_or(Self::Nobody, |agent| Self::Agent(agent.uuid())),
            Scope::Worker => caller
                .worker()
                .map_or(Self::Nobody, |worker| Self::Worker(worker.uuid())),
        }
    }

    /// The agent or worker itself.
    pub(super) fn holder(self) -> Option<Uuid> {
        match self {
            Self::Agent(id) | Self::Worker(id) => Some(id),
            Self::Operator | Self::Nobody => None,
        }
    }
}

/// Where a task is, as far as its log is concerned.
#[derive(Clone, Debug, Default)]
pub(super) struct Position {
    /// How many claims it has had.
    pub(super) attempt: i32,
    /// Whether the latest attempt holds it.
    pub(super) is_held: bool,
    /// How long ago its state changed.
    pub(super) seconds_since_change: f64,
    /// The agents and workers that hold it, or held it last.
    pub(super) holders: HashSet<Uuid>,
    /// Its workspace.
    pub(super) workspace: Option<Uuid>,
}

/// Why an entry is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    TaskNotFound,
    NotHolder,
    SupersededAttempt,
    UnknownAttempt,
    AttemptOver,
    OutsideWorkspaces,
}

impl Reason {
    /// The word on the wire.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::TaskNotFound => "task_not_found",
            Self::NotHolder => "not_holder",
            Self::SupersededAttempt => "superseded_attempt",
            Self::UnknownAttempt => "unknown_attempt",
            Self::AttemptOver => "attempt_over",
            Self::OutsideWorkspaces => "outside_workspaces",
        }
    }
}

/// Judges one entry: the attempt it belongs to, or why it is not taken.
///
/// A superseded attempt is told so before it is told that it is not the holder: that is what its
/// process must learn to stop.
pub(super) fn judge(
    entry: &LogInput,
    reporter: Reporter,
    workspaces: &[Uuid],
    position: Option<&Position>,
) -> Result<Option<i32>, Reason> {
    let is_outside = |workspace: Option<Uuid>| {
        !workspaces.is_empty() && !workspace.is_some_and(|id| workspaces.contains(&id))
    };
    if entry.task_id.is_none() {
        let named = entry.workspace_id.map(protocol::WorkspaceId::uuid);
        // An entry about nothing but the worker itself is nobody's secret.
        if named.is_some() && is_outside(named) {
            return Err(Reason::OutsideWorkspaces);
        }
        return Ok(None);
    }
    let position = position.ok_or(Reason::TaskNotFound)?;
    if is_outside(position.workspace) {
        return Err(Reason::TaskNotFound);
    }
    let attempt = entry.attempt.unwrap_or(position.attempt);
    if attempt < position.attempt {
        return Err(Reason::SupersededAttempt);
    }
    if attempt > position.attempt {
        return Err(Reason::UnknownAttempt);
    }
    let may = match reporter {
        Reporter::Operator => true,
        Reporter::Agent(id) | Reporter::Worker(id) => position.holders.contains(&id),
        Reporter::Nobody => false,
    };
    if !may {
        return Err(Reason::NotHolder);
    }
    // A task that nobody has claimed yet has no attempt that could be over.
    if attempt > 0 && !position.is_held && position.seconds_since_change > LATE_SECONDS_MAX {
        return Err(Reason::AttemptOver);
    }
    Ok(Some(attempt))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ME: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);
    const HERE: Uuid = Uuid::from_u128(3);

    fn entry(change: serde_json::Value) -> LogInput {
        let mut entry = json!({
            "trace_id": Uuid::nil(), "span_id": Uuid::nil(), "source": "runtime", "category": "tool",
            "operation": "x", "status": "completed", "task_id": Uuid::nil(),
        });
        entry
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        serde_json::from_value(entry).unwrap()
    }

    fn held_by_me() -> Position {
        Position {
            attempt: 3,
            is_held: true,
            seconds_since_change: 100_000.0,
            holders: HashSet::from([ME]),
            workspace: Some(HERE),
        }
    }

    fn ended(seconds_ago: f64) -> Position {
        Position {
            is_held: false,
            seconds_since_change: seconds_ago,
            ..held_by_me()
        }
    }

    #[test]
    fn the_holder_logs_for_its_attempt_whether_or_not_it_names_it() {
        let me = Reporter::Agent(ME);
        for change in [json!({}), json!({ "attempt": 3 })] {
            assert_eq!(
                judge(&entry(change), me, &[], Some(&held_by_me())),
                Ok(Some(3))
            );
        }
    }

    #[test]
    fn a_superseded_attempt_is_told_so_even_when_another_one_holds_the_task() {
        let stale = entry(json!({ "attempt": 2 }));
        for reporter in [
            Reporter::Agent(ME),
            Reporter::Worker(OTHER),
            Reporter::Operator,
        ] {
            assert_eq!(
                judge(&stale, reporter, &[], Some(&held_by_me())),
                Err(Reason::SupersededAttempt)
            );
        }
    }

    #[test]
    fn strangers_and_attempts_that_never_were_are_not_taken() {
        let other = Reporter::Worker(OTHER);
        assert_eq!(
            judge(&entry(json!({})), other, &[], Some(&held_by_me())),
            Err(Reason::NotHolder)
        );
        let early = entry(json!({ "attempt": 4 }));
        assert_eq!(
            judge(&early, Reporter::Agent(ME), &[], Some(&held_by_me())),
            Err(Reason::UnknownAttempt)
        );
        assert_eq!(
            judge(&entry(json!({})), Reporter::Operator, &[], None),
            Err(Reason::TaskNotFound)
        );
    }

    #[test]
    fn an_attempt_may_log_for_ten_minutes_after_its_end() {
        let me = Reporter::Agent(ME);
        assert_eq!(
            judge(&entry(json!({})), me, &[], Some(&ended(599.0))),
            Ok(Some(3))
        );
        assert_eq!(
            judge(&entry(json!({})), me, &[], Some(&ended(601.0))),
            Err(Reason::AttemptOver)
        );
    }

    #[test]
    fn a_task_that_nobody_has_claimed_has_no_attempt_that_is_over() {
        let old = Position {
            attempt: 0,
            ..ended(1e9)
        };
        assert_eq!(
            judge(&entry(json!({})), Reporter::Operator, &[], Some(&old)),
            Ok(Some(0))
        );
    }

    #[test]
    fn a_restricted_key_does_not_see_tasks_of_other_workspaces() {
        let me = Reporter::Agent(ME);
        assert_eq!(
            judge(&entry(json!({})), me, &[HERE], Some(&held_by_me())),
            Ok(Some(3))
        );
        assert_eq!(
            judge(&entry(json!({})), me, &[OTHER], Some(&held_by_me())),
            Err(Reason::TaskNotFound)
        );
        let elsewhere = entry(json!({ "task_id": null, "workspace_id": OTHER }));
        assert_eq!(
            judge(&elsewhere, me, &[HERE], None),
            Err(Reason::OutsideWorkspaces)
        );
        let nowhere = entry(json!({ "task_id": null }));
        assert_eq!(judge(&nowhere, me, &[HERE], None), Ok(None));
    }
}
