//! Taking in what work has used.

use protocol::{
    AgentId, BudgetDimension, EntityType, MeterUsage, MeteredUsage, WorkerId, WorkflowId,
};
use serde_json::json;
use uuid::Uuid;

use super::store::{self, Total};
use crate::activations::{self, Wake};
use crate::error::Error;
use crate::http::Write;
use crate::workflows::Level;
use crate::{events, queue, tasks, workflows};

/// Tokens, milliseconds or bytes that one report tells of: sums of them fit.
const AMOUNT_MAX: i64 = 1_000_000_000_000_000;
/// Money that one report tells of.
const COST_USD_MAX: f64 = 1_000_000_000.0;
/// Reports of one task that are kept. What a run has used in all is a sum of its own.
const KEPT_MAX: i64 = 1_000;

/// Takes in what work on a task has used.
///
/// # Errors
/// 404; 403 for those who have not worked on it; 409 `lease_lost`; 422.
pub(super) async fn meter_usage(
    write: &mut Write,
    usage: MeterUsage,
) -> Result<MeteredUsage, Error> {
    check(&usage)?;
    let tenant = write.caller().tenant();
    // Runs are locked before their tasks.
    let run = tasks::read(write, usage.task_id).await?.workflow_id;
    if let Some(run) = run {
        workflows::lock_runs(write.tx(), tenant, &[run.uuid()]).await?;
    }
    let task = tasks::must_have_worked_on(write, usage.task_id, usage.attempt).await?;
    if usage.workflow_id.is_some_and(|named| Some(named) != run) {
        let message = "is another run than that of the task";
        return Err(Error::field("workflowId", message));
    }
    if !write.caller().is_operator() {
        let is_other =
            |named: Option<Uuid>, holder: Option<Uuid>| named.is_some() && named != holder;
        for (path, named, holder) in [
            (
                "agentId",
                usage.agent_id.map(AgentId::uuid),
                task.assigned_agent_id.map(AgentId::uuid),
            ),
            (
                "workerId",
                usage.worker_id.map(WorkerId::uuid),
                task.assigned_worker_id.map(WorkerId::uuid),
            ),
        ] {
            if is_other(named, holder) {
                return Err(Error::field(
                    path,
                    "is not who works on the task; leave it out",
                ));
            }
        }
    }
    let id = Uuid::now_v7();
    let by = store::By {
        agent: usage.agent_id.or(task.assigned_agent_id).map(AgentId::uuid),
        worker: usage
            .worker_id
            .or(task.assigned_worker_id)
            .map(WorkerId::uuid),
    };
    store::insert(write.conn(), tenant, id, run, by, &usage).await?;
    store::forget(write.conn(), tenant, usage.task_id, KEPT_MAX).await?;
    if let Some(run) = run {
        add_to_run(write, run, &usage).await?;
    }
    store::read(write.conn(), tenant, id).await
}

fn check(usage: &MeterUsage) -> Result<(), Error> {
    for (path, amount) in [
        ("tokensInput", Some(usage.tokens_input)),
        ("tokensOutput", Some(usage.tokens_output)),
        ("wallTimeMs", Some(usage.wall_time_ms)),
        ("cpuMs", usage.cpu_ms),
        ("memoryPeakBytes", usage.memory_peak_bytes),
        ("networkBytes", usage.network_bytes),
    ] {
        if amount.is_some_and(|amount| !(0..=AMOUNT_MAX).contains(&amount)) {
            let message = format!("must be between 0 and {AMOUNT_MAX}");
            return Err(Error::field(path, message));
        }
    }
    if !(0.0..=COST_USD_MAX).contains(&usage.cost_usd) {
        let message = format!("must be between 0 and {COST_USD_MAX}");
        return Err(Error::field("costUsd", message));
    }
    Ok(())
}

/// Adds to the sum of a run, whose row is locked, and tells which limits this brings near, or passes.
async fn add_to_run(write: &mut Write, run: WorkflowId, usage: &MeterUsage) -> Result<(), Error> {
    let tenant = write.caller().tenant();
    let before = store::total(write.conn(), tenant, run).await?;
    let after = Total {
        tokens: before
            .tokens
            .saturating_add(usage.tokens_input + usage.tokens_output),
        cost_usd: before.cost_usd + usage.cost_usd,
    };
    store::put_total(write.conn(), tenant, run, after).await?;
    let limits = store::limits(write.conn(), tenant, run).await?;
    #[expect(clippy::cast_precision_loss, reason = "nobody counts 2^53 tokens")]
    let tokens = |total: Total| total.tokens as f64;
    #[expect(clippy::cast_precision_loss, reason = "nobody counts 2^53 tokens")]
    let token_limit = limits.token_budget.map(|limit| limit as f64);
    let cost = (before.cost_usd, after.cost_usd);
    for (dimension, (before, after), limit) in [
        (
            BudgetDimension::Tokens,
            (tokens(before), tokens(after)),
            token_limit,
        ),
        (BudgetDimension::Cost, cost, limits.cost_cap_usd),
    ] {
        let Some(limit) = limit else { continue };
        let level = workflows::level(after, limit);
        if level != workflows::level(before, limit) {
            tell(write, run, dimension, level, (after, limit)).await?;
        }
    }
    Ok(())
}

async fn tell(
    write: &mut Write,
    run: WorkflowId,
    dimension: BudgetDimension,
    level: Level,
    (used, limit): (f64, f64),
) -> Result<(), Error> {
    let event_type = match level {
        Level::Fine => return Ok(()),
        Level::Near => "budget.warning",
        Level::Exceeded => "budget.exceeded",
    };
    let told = json!({ "dimension": dimension, "used": used, "limit": limit });
    let entity = (EntityType::Workflow, run.uuid());
    events::tell_of_run(write, run, entity, event_type, told.clone()).await?;
    if level == Level::Exceeded {
        let tenant = write.caller().tenant();
        let why = format!("the run has used more than its budget of {dimension}");
        let passed = Wake::new(event_type, why, told);
        activations::wake(write.tx(), tenant, run, &[passed]).await?;
        workflows::derive(write.tx(), tenant, run).await?;
        queue::settle(write.tx()).await?;
    }
    Ok(())
}
