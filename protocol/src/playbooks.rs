//! Playbooks: what a run does, in versions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::enums::words;
use crate::{Json, JsonObject, PlaybookId, TenantId, Timestamp};

words! {
    /// Who decides what happens next in a run.
    PlaybookKind {
        /// An orchestrator, or people: they make the work items and tasks.
        Orchestrated = "orchestrated",
        /// The platform, which follows the steps of the definition.
        Graph = "graph",
    }

    /// Whether a run ends by itself.
    Lifecycle {
        /// It has ordered stages, and an end.
        Planned = "planned",
        /// It is a board that goes on.
        Ongoing = "ongoing",
    }

    /// What a step of a graph does.
    StepKind {
        /// One task.
        Task = "task",
        /// A person's decision.
        Approval = "approval",
        /// A task for every item of a list.
        ForEach = "for_each",
    }

    /// What a failure means for what comes after.
    OnStepFailure {
        /// It does not run. The default.
        Fail = "fail",
        /// It runs all the same.
        Continue = "continue",
    }

    /// What becomes of an approval that nobody decided in time.
    OnExpiry {
        /// It counts as rejected. The default.
        Reject = "reject",
        /// It counts as approved.
        Approve = "approve",
    }

    /// What kind of mistake a definition has.
    MistakeCode {
        /// There is no such field here.
        UnknownField = "unknown_field",
        /// A field that must be there is not.
        Missing = "missing",
        /// The value is of another type than is wanted.
        WrongType = "wrong_type",
        /// The value is outside its limits.
        OutOfRange = "out_of_range",
        /// The word is not one of those that are possible.
        UnknownWord = "unknown_word",
        /// The same name stands twice.
        Duplicate = "duplicate",
        /// A name leads nowhere.
        UnknownReference = "unknown_reference",
        /// Steps wait for one another.
        Cycle = "cycle",
        /// A step can never run.
        Unreachable = "unreachable",
        /// A template cannot be read.
        BadTemplate = "bad_template",
        /// A condition cannot be read.
        BadCondition = "bad_condition",
        /// A JSON Schema is none.
        BadSchema = "bad_schema",
        /// Two parts contradict each other.
        Contradiction = "contradiction",
    }
}

/// A mistake in a definition: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mistake {
    /// Where it is, such as `definition.steps.fetch.input.url`.
    pub path: String,
    /// What kind of mistake it is.
    pub code: MistakeCode,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

words! {
    /// Whether a version of a playbook can still be changed, and used.
    PlaybookStatus {
        /// It may be edited, and cannot be launched.
        Draft = "draft",
        /// It never changes again.
        Published = "published",
        /// It was put aside.
        Archived = "archived",
    }
}

/// A version of a playbook.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Playbook {
    /// Names this version.
    pub id: PlaybookId,
    /// Whose playbook it is.
    pub tenant_id: TenantId,
    /// For people.
    pub name: String,
    /// What all versions of the playbook have in common.
    pub slug: String,
    /// For people, longer.
    pub description: Option<String>,
    /// What a run is to achieve.
    pub outcome: String,
    /// Whether a run ends by itself.
    pub lifecycle: Lifecycle,
    /// Who decides what happens next in a run.
    pub kind: PlaybookKind,
    /// The number of the version.
    pub version: i32,
    /// Whether it can still be changed, and used.
    pub status: PlaybookStatus,
    /// Whether runs are launched from this version: one version of a playbook at most.
    pub is_active: bool,
    /// What is different, in the words of whoever published it.
    pub changelog: Option<String>,
    /// What it says.
    pub definition: JsonObject,
    /// When it was published.
    pub published_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Makes a playbook.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePlaybook {
    /// For people.
    #[schema(min_length = 1, max_length = 255)]
    pub name: String,
    /// What its versions will have in common; made from the name unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 120)]
    pub slug: Option<String>,
    /// For people, longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub description: Option<String>,
    /// What a run is to achieve.
    #[schema(min_length = 1, max_length = 4000)]
    pub outcome: String,
    /// Whether a run ends by itself; `planned` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// What it says.
    pub definition: JsonObject,
    /// Leaves it a draft: it can be edited, and not be launched, until it is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<bool>,
    /// What is different, when it is published at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub changelog: Option<String>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Changes a playbook: a draft is edited in place, of anything else the next version is made.
/// Only what is given changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdatePlaybook {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub name: Option<String>,
    /// The slug it has; it cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 120)]
    pub slug: Option<String>,
    /// For people, longer. An empty text takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub description: Option<String>,
    /// What a run is to achieve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 4000)]
    pub outcome: Option<String>,
    /// Whether a run ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// What it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<JsonObject>,
    /// Makes the next version a draft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<bool>,
    /// What is different.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub changelog: Option<String>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Publishes a draft: from then on it never changes, and runs are launched from it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishPlaybook {
    /// What is different.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub changelog: Option<String>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Puts a playbook aside, or brings one version of it back.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchivePlaybook {
    /// True: no version of it can be launched. False: this version can be launched again.
    pub archived: bool,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// A definition to look at; nothing is stored.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ValidatePlaybook {
    /// What it says.
    pub definition: JsonObject,
    /// Whether a run ends by itself; `planned` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// Accepted like everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Whether a definition could be published.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PlaybookValidation {
    /// Whether it could.
    pub valid: bool,
    /// Every mistake there is, 100 at most.
    pub mistakes: Vec<Mistake>,
}

words! {
    /// What became of a part of a definition.
    ChangeKind {
        /// It is there in the second version alone.
        Added = "added",
        /// It is there in the first version alone.
        Removed = "removed",
        /// It is there in both, and not the same.
        Changed = "changed",
    }
}

/// What is different between two versions of a playbook.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PlaybookComparison {
    /// The first version.
    pub from: PlaybookVersion,
    /// The second version.
    pub to: PlaybookVersion,
    /// Every difference, in the order of the paths.
    pub changes: Vec<PlaybookChange>,
    /// Whether there are more differences than are listed.
    pub is_truncated: bool,
}

/// Which version of a playbook.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PlaybookVersion {
    /// Names the version.
    pub id: PlaybookId,
    /// What all versions of the playbook have in common.
    pub slug: String,
    /// The number of the version.
    pub version: i32,
    /// Whether it can still be changed, and used.
    pub status: PlaybookStatus,
}

/// A difference between two versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlaybookChange {
    /// Where, such as `definition.steps.fetch.input.url`. Stages, columns and parameters are named by what
    /// they are called, not by their place.
    pub path: String,
    /// What became of it.
    pub change: ChangeKind,
    /// What it was.
    #[schema(value_type = Json, required = false)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Json>,
    /// What it is.
    #[schema(value_type = Json, required = false)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Json>,
}

/// What hangs on a playbook.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PlaybookDeleteImpact {
    /// On this version.
    pub revision: RunCounts,
    /// On all versions together.
    pub family: FamilyCounts,
}

/// A playbook that was deleted with all its versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedPlaybookFamily {
    /// Its versions.
    pub deleted_revision_count: i64,
    /// Their runs.
    pub deleted_workflow_count: i64,
    /// The tasks of these.
    pub deleted_task_count: i64,
}

/// How many runs there are, and what they consist of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunCounts {
    /// Runs.
    pub workflows: i64,
    /// Runs that have not ended.
    pub active_workflows: i64,
    /// Tasks.
    pub tasks: i64,
    /// Tasks that have not ended.
    pub active_tasks: i64,
    /// Work items.
    pub work_items: i64,
}

/// What hangs on all versions of a playbook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FamilyCounts {
    /// Versions.
    pub revisions: i64,
    /// What hangs on them.
    #[serde(flatten)]
    pub runs: RunCounts,
}
