//! Not yet: why, how things are, and what to do next.

use http::StatusCode;
use protocol::{
    ActionTarget, ErrorCode, Guided, MutationOutcome, NextAction, NotYetReason, ReasonCode,
    RecoveryClass, StateSnapshot, SuggestedAction, TaskId, WorkItemId,
};
use serde::Serialize;
use uuid::Uuid;

use super::guard::Orchestrator;
use super::store;
use crate::error::Error;
use crate::http::{Reply, Write};

/// What a request was about, and what it means when the run is not ready for it.
#[derive(Clone, Debug)]
pub(super) struct About {
    /// Why it cannot be done, unless the refusal itself says.
    pub(super) reason: NotYetReason,
    pub(super) item: Option<WorkItemId>,
    pub(super) task: Option<TaskId>,
}

impl About {
    /// A request that any run takes as long as it has not ended.
    pub(super) fn open_run() -> Self {
        Self::run(NotYetReason::WorkflowLifecycleNotClosable)
    }

    /// A request about the run.
    pub(super) fn run(reason: NotYetReason) -> Self {
        Self {
            reason,
            item: None,
            task: None,
        }
    }

    /// A request about a work item.
    pub(super) fn item(id: WorkItemId, reason: NotYetReason) -> Self {
        Self {
            item: Some(id),
            ..Self::run(reason)
        }
    }

    /// A request about a task.
    pub(super) fn task(id: TaskId, reason: NotYetReason) -> Self {
        Self {
            task: Some(id),
            ..Self::run(reason)
        }
    }
}

/// Commits what was done; or rolls it back, and tells why it cannot be done yet.
///
/// # Errors
/// Refusals that no waiting and no other order of things would cure.
pub(super) async fn answer<T: Serialize>(
    write: Write,
    orchestrator: &Orchestrator,
    about: About,
    done: Result<T, Error>,
) -> Result<Reply<Guided<T>>, Error> {
    answer_with(StatusCode::OK, write, orchestrator, about, done).await
}

/// Like [`answer`], for what is made: 201 if it was.
///
/// # Errors
/// As for `answer`.
pub(super) async fn answer_made<T: Serialize>(
    write: Write,
    orchestrator: &Orchestrator,
    about: About,
    made: Result<T, Error>,
) -> Result<Reply<Guided<T>>, Error> {
    answer_with(StatusCode::CREATED, write, orchestrator, about, made).await
}

async fn answer_with<T: Serialize>(
    applied: StatusCode,
    mut write: Write,
    orchestrator: &Orchestrator,
    about: About,
    done: Result<T, Error>,
) -> Result<Reply<Guided<T>>, Error> {
    let error = match done {
        Ok(result) => return write.commit(applied, Guided::applied(result)).await,
        Err(error) => error,
    };
    let Some((reason, message)) = not_yet(&error, about.reason) else {
        return Err(error);
    };
    let tenant = write.caller().tenant();
    let (item, task) = (about.item, about.task);
    let snapshot = store::snapshot(write.conn(), tenant, orchestrator.run, item, task).await?;
    // `write` is dropped without a commit: nothing of a refused operation stays.
    Reply::ok(guided(reason, message, snapshot, orchestrator))
}

/// Whether a refusal is one that can be cured, and its reason.
fn not_yet(error: &Error, usual: NotYetReason) -> Option<(NotYetReason, String)> {
    let refusal = error.refusal()?.to_wire();
    let details = refusal.details.unwrap_or_default();
    if let Some(named) = details.not_yet_reason {
        return Some((named, refusal.message));
    }
    match (refusal.code, details.reason_code) {
        (
            ErrorCode::Conflict | ErrorCode::InvalidStateTransition,
            None | Some(ReasonCode::StateChanged | ReasonCode::InUse),
        ) => Some((usual, refusal.message)),
        (ErrorCode::ValidationError, Some(ReasonCode::TaskStageMismatch)) => {
            Some((NotYetReason::TaskStageMismatch, refusal.message))
        }
        _ => None,
    }
}

fn guided<T>(
    reason: NotYetReason,
    message: String,
    snapshot: StateSnapshot,
    orchestrator: &Orchestrator,
) -> Guided<T> {
    let suggestions = suggestions(reason, &snapshot, orchestrator);
    let targets = suggestions
        .iter()
        .filter_map(|one| one.target_id.parse().ok());
    let closable = matches!(
        reason,
        NotYetReason::WorkflowIncompleteStage
            | NotYetReason::WorkflowStageBlocked
            | NotYetReason::WorkItemNotReady
    );
    Guided {
        mutation_outcome: MutationOutcome::RecoverableNotApplied,
        result: None,
        recovery_class: Some(class_of(reason)),
        blocking: true,
        reason_code: Some(reason),
        message: Some(message),
        suggested_target_ids: targets.collect::<Vec<Uuid>>(),
        suggested_next_actions: suggestions,
        state_snapshot: Some(snapshot),
        closure_still_possible: Some(closable),
    }
}

fn class_of(reason: NotYetReason) -> RecoveryClass {
    match reason {
        NotYetReason::WorkflowTasksNotReady
        | NotYetReason::WorkflowChildrenNotReady
        | NotYetReason::OwnerNotStale
        | NotYetReason::WorkItemTasksNotReady => RecoveryClass::WaitForTasks,
        NotYetReason::StageWaitingForGateApproval
        | NotYetReason::WorkflowWaitingForGateApproval
        | NotYetReason::WorkflowStageOpenEscalation => RecoveryClass::WaitForPerson,
        NotYetReason::TaskNotAwaitingApproval
        | NotYetReason::TaskNotReadyForRework
        | NotYetReason::SubjectTaskNotReady
        | NotYetReason::TaskStageMismatch
        | NotYetReason::WorkflowLifecycleNotClosable
        | NotYetReason::WorkflowLifecycleNotPlanned
        | NotYetReason::FinalStageUseCompleteWorkflow
        | NotYetReason::StageWrongSuccessor
        | NotYetReason::StageNotCurrent
        | NotYetReason::WorkflowStageBlocked
        | NotYetReason::WorkflowIncompleteStage
        | NotYetReason::WorkItemNotReady
        | NotYetReason::ApprovalNotConfigured => RecoveryClass::ActFirst,
    }
}

/// What can be done, the most promising first.
fn suggestions(
    reason: NotYetReason,
    snapshot: &StateSnapshot,
    orchestrator: &Orchestrator,
) -> Vec<SuggestedAction> {
    let suggest =
        |action_code, target_type, target_id: String, why: &str, judgement| SuggestedAction {
            action_code,
            target_type,
            target_id,
            why: why.to_owned(),
            requires_orchestrator_judgment: judgement,
        };
    let finish = |why: &str| {
        let id = orchestrator.activation.to_string();
        suggest(
            NextAction::FinishActivation,
            ActionTarget::Activation,
            id,
            why,
            false,
        )
    };
    let run = snapshot.workflow_id.to_string();
    let stage = snapshot.current_stage.clone().unwrap_or_default();
    let tasks = snapshot.open_task_ids.iter().map(ToString::to_string);
    let items = snapshot.open_work_item_ids.iter().map(ToString::to_string);
    match reason {
        NotYetReason::WorkflowTasksNotReady | NotYetReason::WorkItemTasksNotReady => {
            let wait = finish("the end of every task wakes you again");
            let cancels = tasks.map(|task| {
                let why = "nobody needs it any more, if that is so";
                suggest(NextAction::CancelTask, ActionTarget::Task, task, why, true)
            });
            std::iter::once(wait).chain(cancels).collect()
        }
        NotYetReason::StageWaitingForGateApproval
        | NotYetReason::WorkflowWaitingForGateApproval => {
            let why = "a gate that was refused can be asked for again, once it is mended";
            let again = suggest(
                NextAction::RequestGate,
                ActionTarget::Stage,
                stage,
                why,
                true,
            );
            vec![finish("the decision of a person wakes you again"), again]
        }
        NotYetReason::WorkflowStageOpenEscalation => {
            vec![finish("the answer of a person wakes you again")]
        }
        NotYetReason::WorkflowChildrenNotReady => {
            vec![finish(
                "the end of every run that you launched wakes you again",
            )]
        }
        NotYetReason::WorkflowIncompleteStage | NotYetReason::WorkflowStageBlocked => {
            let closes = items.map(|item| {
                let why = "it is open; complete it, or close it and say what is missing";
                suggest(
                    NextAction::CompleteWorkItem,
                    ActionTarget::WorkItem,
                    item,
                    why,
                    true,
                )
            });
            let why = "closes everything that is open, and records what you say is missing";
            let all = suggest(
                NextAction::CloseWorkflowWithCallouts,
                ActionTarget::Workflow,
                run,
                why,
                true,
            );
            closes.chain([all]).collect()
        }
        NotYetReason::FinalStageUseCompleteWorkflow => {
            let why = "no stage follows this one";
            vec![suggest(
                NextAction::CompleteWorkflow,
                ActionTarget::Workflow,
                run,
                why,
                false,
            )]
        }
        NotYetReason::StageNotCurrent | NotYetReason::StageWrongSuccessor => {
            let why = "this is the current stage";
            vec![suggest(
                NextAction::AdvanceStage,
                ActionTarget::Stage,
                stage,
                why,
                false,
            )]
        }
        NotYetReason::WorkItemNotReady => snapshot
            .work_item_id
            .iter()
            .map(|item| {
                let why = "it can be closed all the same, if you say what is missing";
                let (code, id) = (NextAction::CloseWorkItemWithCallouts, item.to_string());
                suggest(code, ActionTarget::WorkItem, id, why, true)
            })
            .collect(),
        NotYetReason::OwnerNotStale => {
            let wait = finish("its end, or that of its lease, wakes you again");
            let takes = snapshot.task_id.iter().map(|task| {
                let why = "takes it from its owner all the same";
                let (code, id) = (NextAction::ReassignTask, task.to_string());
                suggest(code, ActionTarget::Task, id, why, true)
            });
            std::iter::once(wait).chain(takes).collect()
        }
        NotYetReason::TaskNotAwaitingApproval
        | NotYetReason::TaskNotReadyForRework
        | NotYetReason::SubjectTaskNotReady
        | NotYetReason::TaskStageMismatch => snapshot
            .task_id
            .iter()
            .map(|task| {
                let why = "available_actions of the task says what can be done with it now";
                suggest(
                    NextAction::InspectTask,
                    ActionTarget::Task,
                    task.to_string(),
                    why,
                    false,
                )
            })
            .collect(),
        NotYetReason::WorkflowLifecycleNotClosable
        | NotYetReason::WorkflowLifecycleNotPlanned
        | NotYetReason::ApprovalNotConfigured => {
            vec![finish("nothing that you do now would change this")]
        }
    }
}
