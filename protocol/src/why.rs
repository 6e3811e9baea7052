//! Why a task does not run: a closed set of reasons.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::enums::words;
use crate::{AgentId, TaskId, TaskState, Timestamp, WorkerId};

words! {
    /// Why a task does not run now.
    WhyReason {
        /// Its time has not come: it is delayed, or waits out the pause before a retry.
        NotDue = "not_due",
        /// Its run is paused.
        Paused = "paused",
        /// As many tasks of its run are under way as its playbook allows.
        LimitFull = "limit_full",
        /// It waits for other tasks.
        BlockedBy = "blocked_by",
        /// No agent that is alive serves its routing tag.
        NoWorkerWithTag = "no_worker_with_tag",
        /// Every worker that serves its tag is draining.
        AllDraining = "all_draining",
        /// Every agent that could take it holds as many leases as it may.
        HolderFull = "holder_full",
        /// Agents that could take it are free: it is claimed with their next claim.
        WaitingForClaim = "waiting_for_claim",
        /// An attempt holds it.
        LeasedUntil = "leased_until",
        /// A person has to decide.
        WaitingForPerson = "waiting_for_person",
        /// It has ended.
        Final = "final",
    }
}

/// Why a task does not run, or that it does.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// The task.
    pub task_id: TaskId,
    /// Where it is in its life.
    pub state: TaskState,
    /// The reason.
    pub reason: WhyReason,
    /// The reason in a sentence, with what to do about it.
    pub message: String,
    /// When the reason ends by itself: due time or end of the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The tasks it waits for, 20 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_by: Vec<Blocker>,
    /// The routing tag it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_tag: Option<String>,
    /// The tag in use that looks most like it: probably a typing mistake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest_tag: Option<String>,
    /// The agent that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// The worker of that agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// The attempt that holds it, or the last one.
    pub attempt: i32,
}

/// A task that another one waits for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Blocker {
    /// The task.
    pub task_id: TaskId,
    /// Its title.
    pub title: String,
    /// Where it is in its life.
    pub state: TaskState,
}
