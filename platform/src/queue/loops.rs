//! What happens to drawers by itself: leases end, tasks become due, replicas show that they live.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{TaskError, TaskState, TenantId};

use super::loops_store as store;
use super::moves::{Destination, Order};
use crate::app::App;
use crate::consequences;
use crate::error::Error;
use crate::loops::Turn;

/// Tasks that one turn of a loop moves at most, so that a mass failure is worked off over several turns.
const TASKS_PER_TURN: i64 = 500;
/// Silence of all replicas beyond which nobody could have renewed a lease.
const OUTAGE_SECONDS: f64 = 3.0;
/// An expiry is looked for this soon after the lease ends.
const EXPIRY_SLACK: Duration = Duration::from_millis(20);
/// Leases that end later than this are not looked for yet: the loop comes back before.
const EXPIRY_AHEAD: Duration = Duration::from_secs(2);

/// Loop body: tasks whose holder was silent for too long go back to the queue. After `max_abandons`
/// they fail: what kills its worker again and again must not go on doing so.
///
/// # Errors
/// Those of the database.
pub async fn expire_leases(app: App) -> Result<Turn, Error> {
    // Mostly no lease is due: one statement tells, and when to come back.
    let floor = app.hints.expiry.floor();
    let next = store::next_expiry(&mut *app.db.internal().await?, floor, EXPIRY_AHEAD).await?;
    app.hints.expiry.looked(floor, next.now, next.at);
    if next.at.is_none_or(|at| at > next.now) {
        return Ok(Turn {
            changed: 0,
            again_in: until(&next),
        });
    }
    let mut tx = app.db.begin_internal().await?;
    let expired = store::expired(tx.conn(), floor, OUTAGE_SECONDS, TASKS_PER_TURN).await?;
    let changed = expired.len() as u64;
    let mut orders: BTreeMap<TenantId, Vec<Order>> = BTreeMap::new();
    for lease in expired {
        let abandons = lease.abandon_count + 1;
        let to = crate::tasks::after_lost_lease(abandons, lease.max_abandons, lease.is_cancelled);
        let is_poison = to == TaskState::Failed;
        let to = match to {
            TaskState::Ready => Destination::Ready { keeps_place: true },
            ended => Destination::Ended(ended),
        };
        let mut order = Order::by_system(
            lease.task,
            vec![TaskState::Claimed, TaskState::InProgress],
            to,
            if lease.is_cancelled {
                "cancel"
            } else {
                "lose_lease"
            },
        );
        order.attempt = Some(lease.attempt);
        order.abandons = 1;
        order.forgets_outcome = !is_poison && !lease.is_cancelled;
        if is_poison {
            let error = TaskError {
                category: Some("infrastructure".to_owned()),
                message: format!(
                    "{abandons} holders fell silent while they worked on this task; the last one was agent {}",
                    lease.agent
                ),
                recoverable: Some(false),
                details: None,
            };
            order.outcome.error = Some(serde_json::to_string(&error)?);
        }
        let data = serde_json::json!({"agent_id": lease.agent, "worker_id": lease.worker, "abandon_count": abandons});
        order.event_data = Some(data.to_string());
        tracing::info!(
            task.id = %lease.task, task.attempt = lease.attempt, agent.id = %lease.agent,
            "lease expired, task {} {}", lease.task, if is_poison { "failed" } else { "returned to the queue" }
        );
        orders.entry(lease.tenant).or_default().push(order);
    }
    for (tenant, orders) in orders {
        consequences::move_held_and_follow(&mut tx, tenant, &orders).await?;
    }
    let next = store::next_expiry(tx.conn(), floor, EXPIRY_AHEAD).await?;
    tx.commit(&app).await?;
    metrics::counter!("stint_lease_losses_total").increment(changed);
    Ok(Turn {
        changed,
        again_in: if changed == TASKS_PER_TURN as u64 {
            Some(Duration::ZERO)
        } else {
            until(&next)
        },
    })
}

/// The sleep until the next lease ends. Some may be expired but locked: they are looked at again after the longest one.
fn until(next: &store::NextExpiry) -> Option<Duration> {
    let left = (next.at? - next.now).to_std().ok()?;
    (!left.is_zero()).then_some(left + EXPIRY_SLACK)
}

/// Loop body: delayed tasks and retries become ready when they are due, whether or not anyone claims.
///
/// # Errors
/// Those of the database.
pub async fn release_due(app: App) -> Result<Turn, Error> {
    let mut tx = app.db.begin_internal().await?;
    let due = store::due(tx.conn(), TASKS_PER_TURN).await?;
    let changed = due.len() as u64;
    let mut orders: BTreeMap<TenantId, Vec<Order>> = BTreeMap::new();
    for (tenant, task, needs_approval) in due {
        let order = if needs_approval {
            super::request_approval(task)
        } else {
            Order::by_system(
                task,
                vec![TaskState::Pending],
                Destination::Ready { keeps_place: false },
                "become_ready",
            )
        };
        orders.entry(tenant).or_default().push(order);
    }
    for (tenant, orders) in orders {
        super::move_tasks(&mut tx, tenant, &orders).await?;
    }
    super::settle(&mut tx).await?;
    let next = store::next_due(tx.conn()).await?;
    tx.commit(&app).await?;
    Ok(Turn {
        changed,
        again_in: next.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))),
    })
}

/// Loop body: attempts that take longer than their task allows fail, with the retries that are due to them.
///
/// # Errors
/// Those of the database.
pub async fn time_out_tasks(app: App) -> Result<Turn, Error> {
    let mut tx = app.db.begin_internal().await?;
    let floor = app.hints.expiry.floor();
    let overdue = store::timed_out(tx.conn(), floor, TASKS_PER_TURN).await?;
    let changed = overdue.len() as u64;
    let mut by_tenant: BTreeMap<TenantId, Vec<_>> = BTreeMap::new();
    for (tenant, task, attempt) in overdue {
        by_tenant.entry(tenant).or_default().push((task, attempt));
    }
    for (tenant, attempts) in by_tenant {
        crate::tasks::fail_timed_out(&mut tx, tenant, &attempts).await?;
    }
    tx.commit(&app).await?;
    Ok(changed.into())
}

/// Loop body: looks into lanes that claims wait for, or that are remembered as empty. A note about new
/// work may have been lost; this finds it at the latest.
///
/// # Errors
/// Those of the database.
pub async fn look_for_work(app: App) -> Result<Turn, Error> {
    let watched = app.hints.watched();
    if watched.is_empty() {
        return Ok(Turn::default());
    }
    let mut db = app.db.internal().await?;
    let found = store::depths(&mut db, &watched).await?;
    let changed = found.len() as u64;
    for (tenant, lane, tasks) in found {
        app.hints.work_ready(tenant, &lane, tasks);
    }
    Ok(changed.into())
}

/// Loop body: shows that a replica lives, and gives leases back the time in which none did.
///
/// # Errors
/// Those of the database.
pub async fn keep_pulse(app: App) -> Result<Turn, Error> {
    let mut db = app.db.internal().await?;
    let extended = store::keep_pulse(&mut db, OUTAGE_SECONDS).await?;
    if extended > 0 {
        tracing::warn!(
            leases = extended,
            "no replica could reach the database for a while; all leases were extended"
        );
    }
    Ok(extended.unsigned_abs().into())
}

/// Loop body: forgets which claim request got what.
///
/// # Errors
/// Those of the database.
pub async fn forget_claim_requests(app: App) -> Result<u64, Error> {
    let mut db = app.db.internal().await?;
    store::forget_claim_requests(&mut db).await
}
