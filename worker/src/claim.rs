//! Keeps every slot busy.
//!
//! A slot is one unit of capacity. Free slots go into a claim call together; a slot that comes free
//! while that call waits for work gets a call of its own. When a call ends its slots are free again
//! and go into the next call together.
//!
//! Each call has a `request_id` that stays when the call is repeated, so that tasks whose answer
//! was lost are handed out again as the same attempts. A call that waits for work says nothing for long, so it
//! cannot tell a silent wire from an empty queue; heartbeats can, and have it repeated.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stint_protocol::client::ClientError;
use stint_protocol::{ClaimTask, ClaimTasks, ClaimedTask, ReasonCode};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};
use uuid::Uuid;

use crate::attempt;
use crate::backoff::Backoff;
use crate::register::Registered;
use crate::worker::WorkerError;

/// How long a claim waits for work.
const WAIT_SECONDS: u32 = 20;

/// How many tasks one call may ask for.
const CLAIM_TASKS_MAX: usize = 100;

/// The calls that may have given this worker leases it does not know of yet.
#[derive(Default)]
pub(crate) struct ClaimsInFlight {
    calls: Mutex<Calls>,
    repeat: Notify,
}

#[derive(Default)]
struct Calls {
    next: u64,
    open: BTreeSet<u64>,
}

impl ClaimsInFlight {
    fn begin(&self) -> InFlight<'_> {
        let mut calls = self.calls.lock().expect("no holder of this lock panics");
        let number = calls.next;
        calls.next += 1;
        calls.open.insert(number);
        InFlight {
            claims: self,
            number,
        }
    }

    /// A moment: which calls have begun so far.
    pub(crate) fn moment(&self) -> u64 {
        self.calls
            .lock()
            .expect("no holder of this lock panics")
            .next
    }

    /// Has every call that waits for its answer sent again.
    pub(crate) fn repeat(&self) {
        self.repeat.notify_waiters();
    }

    /// Whether every call that had begun by that moment is over, its tasks being known.
    pub(crate) fn are_over_since(&self, moment: u64) -> bool {
        let calls = self.calls.lock().expect("no holder of this lock panics");
        calls.open.first().is_none_or(|oldest| *oldest >= moment)
    }
}

struct InFlight<'a> {
    claims: &'a ClaimsInFlight,
    number: u64,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut calls = self
            .claims
            .calls
            .lock()
            .expect("no holder of this lock panics");
        calls.open.remove(&self.number);
    }
}

/// Claims until the worker drains. The attempts go on beyond the end of this.
pub(crate) async fn keep_claiming(
    worker: Arc<Registered>,
    slots: Arc<Semaphore>,
) -> Result<(), WorkerError> {
    let mut calls = JoinSet::new();
    // Leases of an earlier process are best told apart before there are any of this one.
    worker.was_heard.cancelled().await;
    loop {
        // An ended call is looked at first: it may tell that there is no use in going on.
        let slot = tokio::select! {
            biased;
            () = worker.draining.cancelled() => return Ok(()),
            Some(ended) = calls.join_next() => {
                flatten(ended)?;
                continue;
            }
            slot = Arc::clone(&slots).acquire_owned() => slot.expect("never closed"),
        };
        let mut free = vec![slot];
        while free.len() < CLAIM_TASKS_MAX
            && let Ok(slot) = Arc::clone(&slots).try_acquire_owned()
        {
            free.push(slot);
        }
        calls.spawn(claim(Arc::clone(&worker), free));
    }
}

fn flatten(
    ended: Result<Result<(), WorkerError>, tokio::task::JoinError>,
) -> Result<(), WorkerError> {
    match ended {
        Ok(result) => result,
        Err(error) => {
            warn!(%error, "a claim broke off");
            Ok(())
        }
    }
}

/// One call, repeated until it is answered, and the beginning of the attempts it was given.
async fn claim(
    worker: Arc<Registered>,
    mut free: Vec<OwnedSemaphorePermit>,
) -> Result<(), WorkerError> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    let request_id = format!("claim-{}", Uuid::now_v7());
    let in_flight = worker.claims.begin();
    // The first sending counts: it may be the one that was granted.
    let sent_at = Instant::now();
    loop {
        let answer = tokio::select! {
            answer = send(&worker, free.len(), &request_id) => answer,
            () = worker.claims.repeat.notified() => {
                debug!("no answer to a claim is on its way any more, repeating it");
                continue;
            }
        };
        let error = match answer {
            Ok(tasks) => {
                begin(&worker, tasks, sent_at, &mut free);
                drop(in_flight);
                return Ok(());
            }
            Err(error) => error,
        };
        if matches!(error.status(), Some(400 | 401 | 403 | 404 | 422)) {
            return Err(WorkerError::Claim(error));
        }
        let pause = backoff.next(error.retry_after());
        if error.is_safe_to_repeat() || error.status() == Some(500) {
            warn!(%error, "a claim was not answered, repeating it in {pause:.1?}");
            sleep(pause).await;
            continue;
        }
        // The claim was granted to an attempt that is over, or cannot be granted now.
        if error.reason() != Some(ReasonCode::LeaseLost) {
            warn!(%error, "a claim was refused, making a new one in {pause:.1?}");
        }
        drop(in_flight);
        sleep(pause).await;
        return Ok(());
    }
}

async fn send(
    worker: &Registered,
    free: usize,
    request_id: &str,
) -> Result<Vec<ClaimedTask>, ClientError> {
    let request_id = Some(request_id.to_owned());
    if free > 1 {
        let claim = ClaimTasks {
            max_tasks: u32::try_from(free).expect("bounded"),
            agent_id: worker.agent_id,
            worker_id: None,
            routing_tags: worker.routing_tags.clone(),
            workflow_id: None,
            include_context: None,
            start: Some(true),
            wait_seconds: Some(WAIT_SECONDS),
            lease_seconds: worker.lease_seconds,
            request_id,
        };
        let claimed = worker.client.claim_tasks(&claim).await?;
        return Ok(claimed.map(|claimed| claimed.tasks).unwrap_or_default());
    }
    let claim = ClaimTask {
        agent_id: worker.agent_id,
        worker_id: None,
        routing_tags: worker.routing_tags.clone(),
        workflow_id: None,
        playbook_id: None,
        include_context: None,
        start: Some(true),
        wait_seconds: Some(WAIT_SECONDS),
        lease_seconds: worker.lease_seconds,
        request_id,
    };
    let claimed = worker.client.claim_task(&claim).await?;
    Ok(claimed.into_iter().collect())
}

fn begin(
    worker: &Arc<Registered>,
    tasks: Vec<ClaimedTask>,
    sent_at: Instant,
    free: &mut Vec<OwnedSemaphorePermit>,
) {
    for task in tasks {
        let Some(hold) = worker.leases.hold(&task, sent_at) else {
            debug!(task.id = %task.id, "claimed twice, running once");
            continue;
        };
        worker.tally.count_claim();
        let slot = free.pop();
        let attempt = attempt::run(Arc::clone(worker), task, hold);
        worker.attempts.spawn(async move {
            attempt.await;
            drop(slot);
        });
    }
    // After a long wait little of the lease is left by our clock.
    if worker.leases.is_pressing(worker.heartbeat) {
        worker.beat_soon.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_passed_when_the_calls_of_then_are_over() {
        let claims = ClaimsInFlight::default();
        let first = claims.begin();
        let moment = claims.moment();
        assert!(!claims.are_over_since(moment));
        let second = claims.begin();
        drop(first);
        assert!(claims.are_over_since(moment), "the second began later");
        assert!(!claims.are_over_since(claims.moment()));
        drop(second);
        assert!(claims.are_over_since(claims.moment()));
    }
}
