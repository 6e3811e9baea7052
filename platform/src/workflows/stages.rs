//! Going from stage to stage, and ending a run, at the word of its orchestrator.

use protocol::{
    AdvanceStage, AdvancedStage, CompleteWorkflow, CompletionCallouts, ErrorCode, GateStatus,
    NotYetReason, StageStatus, TenantId, Workflow, WorkflowId, WorkflowStage,
};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::launch::tell;
use super::{engine, store};
use crate::error::{Error, Refused};
use crate::http::{Write, check_length};
use crate::{queue, work_items};

/// Things that a run delivers at most.
const ARTIFACTS_MAX: usize = 100;

/// What of a run, or of one of its stages, is still to be done.
struct Left {
    stages: Vec<WorkflowStage>,
    open: store::Open,
}

/// Ends the current stage of a planned run, and begins the next. What is open on its board is completed.
///
/// # Errors
/// 404; 409 with the reason why not yet.
pub(crate) async fn advance_stage(
    write: &mut Write,
    run: WorkflowId,
    stage: &str,
    wanted: AdvanceStage,
) -> Result<AdvancedStage, Error> {
    if let Some(summary) = &wanted.summary {
        check_length("summary", summary, 0..=4000)?;
    }
    let tenant = write.caller().tenant();
    must_be_planned(write, run).await?;
    let Left { stages, open } = left(write.conn(), tenant, run, Some(stage)).await?;
    let at = position(&stages, stage)?;
    let current = stages.iter().position(|stage| stage.completed_at.is_none());
    if current != Some(at) {
        let now = current.map_or("none: all have ended", |at| &stages[at].name);
        let message = format!("stage {stage:?} is not the current one, which is {now}");
        return Err(not_yet(NotYetReason::StageNotCurrent, message));
    }
    let Some(next) = stages.get(at + 1) else {
        let message = format!("stage {stage:?} is the last one: complete the run");
        return Err(not_yet(
            NotYetReason::FinalStageUseCompleteWorkflow,
            message,
        ));
    };
    if let Some(named) = &wanted.to_stage_name
        && *named != next.name
    {
        let message = format!("stage {:?} follows {stage:?}, not {named:?}", next.name);
        return Err(not_yet(NotYetReason::StageWrongSuccessor, message));
    }
    let gate = stages[at].gate_status;
    if !matches!(gate, GateStatus::NotRequested | GateStatus::Approved) {
        let message = format!("the gate of stage {stage:?} is {gate}");
        return Err(not_yet(NotYetReason::StageWaitingForGateApproval, message));
    }
    must_be_settled(&open, &format!("stage {stage:?}"))?;
    if open.blocked > 0 {
        let message = format!("{} work items of stage {stage:?} are blocked", open.blocked);
        return Err(not_yet(NotYetReason::WorkflowStageBlocked, message));
    }
    let next = next.name.clone();
    let done = done_column(write, run).await?;
    work_items::close_open(write.conn(), tenant, run, Some(stage), done.as_deref()).await?;
    let summary = wanted.summary.as_deref();
    store::end_stages_by_word(write.conn(), tenant, run, Some(stage), summary).await?;
    store::begin_stage(write.conn(), tenant, run, &next).await?;
    let data = json!({ "stage_name": stage, "summary": summary });
    tell(write, run, "stage.completed", data).await?;
    tell(write, run, "stage.started", json!({ "stage_name": next })).await?;
    engine::derive(write.tx(), tenant, run).await?;
    queue::settle(write.tx()).await?;
    let mut stages = store::stages(write.conn(), tenant, run).await?;
    let next_stage = stages.swap_remove(at + 1);
    Ok(AdvancedStage {
        completed_stage: stages.swap_remove(at),
        next_stage,
    })
}

/// Ends a planned run well. With `truthfully`, what is open on its board is closed, and what is said of it is
/// kept; else nothing may be open.
///
/// # Errors
/// 409 with the reason why not yet.
pub(crate) async fn complete_run(
    write: &mut Write,
    run: WorkflowId,
    wanted: CompleteWorkflow,
    truthfully: bool,
) -> Result<Workflow, Error> {
    check_length("summary", &wanted.summary, 1..=4000)?;
    if wanted.final_artifacts.len() > ARTIFACTS_MAX {
        let message = format!("may have at most {ARTIFACTS_MAX} items");
        return Err(Error::field("final_artifacts", message));
    }
    let callouts = callouts(
        wanted.completion_callouts,
        wanted.waived_steps,
        wanted.unresolved_advisory_items,
        wanted.completion_notes,
    );
    let tenant = write.caller().tenant();
    must_be_planned(write, run).await?;
    let Left { stages, open } = left(write.conn(), tenant, run, None).await?;
    must_be_settled(&open, "the run")?;
    let asking = |stage: &&WorkflowStage| stage.gate_status == GateStatus::AwaitingApproval;
    if let Some(stage) = stages.iter().find(asking) {
        let message = format!("the gate of stage {:?} waits for a person", stage.name);
        return Err(not_yet(
            NotYetReason::WorkflowWaitingForGateApproval,
            message,
        ));
    }
    if !truthfully {
        let refused = |stage: &&WorkflowStage| {
            matches!(
                stage.gate_status,
                GateStatus::Rejected | GateStatus::Blocked | GateStatus::ChangesRequested
            ) || (stage.completed_at.is_none() && stage.status == StageStatus::Blocked)
        };
        if let Some(stage) = stages.iter().find(refused) {
            let message = format!("stage {:?} is blocked, or was sent back", stage.name);
            return Err(not_yet(NotYetReason::WorkflowStageBlocked, message));
        }
        if open.items > 0 {
            let message = format!("{} work items of the run are open", open.items);
            return Err(not_yet(NotYetReason::WorkflowIncompleteStage, message));
        }
    }
    let done = done_column(write, run).await?;
    work_items::close_open(write.conn(), tenant, run, None, done.as_deref()).await?;
    store::end_stages_by_word(write.conn(), tenant, run, None, None).await?;
    let ended = store::Closing {
        summary: &wanted.summary,
        artifacts: &serde_json::to_string(&wanted.final_artifacts)?,
        callouts: callouts
            .map(|callouts| serde_json::to_string(&callouts))
            .transpose()?,
    };
    store::close(write.conn(), tenant, run, &ended).await?;
    engine::derive(write.tx(), tenant, run).await?;
    queue::settle(write.tx()).await?;
    store::read(write.conn(), tenant, run, None).await
}

/// What is to be said of something that ends, from the places where it can be said.
pub(crate) fn callouts(
    given: Option<CompletionCallouts>,
    waived: Vec<protocol::WaivedStep>,
    unresolved: Vec<protocol::UnresolvedItem>,
    notes: Option<String>,
) -> Option<CompletionCallouts> {
    let is_empty = waived.is_empty() && unresolved.is_empty() && notes.is_none();
    if is_empty && given.is_none() {
        return None;
    }
    let mut callouts = given.unwrap_or_default();
    callouts.waived_steps.extend(waived);
    callouts.unresolved_advisory_items.extend(unresolved);
    callouts.completion_notes = notes.or(callouts.completion_notes);
    Some(callouts)
}

/// A stage of a planned run that a gate can be asked for.
///
/// # Errors
/// 409 with the reason why not.
pub(crate) async fn must_have_stage(
    write: &mut Write,
    run: WorkflowId,
    stage: &str,
) -> Result<(), Error> {
    must_be_planned(write, run).await?;
    let tenant = write.caller().tenant();
    let stages = store::stages(write.conn(), tenant, run).await?;
    match stages.iter().find(|known| known.name == stage) {
        Some(known) if known.completed_at.is_none() => Ok(()),
        Some(_) => {
            let message = format!("stage {stage:?} has ended");
            Err(not_yet(NotYetReason::StageNotCurrent, message))
        }
        None => {
            let message = format!("the run has no stage {stage:?}: there is nothing to approve");
            Err(not_yet(NotYetReason::ApprovalNotConfigured, message))
        }
    }
}

async fn left(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    stage: Option<&str>,
) -> Result<Left, Error> {
    Ok(Left {
        stages: store::stages(db, tenant, run).await?,
        open: store::open(db, tenant, run, stage).await?,
    })
}

fn position(stages: &[WorkflowStage], stage: &str) -> Result<usize, Error> {
    let found = stages.iter().position(|known| known.name == stage);
    found.ok_or_else(|| Error::not_found("stage", stage.escape_default()))
}

async fn must_be_planned(write: &mut Write, run: WorkflowId) -> Result<(), Error> {
    let tenant = write.caller().tenant();
    let lives = store::lifecycle(write.conn(), tenant, run).await?;
    if lives.is_over {
        let message = format!("workflow {run} is {}", lives.state);
        return Err(not_yet(NotYetReason::WorkflowLifecycleNotClosable, message));
    }
    if lives.lifecycle != "planned" {
        let message = format!(
            "workflow {run} is {}: its stages have no order, and it has no end",
            lives.lifecycle
        );
        return Err(not_yet(NotYetReason::WorkflowLifecycleNotPlanned, message));
    }
    Ok(())
}

fn must_be_settled(open: &store::Open, what: &str) -> Result<(), Error> {
    let (reason, message) = if open.escalated > 0 {
        let asking = open.escalated;
        (
            NotYetReason::WorkflowStageOpenEscalation,
            format!("{asking} tasks of {what} have asked a person for help"),
        )
    } else if open.tasks > 0 {
        (
            NotYetReason::WorkflowTasksNotReady,
            format!("{} tasks of {what} are open", open.tasks),
        )
    } else if open.children > 0 {
        (
            NotYetReason::WorkflowChildrenNotReady,
            format!("{} runs that {what} launched are open", open.children),
        )
    } else {
        return Ok(());
    };
    Err(not_yet(reason, message))
}

async fn done_column(write: &mut Write, run: WorkflowId) -> Result<Option<String>, Error> {
    let tenant = write.caller().tenant();
    let playbook = store::must_reach(write.conn(), tenant, run, None).await?;
    let definition = engine::definition(write.conn(), tenant, playbook.into()).await?;
    let columns = &definition.whole().board.columns;
    let done = columns.iter().find(|column| column.is_terminal);
    Ok(done.map(|column| column.id.clone()))
}

/// The refusal of what can be done when the run is further.
pub(crate) fn not_yet(reason: NotYetReason, message: String) -> Error {
    Refused::new(ErrorCode::Conflict, message)
        .not_yet(reason)
        .hint("suggested_next_actions of the orchestrator's routes says what to do first")
        .into()
}

/// Keeps what an orchestrator wants to find again.
///
/// # Errors
/// Those of the database.
pub(crate) async fn keep_orchestration(
    write: &mut Write,
    run: WorkflowId,
    member: &'static str,
    value: &Value,
) -> Result<String, Error> {
    let tenant = write.caller().tenant();
    store::keep(write.conn(), tenant, run, member, &value.to_string()).await
}
