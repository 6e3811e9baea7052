//! Boards: where the work items of a run stand.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{GateStatus, StageStatus, WorkItem};

/// A column of a board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BoardColumn {
    /// Names the column.
    pub id: String,
    /// For people.
    pub label: String,
    /// What lies in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether what lies in it is blocked.
    #[serde(default)]
    pub is_blocked: bool,
    /// Whether what lies in it is done.
    #[serde(default)]
    pub is_terminal: bool,
}

/// How a stage is doing, for a board.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StageSummary {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub goal: String,
    /// How it is doing.
    pub status: StageStatus,
    /// Whether something of it is open.
    pub is_active: bool,
    /// How its gate is doing.
    pub gate_status: GateStatus,
    /// Its work items.
    pub work_item_count: i64,
    /// Those that are open.
    pub open_work_item_count: i64,
    /// Those that are done.
    pub completed_count: i64,
}

/// The board of a run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Board {
    /// Its columns, in their order.
    pub columns: Vec<BoardColumn>,
    /// Its work items, newest first, 1000 at most.
    pub work_items: Vec<WorkItem>,
    /// The stages in which something is open.
    pub active_stages: Vec<String>,
    /// Decisions that people have to make.
    pub awaiting_gate_count: i64,
    /// Its stages, in their order.
    pub stage_summary: Vec<StageSummary>,
}
