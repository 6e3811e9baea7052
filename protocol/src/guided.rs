//! Answers to those who steer a run: done, or not yet, with what to do about it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::enums::words;
use crate::{TaskId, WorkItemId, WorkflowId};

words! {
    /// Whether a change was made.
    MutationOutcome {
        /// It was: `result` has what came of it.
        Applied = "applied",
        /// It was not, and nothing else was changed either; `reason_code` says why, and
        /// `suggested_next_actions` what to do about it.
        RecoverableNotApplied = "recoverable_not_applied",
    }

    /// What has to happen before a change can be made.
    RecoveryClass {
        /// Workers have to end tasks: finish the activation, their end wakes the orchestrator.
        WaitForTasks = "wait_for_tasks",
        /// A person has to decide: finish the activation, the decision wakes the orchestrator.
        WaitForPerson = "wait_for_person",
        /// The orchestrator itself has to do something else first.
        ActFirst = "act_first",
    }

    /// Why a change was not made.
    NotYetReason {
        /// The task does not wait for anybody's approval.
        TaskNotAwaitingApproval = "task_not_awaiting_approval",
        /// The task is in a state from which it cannot be sent back.
        TaskNotReadyForRework = "task_not_ready_for_rework",
        /// The task is in a state from which this cannot be done.
        SubjectTaskNotReady = "subject_task_not_ready",
        /// Somebody holds the task, and is heard from.
        OwnerNotStale = "owner_not_stale",
        /// The task names another stage than its work item is in.
        TaskStageMismatch = "task_stage_mismatch",
        /// The run, or the work item, takes no work now.
        WorkflowLifecycleNotClosable = "workflow_lifecycle_not_closable",
        /// Only planned runs have stages that come one after the other, gates, and an end.
        WorkflowLifecycleNotPlanned = "workflow_lifecycle_not_planned",
        /// It is the last stage: complete the run.
        FinalStageUseCompleteWorkflow = "final_stage_use_complete_workflow",
        /// Stages are gone through in their order.
        StageWrongSuccessor = "stage_wrong_successor",
        /// Another stage is the current one.
        StageNotCurrent = "stage_not_current",
        /// The gate of the stage waits for a person, or the person said no.
        StageWaitingForGateApproval = "stage_waiting_for_gate_approval",
        /// A gate of the run waits for a person.
        WorkflowWaitingForGateApproval = "workflow_waiting_for_gate_approval",
        /// Work items of the stage, or of the run, are blocked.
        WorkflowStageBlocked = "workflow_stage_blocked",
        /// A task of it has asked a person for help.
        WorkflowStageOpenEscalation = "workflow_stage_open_escalation",
        /// Tasks of the run are open.
        WorkflowTasksNotReady = "workflow_tasks_not_ready",
        /// Work items of the run are open.
        WorkflowIncompleteStage = "workflow_incomplete_stage",
        /// Runs that this one launched are open.
        WorkflowChildrenNotReady = "workflow_children_not_ready",
        /// Tasks of the work item are open.
        WorkItemTasksNotReady = "work_item_tasks_not_ready",
        /// The work item is in a state from which this cannot be done.
        WorkItemNotReady = "work_item_not_ready",
        /// The stage is not one of the run: there is nothing to approve.
        ApprovalNotConfigured = "approval_not_configured",
    }

    /// What can be done next.
    NextAction {
        /// End the activation; what is waited for wakes the orchestrator.
        FinishActivation = "finish_activation",
        /// Look at a task.
        InspectTask = "inspect_task",
        /// Send a task back.
        ReworkTask = "rework_task",
        /// Give a task to somebody else, whoever holds it.
        ReassignTask = "reassign_task",
        /// Call a task off.
        CancelTask = "cancel_task",
        /// Complete a work item.
        CompleteWorkItem = "complete_work_item",
        /// Close a work item, and say what is missing.
        CloseWorkItemWithCallouts = "close_work_item_with_callouts",
        /// Open a work item again.
        ReopenWorkItem = "reopen_work_item",
        /// Go on to the next stage.
        AdvanceStage = "advance_stage",
        /// Ask a person to look at a stage.
        RequestGate = "request_gate",
        /// Complete the run.
        CompleteWorkflow = "complete_workflow",
        /// Close the run, and say what is missing.
        CloseWorkflowWithCallouts = "close_workflow_with_callouts",
    }

    /// What a suggestion is about.
    ActionTarget {
        /// A task.
        Task = "task",
        /// A work item.
        WorkItem = "work_item",
        /// A stage.
        Stage = "stage",
        /// The run.
        Workflow = "workflow",
        /// The activation.
        Activation = "activation",
    }
}

/// The answer to a change that an orchestrator asked for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Guided<T> {
    /// Whether it was made.
    pub mutation_outcome: MutationOutcome,
    /// What came of it.
    #[serde(default = "nothing", skip_serializing_if = "Option::is_none")]
    pub result: Option<T>,
    /// What has to happen first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_class: Option<RecoveryClass>,
    /// Whether it cannot be made as long as things are so.
    #[serde(default)]
    pub blocking: bool,
    /// Why it was not made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<NotYetReason>,
    /// The reason in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How things are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_snapshot: Option<StateSnapshot>,
    /// What can be done, the most promising first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suggested_next_actions: Vec<SuggestedAction>,
    /// What these are about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suggested_target_ids: Vec<Uuid>,
    /// Whether it can be closed all the same, with callouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closure_still_possible: Option<bool>,
}

fn nothing<T>() -> Option<T> {
    None
}

impl<T> Guided<T> {
    /// The change was made.
    pub fn applied(result: T) -> Self {
        Self {
            mutation_outcome: MutationOutcome::Applied,
            result: Some(result),
            recovery_class: None,
            blocking: false,
            reason_code: None,
            message: None,
            state_snapshot: None,
            suggested_next_actions: Vec::new(),
            suggested_target_ids: Vec::new(),
            closure_still_possible: None,
        }
    }
}

/// How the run is, when a change could not be made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StateSnapshot {
    /// The run.
    pub workflow_id: WorkflowId,
    /// The work item that it was about.
    pub work_item_id: Option<WorkItemId>,
    /// The task that it was about.
    pub task_id: Option<TaskId>,
    /// The first stage that has not ended.
    pub current_stage: Option<String>,
    /// Tasks that are open, 20 at most.
    pub open_task_ids: Vec<TaskId>,
    /// Work items that are open, 20 at most.
    pub open_work_item_ids: Vec<WorkItemId>,
    /// Stages whose gate keeps them from going on.
    pub gated_stages: Vec<String>,
}

/// Something that can be done next.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SuggestedAction {
    /// What.
    pub action_code: NextAction,
    /// With what kind of thing.
    pub target_type: ActionTarget,
    /// With which one: an id, or the name of a stage.
    pub target_id: String,
    /// Why it would help.
    pub why: String,
    /// Whether it is a matter of judgement.
    pub requires_orchestrator_judgment: bool,
}
