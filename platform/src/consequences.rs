//! What follows from a fact: one set-based function per fact, in the transaction that makes it one.
//!
//! Read top to bottom. Plain calls, no subscribers, no ordering to guess.

use protocol::{TaskError, TaskId, TaskState, TenantId};
use uuid::Uuid;

use crate::activations::{self, TaskWake};
use crate::db::Tx;
use crate::error::Error;
use crate::queue::{self, Destination, Moved, Order, Run};
use crate::workflows::{self, TaskChange};

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

/// Moves tasks, and carries out what follows for others. The runs that they belong to are locked first.
///
/// # Errors
/// Those of the database.
pub async fn move_and_follow(
    tx: &mut Tx,
    tenant: TenantId,
    orders: &[Order],
) -> Result<Vec<Moved>, Error> {
    let tasks: Vec<Uuid> = orders.iter().map(|order| order.task.uuid()).collect();
    if !tasks.is_empty() {
        workflows::lock_runs_of(tx, tenant, &tasks).await?;
    }
    move_held_and_follow(tx, tenant, orders).await
}

/// Like [`move_and_follow`], for who has locked the tasks, and before them the runs that they belong to.
///
/// # Errors
/// Those of the database.
pub async fn move_held_and_follow(
    tx: &mut Tx,
    tenant: TenantId,
    orders: &[Order],
) -> Result<Vec<Moved>, Error> {
    let moved = queue::move_tasks(tx, tenant, orders).await?;
    let reopened = changes(orders, &moved).filter(|change| !change.state.is_final());
    let reopened = reopened.collect();
    let wakes = wakes(orders, &moved);
    follow(tx, tenant, &finished(orders, &moved), reopened, wakes).await?;
    Ok(moved)
}

/// Tasks reached a final state, and others wait for somebody's judgement. Runs in the transaction that moved
/// them, after the runs that they belong to were locked.
///
/// Dependants of a completed task are counted off. Those of a failed or cancelled one follow their own
/// policy: run all the same, fail, or be cancelled, which is an end with consequences of its own. Then the
/// runs go on, and orchestrators are woken. Last of all the gates of the runs are settled: what has ended left
/// room for others.
///
/// # Errors
/// Those of the database.
pub async fn tasks_finished(
    tx: &mut Tx,
    tenant: TenantId,
    tasks: &[FinishedTask],
    mut wakes: Vec<TaskWake>,
) -> Result<(), Error> {
    wakes.extend(tasks.iter().filter_map(|ended| {
        Some(TaskWake {
            task: ended.task,
            workflow: ended.run?.workflow,
            event_type: "task.completed",
        })
    }));
    follow(tx, tenant, tasks, Vec::new(), wakes).await
}

async fn follow(
    tx: &mut Tx,
    tenant: TenantId,
    tasks: &[FinishedTask],
    mut changed: Vec<TaskChange>,
    mut wakes: Vec<TaskWake>,
) -> Result<(), Error> {
    let mut open = tasks.to_vec();
    while !open.is_empty() {
        changed.extend(open.iter().filter_map(|ended| {
            Some(TaskChange {
                task: ended.task,
                workflow: ended.run?.workflow,
                state: ended.state,
            })
        }));
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
            wakes.extend(self::wakes(&orders, &moved));
        }
    }
    if !changed.is_empty() || !wakes.is_empty() {
        workflows::tasks_moved(tx, tenant, &changed, &wakes).await?;
    }
    queue::settle(tx).await
}

/// Tasks of runs that have ended, or are open again after their end.
fn changes<'m>(
    orders: &'m [Order],
    moved: &'m [Moved],
) -> impl Iterator<Item = TaskChange> + use<'m> {
    orders.iter().zip(moved).filter_map(|(order, moved)| {
        let Moved::Yes {
            from,
            run: Some(run),
            ..
        } = moved
        else {
            return None;
        };
        let state = order.to.state();
        (from.is_final() || state.is_final()).then_some(TaskChange {
            task: order.task,
            workflow: run.workflow,
            state,
        })
    })
}

/// What orchestrators are to know of the moved tasks.
fn wakes(orders: &[Order], moved: &[Moved]) -> Vec<TaskWake> {
    let wake = |(order, moved): (&Order, &Moved)| match moved {
        Moved::Yes { run: Some(run), .. } => Some(TaskWake {
            task: order.task,
            workflow: run.workflow,
            event_type: activations::event_of(order)?,
        }),
        Moved::Yes { .. } | Moved::Elsewhere { .. } | Moved::Absent => None,
    };
    orders.iter().zip(moved).filter_map(wake).collect()
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
