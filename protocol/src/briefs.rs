//! Operator briefs and updates: what agents tell people about their work.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::enums::words;
use crate::{JsonObject, LiveVisibilityMode, TaskId, Timestamp, WorkItemId, WorkflowId};

words! {
    /// What a brief is about.
    BriefScope {
        /// What its author delivers.
        DeliverableContext = "deliverable_context",
        /// How its author leaves a work item.
        WorkItemHandoff = "work_item_handoff",
        /// How the run is doing.
        WorkflowTimeline = "workflow_timeline",
    }

    /// Who tells.
    BriefSource {
        /// The orchestrator of the run.
        Orchestrator = "orchestrator",
        /// Whoever works on another task.
        Specialist = "specialist",
    }

    /// Whether a deliverable is finished.
    DeliveryStage {
        /// It is being made.
        InProgress = "in_progress",
        /// It is what it is to be.
        Final = "final",
    }

    /// How far a deliverable has come.
    DeliverableState {
        /// Nobody has looked at it.
        Draft = "draft",
        /// Somebody looks at it.
        UnderReview = "under_review",
        /// It was found good.
        Approved = "approved",
        /// Another one has taken its place.
        Superseded = "superseded",
        /// It is what it is to be.
        Final = "final",
    }
}

/// Tells people what came of a piece of work.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordBrief {
    /// What its author works on: a task of the run, or the activation of its orchestrator. This or `task_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_context_id: Option<Uuid>,
    /// The task that its author works on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// The attempt under which its author holds that task. A holder that registered with a `protocol_version`
    /// must name it as long as the task is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// The run of the path, to be sure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<WorkflowId>,
    /// The work item that it is about; that of the task unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_item_id: Option<WorkItemId>,
    /// What kind of brief it is; `milestone` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 120)]
    pub brief_kind: Option<String>,
    /// What it is about. Unless given: what its author delivers, where it links deliverables; else a work item,
    /// where it has one; else the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brief_scope: Option<BriefScope>,
    /// Who tells, to be sure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_kind: Option<BriefSource>,
    /// In which role; that of the task unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 120)]
    pub source_role_name: Option<String>,
    /// How things are; as in the details unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 120)]
    pub status_kind: Option<String>,
    /// What is told.
    pub payload: BriefPayload,
    /// Artifacts that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub related_artifact_ids: Vec<Uuid>,
    /// What people did that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub related_intervention_ids: Vec<Uuid>,
    /// The brief of the run that this one adds to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical_workflow_brief_id: Option<Uuid>,
    /// How often its author has asked a model so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub llm_turn_count: Option<i32>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What a brief tells.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BriefPayload {
    /// For those who have no time.
    pub short_brief: ShortBrief,
    /// For those who have.
    pub detailed_brief_json: DetailedBrief,
    /// What it is about, as its author names it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub linked_target_ids: Vec<String>,
    /// What its author delivers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 50)]
    pub linked_deliverables: Vec<LinkedDeliverable>,
}

/// A brief in a line.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShortBrief {
    /// The line.
    #[schema(min_length = 1, max_length = 4000)]
    pub headline: String,
    /// How things are, in a word or two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub status_label: Option<String>,
    /// What has changed, in a word or two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub delta_label: Option<String>,
    /// What comes next, in a word or two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub next_action_label: Option<String>,
}

/// A brief at length.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DetailedBrief {
    /// What it comes to.
    #[schema(min_length = 1, max_length = 4000)]
    pub headline: String,
    /// How things are, such as `in_progress`, `handoff`, `completed`.
    #[schema(min_length = 1, max_length = 120)]
    pub status_kind: String,
    /// The same at some length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 8000)]
    pub summary: Option<String>,
    /// Further parts, such as `decisions_made`, `open_questions`, `next_steps`: kept as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sections: Option<JsonObject>,
}

/// Something that is delivered: described, or, in short, by a `label` and a `path`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkedDeliverable {
    /// In short: what it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500)]
    pub label: Option<String>,
    /// In short: where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2000)]
    pub path: Option<String>,
    /// What kind of thing it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 120)]
    pub descriptor_kind: Option<String>,
    /// Whether it is finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_stage: Option<DeliveryStage>,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500)]
    pub title: Option<String>,
    /// How far it has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<DeliverableState>,
    /// What it is, in short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub summary_brief: Option<String>,
    /// How it can be looked at: kept as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview_capabilities: Option<JsonObject>,
    /// Where it is: kept as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_target: Option<JsonObject>,
    /// Where else it is: kept as given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 50)]
    pub secondary_targets: Vec<JsonObject>,
    /// How it begins: kept as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_preview: Option<JsonObject>,
}

/// What a brief was recorded as.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BriefRecorded {
    /// Names the brief.
    pub record_id: Uuid,
    /// Its place among the briefs of its run, from 1.
    pub sequence_number: i64,
    /// Whether an earlier request with this `request_id` had recorded it.
    pub deduped: bool,
    /// The brief.
    pub record: OperatorBrief,
}

/// What an agent told people about a piece of work.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OperatorBrief {
    /// Names it.
    pub id: Uuid,
    /// Its run.
    pub workflow_id: WorkflowId,
    /// Its place among the briefs of its run, from 1.
    pub sequence_number: i64,
    /// The request that recorded it.
    pub request_id: Option<String>,
    /// What its author worked on: a task, or an activation.
    pub execution_context_id: Uuid,
    /// The task that its author worked on.
    pub task_id: TaskId,
    /// The work item that it is about.
    pub work_item_id: Option<WorkItemId>,
    /// What kind of brief it is.
    pub brief_kind: String,
    /// What it is about.
    pub brief_scope: BriefScope,
    /// Who tells.
    pub source_kind: BriefSource,
    /// In which role.
    pub source_role_name: Option<String>,
    /// How things are.
    pub status_kind: String,
    /// For those who have no time.
    pub short_brief: ShortBrief,
    /// For those who have.
    pub detailed_brief_json: DetailedBrief,
    /// What it is about, as its author named it.
    pub linked_target_ids: Vec<String>,
    /// What its author delivers.
    pub linked_deliverables: Vec<LinkedDeliverable>,
    /// Artifacts that it is about.
    pub related_artifact_ids: Vec<Uuid>,
    /// What people did that it is about.
    pub related_intervention_ids: Vec<Uuid>,
    /// The brief of the run that it adds to.
    pub canonical_workflow_brief_id: Option<Uuid>,
    /// How often its author had asked a model.
    pub llm_turn_count: Option<i32>,
    /// What kind of caller recorded it: a scope.
    pub created_by_type: String,
    /// The agent, worker or key that recorded it.
    pub created_by_id: Uuid,
    /// When it was recorded.
    pub created_at: Timestamp,
}

/// Tells people who look on what an agent is doing.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordUpdate {
    /// What its author works on: a task of the run, or the activation of its orchestrator. This or `task_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_context_id: Option<Uuid>,
    /// The task that its author works on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// The attempt under which its author holds that task. A holder that registered with a `protocol_version`
    /// must name it as long as the task is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// The run of the path, to be sure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<WorkflowId>,
    /// The work item that it is about; that of the task unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_item_id: Option<WorkItemId>,
    /// Who tells, to be sure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_kind: Option<BriefSource>,
    /// In which role; that of the task unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 120)]
    pub source_role_name: Option<String>,
    /// What is told.
    pub payload: UpdatePayload,
    /// Which runs show it: `standard` all of them, `enhanced` those that show everything. Unless given, updates
    /// of the kind `turn_update` are `enhanced`, and others `standard`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility_mode: Option<LiveVisibilityMode>,
    /// How often its author has asked a model so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub llm_turn_count: Option<i32>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What an update tells.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdatePayload {
    /// What is going on.
    #[schema(min_length = 1, max_length = 4000)]
    pub headline: String,
    /// What kind of update it is; `turn_update` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 120)]
    pub update_kind: Option<String>,
    /// The same at some length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 8000)]
    pub summary: Option<String>,
    /// What it is about, as its author names it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub linked_target_ids: Vec<String>,
    /// The brief that it became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_brief_id: Option<Uuid>,
}

/// What an update was recorded as.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UpdateRecorded {
    /// Names the update.
    pub record_id: Uuid,
    /// Its place among the updates of its run, from 1.
    pub sequence_number: i64,
    /// Whether an earlier request with this `request_id` had recorded it.
    pub deduped: bool,
    /// The update.
    pub record: OperatorUpdate,
}

/// What an agent told people about what it was doing.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OperatorUpdate {
    /// Names it.
    pub id: Uuid,
    /// Its run.
    pub workflow_id: WorkflowId,
    /// Its place among the updates of its run, from 1.
    pub sequence_number: i64,
    /// The request that recorded it.
    pub request_id: Option<String>,
    /// What its author worked on: a task, or an activation.
    pub execution_context_id: Uuid,
    /// The task that its author worked on.
    pub task_id: TaskId,
    /// The work item that it is about.
    pub work_item_id: Option<WorkItemId>,
    /// What kind of update it is.
    pub update_kind: String,
    /// Who tells.
    pub source_kind: BriefSource,
    /// In which role.
    pub source_role_name: Option<String>,
    /// Which runs show it.
    pub visibility_mode: LiveVisibilityMode,
    /// What is going on.
    pub headline: String,
    /// The same at some length.
    pub summary: Option<String>,
    /// What it is about, as its author named it.
    pub linked_target_ids: Vec<String>,
    /// The brief that it became.
    pub promoted_brief_id: Option<Uuid>,
    /// How often its author had asked a model.
    pub llm_turn_count: Option<i32>,
    /// What kind of caller recorded it: a scope.
    pub created_by_type: String,
    /// The agent, worker or key that recorded it.
    pub created_by_id: Uuid,
    /// When it was recorded.
    pub created_at: Timestamp,
}
