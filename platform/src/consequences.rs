//! What follows from a fact: one set-based function per fact, in the transaction that makes it one.
//!
//! Read top to bottom. Plain calls, no subscribers, no ordering to guess.

use protocol::{TaskError, TaskId, TaskState, TenantId};

use crate::db::Tx;
use crate::error::Error;
use crate::queue::{self, Destination, Moved, Order, Run};

/// A task that reached a final state and whose end concerns others.
#[derive(Clone, Copy, Debug)]
pub struct FinishedTask {
    /// The task.
    pub task: TaskId,
    /// How it ended.
    pub state: TaskState,
    /// The run it belongs to.
    pub run: Option<Run>,
}

/// Moves tasks, and carries out what follows for others.
///
/// # Errors
/// Those of the database.
pub async fn move_and_follow(
    tx: &mut Tx,
    tenant: TenantId,
    orders: &[Order],
) -> Result<Vec<Moved>, Error> {
    let moved = queue::move_tasks(tx, tenant, orders).await?;
    tasks_finished(tx, tenant, &finished(orders, &moved)).await?;
    Ok(moved)
}

/// Tasks reached a final state. Runs in the transaction that moved them.
///
/// Dependants of a completed task are counted off. Those of a failed or cancelled one follow their own
/// policy: run all the same, fail, or be cancelled, which is an end with consequences of its own. Last of
/// all the gates of the runs are settled: what has ended left room for others.
///
/// # Errors
/// Those of the database.
pub async fn tasks_finished(
    tx: &mut Tx,
    tenant: TenantId,
    tasks: &[FinishedTask],
) -> Result<(), Error> {
    let mut open = tasks.to_vec();
    while !open.is_empty() {
        let ids = |completed: bool| -> Vec<TaskId> {
            let chosen = open
                .iter()
                .filter(|ended| (ended.state == TaskState::Completed) == completed);
            chosen.map(|ended| ended.task).collect()
        };
        let (completed, unhappy) = (ids(true), ids(false));
        if !completed.is_empty() {
            queue::unblock(tx, tenant, &completed, None).await?;
        }
        open.clear();
        if unhappy.is_empty() {
            continue;
        }
        queue::unblock(tx, tenant, &unhappy, Some(&["run"])).await?;
        let mut orders = Vec::new();
        for dependant in queue::dependants_that_end(tx.conn(), tenant, &unhappy).await? {
            orders.push(end_of_dependant(&dependant)?);
        }
        if !orders.is_empty() {
            let moved = queue::move_tasks(tx, tenant, &orders).await?;
            open = finished(&orders, &moved);
        }
    }
    queue::settle(tx).await
}

/// Those of the moved tasks that ended and concern others.
fn finished(orders: &[Order], moved: &[Moved]) -> Vec<FinishedTask> {
    orders
        .iter()
        .zip(moved)
        .filter_map(|(order, moved)| match (order.to, moved) {
            (
                Destination::Ended(state),
                Moved::Yes {
                    has_dependants,
                    run,
                    ..
                },
            ) if *has_dependants || run.is_some() => Some(FinishedTask {
                task: order.task,
                state,
                run: *run,
            }),
            _ => None,
        })
        .collect()
}

/// The end of a task whose dependency did not complete, as its own policy says.
///
/// # Errors
/// When the reason cannot be written as JSON, which does not happen.
pub fn end_of_dependant(dependant: &queue::Dependant) -> Result<Order, Error> {
    let queue::Dependant {
        task,
        needs,
        policy,
    } = dependant;
    let state = if policy == "cancel" {
        TaskState::Cancelled
    } else {
        TaskState::Failed
    };
    let mut order = Order::by_system(
        *task,
        vec![TaskState::Pending],
        Destination::Ended(state),
        "fail_dependency",
    );
    let error = TaskError {
        category: Some("dependency_failed".to_owned()),
        message: format!("task {needs}, which this one depends on, did not complete"),
        recoverable: Some(false),
        details: None,
    };
    order.outcome.error = Some(serde_json::to_string(&error)?);
    order.event_data = Some(serde_json::json!({ "needs_id": needs }).to_string());
    Ok(order)
}
