//! Ended tasks are kept for a while, then forgotten.

use uuid::{NoContext, Timestamp, Uuid};

use super::store;
use crate::app::App;
use crate::error::Error;
use crate::loops::Turn;

/// Loop body: forgets tasks that ended longer ago than `STINT_TASK_RETENTION_DAYS`.
///
/// # Errors
/// Those of the database.
pub async fn forget_tasks(app: App) -> Result<Turn, Error> {
    let days = app.config.retention.task_retention_days;
    let mut db = app.db.internal().await?;
    let mut changed = 0;
    for (tenant, before) in store::retention(&mut db, days).await? {
        let seconds = u64::try_from(before.timestamp()).unwrap_or_default();
        let bound = Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, 0));
        changed += store::forget(&mut db, tenant, bound, days).await?;
    }
    // A full turn is followed by another one soon.
    let again_in = (changed >= 1000).then_some(std::time::Duration::from_secs(1));
    Ok(Turn { changed, again_in })
}
