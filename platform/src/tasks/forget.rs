//! Ended tasks are kept for a while, then forgotten.

use protocol::{TaskMove, TaskState, WorkspaceId};
use uuid::{NoContext, Timestamp, Uuid};

use super::{forget_store, state, store};
use crate::app::App;
use crate::consequences;
use crate::db::Tx;
use crate::error::Error;
use crate::http::Caller;
use crate::loops::Turn;
use crate::queue::{Destination, Order};

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

/// Deletes the tasks of a workspace; those that have not ended are called off first, so that whoever
/// depends on them is told.
///
/// # Errors
/// Those of the database.
pub async fn delete_of_workspace(
    tx: &mut Tx,
    caller: &Caller,
    workspace: WorkspaceId,
) -> Result<(), Error> {
    let tenant = caller.tenant();
    let open = forget_store::open_in_workspace(tx.conn(), tenant, workspace).await?;
    let orders: Vec<Order> = open
        .into_iter()
        .map(|task| {
            let from = state::sources(TaskMove::Cancel);
            let to = Destination::Ended(TaskState::Cancelled);
            let mut order = Order::by_system(task, from, to, "cancel");
            order.actor_type = caller.scope().as_str();
            order.actor = Some(caller.actor());
            order
        })
        .collect();
    if !orders.is_empty() {
        consequences::move_and_follow(tx, tenant, &orders).await?;
    }
    forget_store::delete_of_workspace(tx.conn(), tenant, workspace).await?;
    Ok(())
}
