//! The table of moves: which operation leads from which state to which.

use protocol::TaskMove::{self, *};
use protocol::TaskState::{self, *};

/// Every move there is. Operations ask it which states they accept; `docs/states.md` is printed from it.
pub const MOVES: &[(TaskState, TaskMove, TaskState)] = &[
    (Pending, BecomeReady, Ready),
    (Ready, Pause, Pending),
    (Ready, Claim, Claimed),
    // A holder of capacity 1 that lost its memory gets its task back, as a new attempt.
    (Claimed, Claim, Claimed),
    (InProgress, Claim, Claimed),
    (Claimed, Start, InProgress),
    (InProgress, Complete, Completed),
    (InProgress, HoldForAssessment, OutputPendingAssessment),
    (Claimed, Fail, Failed),
    (InProgress, Fail, Failed),
    (Claimed, ScheduleRetry, Pending),
    (InProgress, ScheduleRetry, Pending),
    (Claimed, Release, Ready),
    (InProgress, Release, Ready),
    (Claimed, LoseLease, Ready),
    (InProgress, LoseLease, Ready),
    // After as many abandons as the task allows.
    (Claimed, LoseLease, Failed),
    (InProgress, LoseLease, Failed),
    (Pending, FailDependency, Failed),
    (Pending, FailDependency, Cancelled),
    (Pending, RequestApproval, AwaitingApproval),
    (AwaitingApproval, Approve, Ready),
    (OutputPendingAssessment, ApproveOutput, Completed),
    (Failed, Retry, Ready),
    // Retry with `force`.
    (Pending, Retry, Ready),
    (AwaitingApproval, Retry, Ready),
    (OutputPendingAssessment, Retry, Ready),
    (Escalated, Retry, Ready),
    (Completed, Retry, Ready),
    (Pending, Cancel, Cancelled),
    (Ready, Cancel, Cancelled),
    (Claimed, Cancel, Cancelled),
    (InProgress, Cancel, Cancelled),
    (AwaitingApproval, Cancel, Cancelled),
    (OutputPendingAssessment, Cancel, Cancelled),
    (Escalated, Cancel, Cancelled),
    (Failed, Cancel, Cancelled),
    (Claimed, Reject, Failed),
    (InProgress, Reject, Failed),
    (AwaitingApproval, Reject, Failed),
    (OutputPendingAssessment, Reject, Failed),
    (Completed, Reject, Failed),
    (AwaitingApproval, RequestChanges, Ready),
    (OutputPendingAssessment, RequestChanges, Ready),
    (Completed, RequestChanges, Ready),
    (Failed, RequestChanges, Ready),
    (Cancelled, RequestChanges, Ready),
    // After as many reworks as the task allows.
    (AwaitingApproval, RequestChanges, Failed),
    (OutputPendingAssessment, RequestChanges, Failed),
    (Completed, RequestChanges, Failed),
    (Failed, RequestChanges, Failed),
    (Cancelled, RequestChanges, Failed),
    (Pending, Skip, Completed),
    (Ready, Skip, Completed),
    (AwaitingApproval, Skip, Completed),
    (OutputPendingAssessment, Skip, Completed),
    (Failed, Skip, Completed),
    (Cancelled, Skip, Completed),
    // What has not come as far as that goes on waiting.
    (Pending, Reassign, Pending),
    (Ready, Reassign, Ready),
    (Claimed, Reassign, Ready),
    (InProgress, Reassign, Ready),
    (AwaitingApproval, Reassign, AwaitingApproval),
    (OutputPendingAssessment, Reassign, Ready),
    (Failed, Reassign, Ready),
    (Cancelled, Reassign, Ready),
    (Claimed, Escalate, Escalated),
    (InProgress, Escalate, Escalated),
    (Failed, Escalate, Escalated),
    (Escalated, ResolveEscalation, Ready),
    (OutputPendingAssessment, OverrideOutput, Completed),
    (Failed, OverrideOutput, Completed),
    (Cancelled, OverrideOutput, Completed),
    (Completed, OverrideOutput, Completed),
];

/// The moves a caller can ask for, by a route of the same name.
const OFFERED: &[TaskMove] = &[
    Claim,
    Start,
    Complete,
    Fail,
    Release,
    Approve,
    ApproveOutput,
    Retry,
    Cancel,
    Reject,
    RequestChanges,
    Skip,
    Reassign,
    Escalate,
    ResolveEscalation,
    OverrideOutput,
];

/// The states from which a move is possible.
pub(super) fn sources(wanted: TaskMove) -> Vec<TaskState> {
    MOVES
        .iter()
        .filter(|(_, made, _)| *made == wanted)
        .map(|(from, ..)| *from)
        .collect()
}

/// The states from which a move is possible, as the database has them.
pub fn states_before(wanted: TaskMove) -> Vec<&'static str> {
    sources(wanted).into_iter().map(TaskState::as_str).collect()
}

/// What a caller can ask for in a state.
pub(super) fn actions(state: TaskState) -> Vec<TaskMove> {
    let mut possible: Vec<TaskMove> = OFFERED
        .iter()
        .copied()
        .filter(|offered| {
            MOVES
                .iter()
                .any(|(from, made, _)| *from == state && made == offered)
        })
        .collect();
    if state != Ready {
        // Claiming what one holds already is a matter between a holder and its past.
        possible.retain(|offered| *offered != Claim);
    }
    possible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_can_be_left() {
        for state in TaskState::ALL {
            assert!(
                MOVES.iter().any(|(from, ..)| from == state),
                "nothing leads out of {state}"
            );
        }
    }

    #[test]
    fn every_move_is_in_the_table() {
        for made in TaskMove::ALL {
            assert!(!sources(*made).is_empty(), "{made} leads nowhere");
        }
    }

    #[test]
    fn what_can_be_asked_for_depends_on_the_state() {
        assert_eq!(actions(Ready), [Claim, Cancel, Skip, Reassign]);
        assert_eq!(
            actions(Claimed),
            [Start, Fail, Release, Cancel, Reject, Reassign, Escalate]
        );
    }
}
