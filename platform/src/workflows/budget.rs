//! What a run has used, and may use. A budget is told, and stops nothing.

use protocol::{BudgetDimension, BudgetReport, TenantId, WorkflowId};
use sqlx::PgConnection;

use super::store;
use crate::error::Error;

/// From this part of a limit on it counts as near.
pub(crate) const WARNING_RATIO: f64 = 0.8;

/// How a limit is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// There is room.
    Fine,
    /// It is near.
    Near,
    /// It is exceeded.
    Exceeded,
}

/// How a limit is doing when so much is used.
pub(crate) fn level(used: f64, limit: f64) -> Level {
    if used > limit {
        Level::Exceeded
    } else if used >= limit * WARNING_RATIO {
        Level::Near
    } else {
        Level::Fine
    }
}

/// Tells what a run has used, and may use.
///
/// # Errors
/// 404.
pub(crate) async fn budget_of(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
) -> Result<BudgetReport, Error> {
    let used = store::used(db, tenant, run).await?;
    #[expect(clippy::cast_precision_loss, reason = "nobody counts 2^53 tokens")]
    let tokens = (
        used.tokens as f64,
        used.token_budget.map(|limit| limit as f64),
    );
    let minutes = used.max_duration_minutes.map(f64::from);
    let levels = [
        (BudgetDimension::Tokens, tokens),
        (BudgetDimension::Cost, (used.cost_usd, used.cost_cap_usd)),
        (BudgetDimension::Duration, (used.elapsed_minutes, minutes)),
    ];
    let at = |wanted: Level| {
        let found = levels
            .iter()
            .filter(|(_, (used, limit))| limit.is_some_and(|limit| level(*used, limit) == wanted));
        found.map(|(dimension, _)| *dimension).collect()
    };
    Ok(BudgetReport {
        tokens_used: used.tokens,
        tokens_limit: used.token_budget,
        tokens_remaining: used.token_budget.map(|limit| (limit - used.tokens).max(0)),
        cost_usd: used.cost_usd,
        cost_limit_usd: used.cost_cap_usd,
        cost_remaining_usd: used
            .cost_cap_usd
            .map(|limit| (limit - used.cost_usd).max(0.0)),
        elapsed_minutes: used.elapsed_minutes,
        duration_limit_minutes: used.max_duration_minutes,
        time_remaining_minutes: minutes.map(|limit| (limit - used.elapsed_minutes).max(0.0)),
        task_count: used.tasks,
        orchestrator_activations: used.activations,
        warning_threshold_ratio: WARNING_RATIO,
        warning_dimensions: at(Level::Near),
        exceeded_dimensions: at(Level::Exceeded),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_near_before_it_is_exceeded_and_may_be_used_up() {
        assert_eq!(level(79.9, 100.0), Level::Fine);
        assert_eq!(level(80.0, 100.0), Level::Near);
        assert_eq!(level(100.0, 100.0), Level::Near);
        assert_eq!(level(100.1, 100.0), Level::Exceeded);
    }
}
