//! Work items: what a run is about, on its board.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::enums::words;
use crate::{
    ActivationId, ActivationState, InitialInputPacket, Json, JsonObject, Priority, TaskError,
    TaskId, TaskState, Timestamp, WhyReason, WorkItemId, WorkflowId, WorkflowState,
};

words! {
    /// Who made a work item.
    WorkItemMaker {
        /// An orchestrator.
        Orchestrator = "orchestrator",
        /// A program.
        Api = "api",
        /// A trigger.
        Webhook = "webhook",
        /// A person.
        Manual = "manual",
        /// A step of a graph.
        Graph = "graph",
    }

    /// How the branch of a work item is doing.
    BranchStatus {
        /// It is open.
        Active = "active",
        /// It has completed.
        Completed = "completed",
        /// It cannot go on.
        Blocked = "blocked",
        /// It was called off.
        Terminated = "terminated",
    }

    /// Whether a work item can go on.
    BlockedState {
        /// It cannot; `blocked_reason` says why.
        Blocked = "blocked",
    }

    /// Whether a task of a work item asks for help.
    EscalationStatus {
        /// It does.
        Open = "open",
    }

    /// How the calls for help of a work item are answered.
    EscalationAction {
        /// They are put aside: its tasks go on without an answer.
        Dismiss = "dismiss",
        /// Its tasks go on with the feedback as their instructions.
        UnblockSubject = "unblock_subject",
        /// The same, and the work item is opened again where it was blocked.
        ReopenSubject = "reopen_subject",
    }

    /// Why a run or a work item does not go on, or that it does.
    RunWhyReason {
        /// It goes on: something of it is held by a worker, or can be claimed.
        Running = "running",
        /// It was paused, and waits to be resumed.
        Paused = "paused",
        /// A person has to decide.
        WaitingForPerson = "waiting_for_person",
        /// All that is open of it waits: the tasks say for what.
        WaitingForTasks = "waiting_for_tasks",
        /// A step has failed, and stops what needs it.
        StepFailed = "step_failed",
        /// It waits for steps that have not ended.
        BlockedBy = "blocked_by",
        /// Nothing of it is open: somebody has to make work.
        NothingOpen = "nothing_open",
        /// It waits for runs that it has launched.
        WaitingForChildren = "waiting_for_children",
        /// Its orchestrator failed too often: a person is needed.
        OrchestratorFailed = "orchestrator_failed",
        /// Its orchestrator is about to be woken, or is when a pause is over.
        WaitingForOrchestrator = "waiting_for_orchestrator",
        /// It has ended.
        Final = "final",
    }
}

/// A work item of a run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkItem {
    /// Names the work item.
    pub id: WorkItemId,
    /// Its run.
    pub workflow_id: WorkflowId,
    /// The work item that it is a part of.
    pub parent_work_item_id: Option<WorkItemId>,
    /// The request that made it.
    pub request_id: Option<String>,
    /// The step of a graph that made it.
    pub step_id: Option<String>,
    /// What it is a variant of.
    pub branch_key: Option<String>,
    /// Its stage.
    pub stage_name: Option<String>,
    /// For people.
    pub title: String,
    /// What it is for.
    pub goal: Option<String>,
    /// When it is done.
    pub acceptance_criteria: Option<String>,
    /// Where it is on the board.
    pub column_id: String,
    /// The role that is responsible.
    pub owner_role: Option<String>,
    /// Who is expected to act next.
    pub next_expected_actor: Option<String>,
    /// What is expected of them.
    pub next_expected_action: Option<String>,
    /// Whether it can go on.
    pub blocked_state: Option<BlockedState>,
    /// Why it cannot.
    pub blocked_reason: Option<String>,
    /// Whether a task of it asks for help.
    pub escalation_status: Option<EscalationStatus>,
    /// How often it was gone through again.
    pub rework_count: i32,
    /// How urgent it is.
    pub priority: Priority,
    /// For people.
    pub notes: Option<String>,
    /// Who made it.
    pub created_by: WorkItemMaker,
    /// Kept as given.
    pub metadata: JsonObject,
    /// How its branch is doing.
    pub branch_status: BranchStatus,
    /// Its tasks.
    pub task_count: i64,
    /// Those of them that have not ended.
    pub open_task_count: i64,
    /// Its parts.
    pub children_count: i64,
    /// Those of its parts that have completed.
    pub children_completed: i64,
    /// Whether it has parts.
    pub is_milestone: bool,
    /// When pausing it was asked for.
    pub pause_requested_at: Option<Timestamp>,
    /// When calling it off was asked for.
    pub cancel_requested_at: Option<Timestamp>,
    /// When it was completed.
    pub completed_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Its parts, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(no_recursion)]
    pub children: Vec<WorkItem>,
}

/// Makes a work item.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWorkItem {
    /// For people.
    #[schema(min_length = 1, max_length = 500)]
    pub title: String,
    /// The work item that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_work_item_id: Option<WorkItemId>,
    /// What it is a variant of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 120)]
    pub branch_key: Option<String>,
    /// Its stage; the current one unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 120)]
    pub stage_name: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub goal: Option<String>,
    /// When it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub acceptance_criteria: Option<String>,
    /// Where it begins on the board; in the entry column unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column_id: Option<String>,
    /// The role that is responsible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 120)]
    pub owner_role: Option<String>,
    /// How urgent it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub notes: Option<String>,
    /// What it is given to work with; the orchestrator of the run is told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_input_packet: Option<InitialInputPacket>,
    /// Kept as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Changes a work item. Only what is given changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateWorkItem {
    /// The work item that it is a part of; null for none.
    #[serde(
        default,
        with = "crate::json::nullable",
        skip_serializing_if = "Option::is_none"
    )]
    pub parent_work_item_id: Option<Option<WorkItemId>>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 500)]
    pub title: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub goal: Option<String>,
    /// When it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub acceptance_criteria: Option<String>,
    /// Its stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 120)]
    pub stage_name: Option<String>,
    /// Where it is on the board; a terminal column completes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column_id: Option<String>,
    /// The role that is responsible; null for none.
    #[serde(
        default,
        with = "crate::json::nullable",
        skip_serializing_if = "Option::is_none"
    )]
    pub owner_role: Option<Option<String>>,
    /// How urgent it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// For people; null for none.
    #[serde(
        default,
        with = "crate::json::nullable",
        skip_serializing_if = "Option::is_none"
    )]
    pub notes: Option<Option<String>>,
    /// Merged member by member into what there is; null removes a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Answers the calls for help of a work item.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveWorkItemEscalation {
    /// How they are answered.
    pub action: EscalationAction,
    /// What to do; the next attempts find it in `context.escalation`. Needed, but to dismiss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub feedback: Option<String>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Work items in a column of the board.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkItemGroup {
    /// The column.
    pub column_id: String,
    /// What lies in it, newest first.
    pub work_items: Vec<WorkItem>,
}

/// Work items: a list, or by the columns of the board.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum WorkItems {
    /// By the columns of the board.
    Grouped(Vec<WorkItemGroup>),
    /// Newest first.
    List(Vec<WorkItem>),
}

// Not derived: what is untagged is read by way of a tree, in which JSON does not stay as it was sent.
impl<'de> Deserialize<'de> for WorkItems {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole = Json::deserialize(deserializer)?;
        match whole.parse() {
            Ok(groups) => Ok(Self::Grouped(groups)),
            Err(_) => whole.parse().map(Self::List).map_err(D::Error::custom),
        }
    }
}

/// Why a run or a work item does not go on, or that it does.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RunWhy {
    /// The run.
    pub workflow_id: WorkflowId,
    /// The work item, if it was asked about one.
    pub work_item_id: Option<WorkItemId>,
    /// Where the run is in its life.
    pub state: WorkflowState,
    /// The reason.
    pub reason: RunWhyReason,
    /// The reason in a sentence, with what to do about it.
    pub message: String,
    /// The steps that the reason is about, 20 at most.
    pub steps: Vec<StepInTheWay>,
    /// Open tasks, 20 at most, each with what stands in its way.
    pub tasks: Vec<TaskInTheWay>,
    /// What its orchestrator was woken for, where that is not done with.
    pub activation: Option<ActivationInTheWay>,
}

/// What an orchestrator was woken for, and how it does with it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ActivationInTheWay {
    /// The activation.
    pub activation_id: ActivationId,
    /// How it is doing.
    pub state: ActivationState,
    /// The task that the orchestrator was given for it.
    pub task_id: TaskId,
    /// How many such tasks there were.
    pub dispatch_attempt: i32,
    /// How many of them failed since a person last stepped in.
    pub failure_count: i32,
    /// When the next one comes.
    pub next_try_at: Option<Timestamp>,
    /// Why the latest one failed.
    pub error: Option<TaskError>,
}

/// A step that a reason is about.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StepInTheWay {
    /// Its name in the definition.
    pub step_id: String,
    /// Where it is in its life.
    pub state: crate::StepState,
    /// Why it failed, or what it asks.
    pub message: Option<String>,
    /// Its work item.
    pub work_item_id: Option<WorkItemId>,
}

/// A task that a reason is about.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskInTheWay {
    /// The task.
    pub task_id: TaskId,
    /// Its title.
    pub title: String,
    /// Where it is in its life.
    pub state: TaskState,
    /// What stands in its way.
    pub reason: WhyReason,
    /// The same in a sentence.
    pub message: String,
}
