//! The projections of runs, stages and steps, as every answer shows them.

use std::collections::BTreeMap;

use protocol::{
    AttemptKind, GateStatus, Json, JsonObject, StageStatus, StepState, TaskError, TaskState,
    TaskSummary, WorkItemSummary, Workflow, WorkflowStage, WorkflowStep,
};
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::Error;

/// How large the context of a run may become.
const CONTEXT_BYTES_MAX: i64 = 5_242_880;

/// A row of the projection of runs.
pub(super) struct Row {
    pub(super) tenant_id: Uuid,
    pub(super) id: Uuid,
    pub(super) workspace_id: Uuid,
    pub(super) workspace_name: Option<String>,
    pub(super) playbook_id: Uuid,
    pub(super) playbook_name: Option<String>,
    pub(super) playbook_version: i32,
    pub(super) kind: String,
    pub(super) lifecycle: String,
    pub(super) name: String,
    pub(super) request_id: Option<String>,
    pub(super) state: String,
    pub(super) pause_requested_at: Option<DateTime<Utc>>,
    pub(super) cancel_requested_at: Option<DateTime<Utc>>,
    pub(super) parameters: String,
    pub(super) context: String,
    pub(super) metadata: String,
    pub(super) config_overrides: String,
    pub(super) instruction_config: String,
    pub(super) token_budget: Option<i64>,
    pub(super) cost_cap_usd: Option<f64>,
    pub(super) max_duration_minutes: Option<i32>,
    pub(super) root_workflow_id: Uuid,
    pub(super) parent_workflow_id: Option<Uuid>,
    pub(super) previous_attempt_workflow_id: Option<Uuid>,
    pub(super) attempt_number: i32,
    pub(super) redrive_reason: Option<String>,
    pub(super) output: Option<String>,
    pub(super) error: Option<String>,
    pub(super) started_at: Option<DateTime<Utc>>,
    pub(super) completed_at: Option<DateTime<Utc>>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
    /// State and count, as JSON: counted by the statement, so that a page is one round trip.
    pub(super) task_counts: Option<String>,
    pub(super) step_counts: Option<String>,
    pub(super) items_total: i64,
    pub(super) items_open: i64,
    pub(super) items_blocked: i64,
    pub(super) items_completed: i64,
    pub(super) gates: i64,
    pub(super) current_stage: Option<String>,
    pub(super) active_stages: Option<Vec<String>>,
}

fn word<W: std::str::FromStr<Err = protocol::UnknownWord>>(text: &str) -> Result<W, Error> {
    text.parse()
        .map_err(|error: protocol::UnknownWord| anyhow::Error::from(error).into())
}

fn error_of(text: Option<String>) -> Result<Option<TaskError>, Error> {
    Ok(text
        .map(|text| serde_json::from_str::<TaskError>(&text))
        .transpose()?)
}

fn counts<W>(text: Option<String>) -> Result<BTreeMap<W, i64>, Error>
where
    W: std::str::FromStr<Err = protocol::UnknownWord> + Ord,
{
    let Some(text) = text else {
        return Ok(BTreeMap::new());
    };
    let counts: BTreeMap<String, i64> = serde_json::from_str(&text)?;
    counts
        .into_iter()
        .map(|(state, count)| Ok((word(&state)?, count)))
        .collect()
}

impl TryFrom<Row> for Workflow {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let active = row.active_stages.unwrap_or_default();
        let context_size_bytes = i64::try_from(row.context.len()).unwrap_or(i64::MAX);
        Ok(Self {
            id: row.id.into(),
            tenant_id: row.tenant_id.into(),
            workspace_id: row.workspace_id.into(),
            workspace_name: row.workspace_name,
            playbook_id: row.playbook_id.into(),
            playbook_name: row.playbook_name,
            playbook_version: row.playbook_version,
            kind: word(&row.kind)?,
            lifecycle: word(&row.lifecycle)?,
            name: row.name,
            state: word(&row.state)?,
            current_stage: row.current_stage,
            parameters: JsonObject::from_text(row.parameters)?,
            context: JsonObject::from_text(row.context)?,
            context_size_bytes,
            context_max_bytes: CONTEXT_BYTES_MAX,
            config_overrides: JsonObject::from_text(row.config_overrides)?,
            instruction_config: JsonObject::from_text(row.instruction_config)?,
            token_budget: row.token_budget,
            cost_cap_usd: row.cost_cap_usd.map(|usd| usd.to_string()),
            max_duration_minutes: row.max_duration_minutes,
            metadata: JsonObject::from_text(row.metadata)?,
            request_id: row.request_id,
            root_workflow_id: row.root_workflow_id.into(),
            parent_workflow_id: row.parent_workflow_id.map(Into::into),
            previous_attempt_workflow_id: row.previous_attempt_workflow_id.map(Into::into),
            attempt_number: row.attempt_number,
            attempt_kind: match row.previous_attempt_workflow_id {
                Some(_) => AttemptKind::Redrive,
                None => AttemptKind::Initial,
            },
            redrive_reason: row.redrive_reason,
            output: row.output.map(Json::from_text).transpose()?,
            error: error_of(row.error)?,
            task_counts: counts::<TaskState>(row.task_counts)?,
            step_counts: counts::<StepState>(row.step_counts)?,
            work_item_summary: WorkItemSummary {
                total_work_items: row.items_total,
                open_work_item_count: row.items_open,
                blocked_work_item_count: row.items_blocked,
                completed_work_item_count: row.items_completed,
                active_stage_count: i64::try_from(active.len()).unwrap_or(i64::MAX),
                awaiting_gate_count: row.gates,
                active_stage_names: active,
            },
            started_at: row.started_at.map(Into::into),
            completed_at: row.completed_at.map(Into::into),
            pause_requested_at: row.pause_requested_at.map(Into::into),
            cancel_requested_at: row.cancel_requested_at.map(Into::into),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
    }
}

/// A stage with what its status follows from.
pub(super) struct StageRow {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) position: i32,
    pub(super) goal: String,
    pub(super) guidance: Option<String>,
    pub(super) iteration_count: i32,
    pub(super) summary: Option<String>,
    pub(super) started_at: Option<DateTime<Utc>>,
    pub(super) completed_at: Option<DateTime<Utc>>,
    pub(super) items_total: i64,
    pub(super) items_open: i64,
    pub(super) items_blocked: i64,
    pub(super) steps_total: i64,
    pub(super) steps_left: i64,
    pub(super) steps_open: i64,
    pub(super) steps_asking: i64,
    pub(super) steps_failed: i64,
    /// The status of the request that a person look at it.
    pub(super) gate: Option<String>,
}

impl StageRow {
    /// How its gate is doing: that of an orchestrator, or the question of a step.
    fn gate_status(&self) -> GateStatus {
        let asked = self.gate.as_deref().and_then(|gate| gate.parse().ok());
        match asked {
            Some(status) => status,
            None if self.steps_asking > 0 && self.steps_asking == self.steps_open => {
                GateStatus::AwaitingApproval
            }
            None => GateStatus::NotRequested,
        }
    }

    fn status(&self) -> StageStatus {
        let has_begun = self.started_at.is_some() || self.items_total > 0;
        match self.gate_status() {
            GateStatus::AwaitingApproval => return StageStatus::AwaitingGate,
            GateStatus::Rejected | GateStatus::Blocked if self.completed_at.is_none() => {
                return StageStatus::Blocked;
            }
            GateStatus::Rejected
            | GateStatus::Blocked
            | GateStatus::NotRequested
            | GateStatus::Approved
            | GateStatus::ChangesRequested => {}
        }
        if self.steps_open > 0 || self.items_open > self.items_blocked {
            StageStatus::Active
        } else if self.steps_failed > 0 || self.items_blocked > 0 {
            StageStatus::Blocked
        } else if self.steps_left == 0
            && (self.completed_at.is_some() || self.steps_total + self.items_total > 0)
        {
            // Of a stage without steps its orchestrator tells, or the work items.
            StageStatus::Completed
        } else if has_begun {
            StageStatus::Active
        } else {
            StageStatus::Pending
        }
    }
}

impl From<StageRow> for WorkflowStage {
    fn from(row: StageRow) -> Self {
        let (status, gate_status) = (row.status(), row.gate_status());
        Self {
            id: row.id,
            position: row.position,
            goal: row.goal,
            guidance: row.guidance,
            status,
            is_active: matches!(status, StageStatus::Active | StageStatus::AwaitingGate),
            gate_status,
            iteration_count: row.iteration_count,
            summary: row.summary,
            started_at: row.started_at.map(Into::into),
            completed_at: (status == StageStatus::Completed)
                .then(|| row.completed_at.map(Into::into))
                .flatten(),
            open_work_item_count: row.items_open,
            total_work_item_count: row.items_total,
            name: row.name,
        }
    }
}

/// A step as it is shown.
pub(super) struct StepRow {
    pub(super) step_id: String,
    pub(super) kind: String,
    pub(super) stage_name: Option<String>,
    pub(super) state: String,
    pub(super) unmet: i32,
    pub(super) members: i32,
    pub(super) open: i32,
    pub(super) done: i32,
    pub(super) lost: i32,
    pub(super) work_item_id: Option<Uuid>,
    pub(super) task_id: Option<Uuid>,
    pub(super) error: Option<String>,
    pub(super) question: Option<String>,
    pub(super) expires_at: Option<DateTime<Utc>>,
    pub(super) started_at: Option<DateTime<Utc>>,
    pub(super) completed_at: Option<DateTime<Utc>>,
}

impl TryFrom<StepRow> for WorkflowStep {
    type Error = Error;

    fn try_from(row: StepRow) -> Result<Self, Error> {
        Ok(Self {
            step_id: row.step_id,
            kind: row.kind,
            stage_name: row.stage_name,
            state: word(&row.state)?,
            unmet_needs: row.unmet,
            tasks_total: row.members,
            tasks_open: row.open,
            tasks_completed: row.done,
            tasks_failed: row.lost,
            work_item_id: row.work_item_id.map(Into::into),
            task_id: row.task_id.map(Into::into),
            error: error_of(row.error)?,
            question: row.question.map(JsonObject::from_text).transpose()?,
            expires_at: row.expires_at.map(Into::into),
            started_at: row.started_at.map(Into::into),
            completed_at: row.completed_at.map(Into::into),
        })
    }
}

/// A task as a run shows it.
pub(super) struct TaskRow {
    pub(super) id: Uuid,
    pub(super) work_item_id: Option<Uuid>,
    pub(super) stage_name: Option<String>,
    pub(super) title: String,
    pub(super) role: Option<String>,
    pub(super) state: String,
    pub(super) attempt: i32,
    pub(super) retry_count: i32,
    pub(super) state_changed_at: DateTime<Utc>,
    pub(super) created_at: DateTime<Utc>,
}

impl TryFrom<TaskRow> for TaskSummary {
    type Error = Error;

    fn try_from(row: TaskRow) -> Result<Self, Error> {
        Ok(Self {
            id: row.id.into(),
            work_item_id: row.work_item_id.map(Into::into),
            stage_name: row.stage_name,
            title: row.title,
            role: row.role,
            state: word(&row.state)?,
            attempt: row.attempt,
            retry_count: row.retry_count,
            state_changed_at: row.state_changed_at.into(),
            created_at: row.created_at.into(),
        })
    }
}
