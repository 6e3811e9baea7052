//! What a run lets through to its workers: its pause, its end by cancellation, its limits.
//!
//! ```text
//!                    ┌─ gate of the workflow ─ gate of the work item ─┐
//!   becomes ready ──►│  paused?  cancelled?   room within the limits? │──► task_queue
//!                    └───────────────────────┬────────────────────────┘
//!                                            ▼ held
//!                                       task_waiting
//! ```
//!
//! The statements that make a task ready ask `task_gate` (migrations/0009_people.sql). Without a gate in the
//! way they queue it; otherwise it waits, `held`. Every transaction that moved tasks of a run then calls
//! [`settle`], last: it locks the gates, so that no pause is overtaken, counts what the limits leave, and
//! lets in what may pass, by priority, then age. Work that belongs to no run never comes here.
//!
//! Who pauses holds the gate and skips rows that others are moving; they wait for the gate afterwards and
//! see it paused. So neither waits for the other in a circle. What a transaction that failed left behind is
//! found by the loop `settle_gates`.

use std::collections::BTreeMap;

use protocol::{TaskId, TaskState, TenantId, WorkItemId, WorkflowId};
use uuid::Uuid;

use super::gates_store as store;
use super::moves::{Destination, Order};
use crate::app::App;
use crate::consequences;
use crate::db::{Note, Touch, Tx};
use crate::error::Error;
use crate::loops::Turn;

/// Tasks that one statement cancels at most.
const CANCELLED_AT_ONCE: i64 = 500;
/// Runs that one turn of the loop settles at most.
const RUNS_PER_TURN: i64 = 200;

/// The run a task belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// The workflow.
    pub workflow: WorkflowId,
    /// The part of it.
    pub work_item: Option<WorkItemId>,
}

impl Run {
    pub(super) fn of(workflow: Option<Uuid>, work_item: Option<Uuid>) -> Option<Self> {
        workflow.map(|workflow| Self {
            workflow: workflow.into(),
            work_item: work_item.map(Into::into),
        })
    }

    /// The gate that is nearest: the work item's, if there is one.
    fn gate(self) -> Uuid {
        self.work_item
            .map_or(self.workflow.uuid(), WorkItemId::uuid)
    }
}

/// How many tasks of a run may be ready or held by a worker at once. Tasks that steer it are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// In the whole run, or behind one work item's gate.
    pub active_max: Option<i32>,
    /// In each of its work items.
    pub item_active_max: Option<i32>,
    /// How many of its work items may have such tasks at once.
    pub items_max: Option<i32>,
}

impl Limits {
    fn has_any(self) -> bool {
        self != Self::default()
    }

    fn concern_items(self) -> bool {
        self.item_active_max.is_some() || self.items_max.is_some()
    }
}

/// What a gate does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GateState {
    Open,
    Paused,
    Cancelled,
}

/// A gate as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    pub(super) id: Uuid,
    pub(super) state: GateState,
    pub(super) limits: Limits,
}

/// Makes the gate of a workflow or of one of its work items, or gives it other limits. Every workflow
/// needs one before its first task; a work item only for limits of its own.
///
/// # Errors
/// Those of the database.
pub async fn set_limits(
    tx: &mut Tx,
    tenant: TenantId,
    run: Run,
    limits: Limits,
) -> Result<(), Error> {
    store::set_limits(tx.conn(), tenant, run.gate(), run.workflow, limits).await?;
    tx.unsettle(tenant, run.workflow, run.work_item, Touch::Held);
    Ok(())
}

/// Holds the tasks of a workflow or a work item: ready ones leave the queue and keep their place, delays
/// stop, and what becomes ready from now on waits. What runs goes on.
///
/// # Errors
/// Those of the database.
pub async fn pause(tx: &mut Tx, tenant: TenantId, run: Run) -> Result<(), Error> {
    close(tx, tenant, run, GateState::Paused).await?;
    store::hold(tx.conn(), tenant, run.gate()).await?;
    tx.note(Note::EventsAppended);
    Ok(())
}

/// Gives the tasks of a paused workflow or work item back: ready ones at their old place, delays with what
/// was left of them. Call [`settle`] afterwards.
///
/// # Errors
/// Those of the database.
pub async fn resume(tx: &mut Tx, tenant: TenantId, run: Run) -> Result<(), Error> {
    store::set_state(tx.conn(), tenant, run.gate(), run.workflow, GateState::Open).await?;
    tx.unsettle(tenant, run.workflow, run.work_item, Touch::Held);
    Ok(())
}

/// Cancels the tasks of a workflow or a work item. Those that nobody holds are cancelled now. Holders are
/// told with their next heartbeat, and have `grace_seconds` to report an end, which counts; then their lease
/// ends and the task is cancelled.
///
/// # Errors
/// Those of the database.
pub async fn cancel(
    tx: &mut Tx,
    tenant: TenantId,
    run: Run,
    grace_seconds: u32,
) -> Result<(), Error> {
    close(tx, tenant, run, GateState::Cancelled).await?;
    store::give_notice(tx.conn(), tenant, run.gate(), f64::from(grace_seconds)).await?;
    cancel_idle(tx, tenant, run.gate()).await
}

async fn close(tx: &mut Tx, tenant: TenantId, run: Run, state: GateState) -> Result<(), Error> {
    // A work item has no gate before it is paused: the gate of its workflow is what others look at.
    store::lock_gate(tx.conn(), tenant, run.workflow.uuid()).await?;
    store::set_state(tx.conn(), tenant, run.gate(), run.workflow, state).await
}

/// Cancels what nobody holds behind a gate.
async fn cancel_idle(tx: &mut Tx, tenant: TenantId, gate: Uuid) -> Result<(), Error> {
    loop {
        let tasks = store::idle(tx.conn(), tenant, gate, CANCELLED_AT_ONCE).await?;
        if tasks.is_empty() {
            return Ok(());
        }
        let orders: Vec<Order> = tasks.iter().map(|task| cancellation(*task)).collect();
        // The end of a task may lead back here, for another run.
        Box::pin(consequences::move_and_follow(tx, tenant, &orders)).await?;
    }
}

fn cancellation(task: TaskId) -> Order {
    let idle = vec![
        TaskState::Pending,
        TaskState::Ready,
        TaskState::AwaitingApproval,
        TaskState::OutputPendingAssessment,
        TaskState::Escalated,
    ];
    Order::by_system(
        task,
        idle,
        Destination::Ended(TaskState::Cancelled),
        "cancel",
    )
}

/// Brings the gates of all runs that this transaction touched up to date. The last thing before the commit:
/// nothing that others may hold is locked after the gates.
///
/// # Errors
/// Those of the database.
pub async fn settle(tx: &mut Tx) -> Result<(), Error> {
    loop {
        let touched = tx.take_unsettled();
        if touched.is_empty() {
            return Ok(());
        }
        let mut tenants: BTreeMap<TenantId, Vec<(Run, Touch)>> = BTreeMap::new();
        for ((tenant, workflow, work_item), touch) in touched {
            let run = Run {
                workflow,
                work_item,
            };
            tenants.entry(tenant).or_default().push((run, touch));
        }
        for (tenant, runs) in tenants {
            settle_tenant(tx, tenant, &runs).await?;
        }
    }
}

async fn settle_tenant(tx: &mut Tx, tenant: TenantId, runs: &[(Run, Touch)]) -> Result<(), Error> {
    let ids: Vec<Uuid> = runs
        .iter()
        .flat_map(|(run, _)| {
            [
                Some(run.workflow.uuid()),
                run.work_item.map(WorkItemId::uuid),
            ]
        })
        .flatten()
        .collect();
    let gates: BTreeMap<Uuid, Gate> = store::lock_gates(tx.conn(), tenant, &ids)
        .await?
        .into_iter()
        .map(|gate| (gate.id, gate))
        .collect();
    let is_queued = |gate: Uuid| {
        runs.iter().any(|(run, touch)| {
            *touch > Touch::Freed && (run.workflow.uuid() == gate || run.gate() == gate)
        })
    };
    for gate in gates.values().filter(|gate| is_queued(gate.id)) {
        match gate.state {
            GateState::Open => {}
            GateState::Paused => {
                store::hold(tx.conn(), tenant, gate.id).await?;
            }
            GateState::Cancelled => cancel_idle(tx, tenant, gate.id).await?,
        }
    }
    // Of each workflow once: whether something may be held, and whether there is a limit.
    let mut workflows: BTreeMap<WorkflowId, (bool, Limits, bool)> = BTreeMap::new();
    for (run, touch) in runs {
        let of_run = gates.get(&run.workflow.uuid());
        let of_item = run.work_item.and_then(|item| gates.get(&item.uuid()));
        let entry = workflows.entry(run.workflow).or_insert_with(|| {
            let limits = of_run.map(|gate| gate.limits).unwrap_or_default();
            (false, limits, limits.concern_items())
        });
        entry.0 |= *touch == Touch::Held;
        entry.2 |= of_item.is_some_and(|gate| gate.limits.has_any());
    }
    workflows.retain(|_, (has_held, limits, by_item)| *has_held || *by_item || limits.has_any());
    if workflows.is_empty() {
        return Ok(());
    }
    // The lock is taken in a statement of its own, so that the next one sees what its last holder did.
    let limited: Vec<Uuid> = workflows.keys().map(|workflow| workflow.uuid()).collect();
    store::lock_limits(tx.conn(), tenant, &limited).await?;
    for (workflow, (has_held, limits, by_item)) in workflows {
        if has_held {
            store::let_go_on(tx.conn(), tenant, workflow.uuid()).await?;
            tx.note(Note::DueSooner {
                name: "release_due".to_owned(),
            });
        }
        let chosen = if by_item {
            store::choose(tx.conn(), tenant, workflow.uuid(), limits).await?
        } else {
            store::choose_in_order(tx.conn(), tenant, workflow.uuid(), limits.active_max).await?
        };
        if chosen.is_empty() {
            continue;
        }
        for (lane, at_old_place, tasks) in store::admit(tx.conn(), tenant, &chosen).await? {
            tx.note(Note::WorkReady {
                tenant,
                lane,
                tasks,
                at_old_place,
            });
        }
        tx.note(Note::EventsAppended);
    }
    Ok(())
}

/// Why a waiting task is held at its gate, for people: `paused` or `limit_full`.
///
/// # Errors
/// Those of the database.
pub async fn held_at_gate(
    db: &mut sqlx::PgConnection,
    tenant: TenantId,
    task: TaskId,
) -> Result<Option<String>, Error> {
    store::held(db, tenant, task).await
}

/// Loop body: what transactions that failed half-way left before or behind a gate goes where it belongs.
///
/// # Errors
/// Those of the database.
pub async fn settle_gates(app: App) -> Result<Turn, Error> {
    let grace = f64::from(app.config.limits.cancel_grace_seconds);
    let mut tx = app.db.begin_internal().await?;
    let noticed = store::give_late_notice(tx.conn(), grace).await?;
    let strays = store::strays(tx.conn(), RUNS_PER_TURN).await?;
    let changed = noticed + strays.len() as u64;
    for (tenant, workflow, work_item) in strays {
        tx.unsettle(tenant, workflow, work_item, Touch::Held);
    }
    settle(&mut tx).await?;
    tx.commit(&app).await?;
    Ok(changed.into())
}
