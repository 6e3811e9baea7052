//! Runs as they are shown: with their parts, and as a board.

use protocol::{
    Board, BoardColumn, PlaybookId, PlaybookKind, StageSummary, TenantId, WorkflowDetail,
    WorkflowId, WorkflowStage,
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{engine, store};
use crate::activations::{self, ActivationFilter};
use crate::error::Error;
use crate::{playbooks, work_items};

/// Steps that a run is shown with.
const STEPS_SHOWN: i64 = 200;
/// Work items and tasks that a run is shown with.
const PARTS_SHOWN: i64 = 100;
/// Runs that it launched that a run is shown with.
const CHILDREN_SHOWN: i64 = 100;
/// Activations that a run is shown with.
const ACTIVATIONS_SHOWN: i64 = 20;
/// Work items that a board is shown with.
const BOARD_ITEMS_SHOWN: i64 = 1_000;

/// A run with its parts, as many of them as are shown at once.
pub(super) async fn detail(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkflowId,
    workspaces: Option<&[Uuid]>,
) -> Result<WorkflowDetail, Error> {
    let workflow = store::read(db, tenant, id, workspaces).await?;
    let workflow_stages = store::stages(db, tenant, id).await?;
    let mut steps = store::steps(db, tenant, id, STEPS_SHOWN + 1, 0).await?;
    let mut work_items = work_items::newest(db, tenant, id, PARTS_SHOWN + 1).await?;
    let mut tasks = store::tasks(db, tenant, id, PARTS_SHOWN + 1).await?;
    let shown = |count: i64| usize::try_from(count).unwrap_or(usize::MAX);
    let is_truncated = steps.len() > shown(STEPS_SHOWN)
        || work_items.len() > shown(PARTS_SHOWN)
        || tasks.len() > shown(PARTS_SHOWN);
    steps.truncate(shown(STEPS_SHOWN));
    work_items.truncate(shown(PARTS_SHOWN));
    tasks.truncate(shown(PARTS_SHOWN));
    let activations = match workflow.kind {
        PlaybookKind::Graph => Vec::new(),
        PlaybookKind::Orchestrated => {
            let newest = ActivationFilter {
                id: None,
                limit: ACTIVATIONS_SHOWN,
                offset: 0,
            };
            activations::list(db, tenant, id, newest).await?
        }
    };
    let parent = workflow.parent_workflow_id;
    let workflow_relations =
        store::relations(db, tenant, id, parent, workspaces, CHILDREN_SHOWN).await?;
    Ok(WorkflowDetail {
        workflow,
        workflow_stages,
        steps,
        work_items,
        tasks,
        activations,
        workflow_relations,
        is_truncated,
    })
}

/// The board of a run.
pub(super) async fn board(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkflowId,
    workspaces: Option<&[Uuid]>,
) -> Result<Board, Error> {
    let workflow = store::read(db, tenant, id, workspaces).await?;
    let definition = engine::definition(db, tenant, workflow.playbook_id).await?;
    let stages = store::stages(db, tenant, id).await?;
    let columns = definition.whole().board.columns.iter();
    Ok(Board {
        columns: columns
            .map(|column| BoardColumn {
                id: column.id.clone(),
                label: column.label.clone(),
                description: column.description.clone(),
                is_blocked: column.is_blocked,
                is_terminal: column.is_terminal,
            })
            .collect(),
        work_items: work_items::newest(db, tenant, id, BOARD_ITEMS_SHOWN).await?,
        active_stages: stages
            .iter()
            .filter(|stage| stage.is_active)
            .map(|stage| stage.name.clone())
            .collect(),
        awaiting_gate_count: workflow.work_item_summary.awaiting_gate_count,
        stage_summary: stages.into_iter().map(summary).collect(),
    })
}

fn summary(stage: WorkflowStage) -> StageSummary {
    StageSummary {
        name: stage.name,
        goal: stage.goal,
        status: stage.status,
        is_active: stage.is_active,
        gate_status: stage.gate_status,
        work_item_count: stage.total_work_item_count,
        open_work_item_count: stage.open_work_item_count,
        completed_count: stage.total_work_item_count - stage.open_work_item_count,
    }
}

/// The board that runs of a version have.
///
/// # Errors
/// Those of the database.
pub(crate) async fn board_of(
    db: &mut PgConnection,
    tenant: TenantId,
    playbook: PlaybookId,
) -> Result<playbooks::Board, Error> {
    let definition = engine::definition(db, tenant, playbook).await?;
    Ok(definition.whole().board.clone())
}

/// What the definition of a version says to its orchestrator.
///
/// # Errors
/// Those of the database.
pub(crate) async fn orchestration_of(
    db: &mut PgConnection,
    tenant: TenantId,
    playbook: PlaybookId,
) -> Result<playbooks::Orchestration, Error> {
    let definition = engine::definition(db, tenant, playbook).await?;
    Ok(definition
        .whole()
        .orchestration()
        .cloned()
        .unwrap_or_default())
}

/// The column in which the work items of runs of a version are worked on.
///
/// # Errors
/// Those of the database.
pub(crate) async fn active_column_of(
    db: &mut PgConnection,
    tenant: TenantId,
    playbook: PlaybookId,
) -> Result<String, Error> {
    let definition = engine::definition(db, tenant, playbook).await?;
    Ok(definition.active_column().to_owned())
}
