//! Ended runs are kept for a while, then forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::TenantId;
use uuid::Uuid;

use super::{delete, store};
use crate::app::App;
use crate::error::Error;
use crate::loops::Turn;

/// Runs that one turn forgets at most.
const RUNS_PER_TURN: i64 = 50;

/// Loop body: forgets runs that ended longer ago than `STINT_WORKFLOW_RETENTION_DAYS`, with their tasks.
///
/// # Errors
/// Those of the database.
pub async fn forget_workflows(app: App) -> Result<Turn, Error> {
    let days = app.config.retention.workflow_retention_days;
    let mut tx = app.db.begin_internal().await?;
    let mut by_tenant: BTreeMap<TenantId, Vec<Uuid>> = BTreeMap::new();
    let mut changed = 0;
    for (tenant, run) in store::past_retention(tx.conn(), days, RUNS_PER_TURN).await? {
        by_tenant.entry(tenant).or_default().push(run);
        changed += 1;
    }
    for (tenant, runs) in by_tenant {
        delete::remove(&mut tx, tenant, &runs).await?;
    }
    tx.commit(&app).await?;
    let again_in = (changed == RUNS_PER_TURN.unsigned_abs()).then_some(Duration::from_secs(1));
    Ok(Turn { changed, again_in })
}
