//! Feeding: a batch that creates tasks hands them to the claims that wait for them, in its transaction.

use std::collections::{HashMap, HashSet};

use protocol::{TaskId, TenantId};

use super::claim_lane::take_back;
use crate::app::App;
use crate::db::Tx;
use crate::error::Error;
use crate::queue::{self, Advance, Claimed, Claims, Taken, Woken};

/// A claim that waited for a lane, and what it got.
struct Fed {
    lane: String,
    taken: Taken,
    claimed: Claimed,
}

/// Claims that wait, fed with tasks in the transaction that creates them.
pub(super) struct Feeding {
    waiting: Vec<Fed>,
    advances: Vec<Advance>,
}

impl Feeding {
    /// Takes out as many waiting claims as tasks will be ready.
    pub(super) fn for_tasks(app: &App, tenant: TenantId, lanes: HashMap<String, usize>) -> Self {
        let mut waiting = Vec::new();
        for (lane, tasks) in lanes {
            for taken in app.hints.take_waiting(tenant, &lane, tasks) {
                waiting.push(Fed {
                    lane: lane.clone(),
                    taken,
                    claimed: Claimed::Nothing,
                });
            }
        }
        Self {
            waiting,
            advances: Vec::new(),
        }
    }

    /// The tasks that were handed over.
    pub(super) fn fed(&self) -> HashSet<TaskId> {
        let task = |fed: &Fed| match &fed.claimed {
            Claimed::Task(held) => Some(held.task),
            _ => None,
        };
        self.waiting.iter().filter_map(task).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Runs the ordinary claim statement for them.
    pub(super) async fn claim(&mut self, app: &App, tx: &mut Tx) -> Result<(), Error> {
        let groups = Claims::gather(self.waiting.iter().map(|Fed { lane, taken, .. }| {
            let mut lanes = app.hints.without_known_empty(taken.tenant, &taken.lanes);
            // The lane that is being filled is known to be empty until this commits.
            if !lanes.contains(lane) {
                lanes.push(lane.clone());
            }
            (taken.tenant, lanes, &taken.claimant)
        }));
        let mut found = Vec::new();
        for claims in &groups {
            let (dealt, advance) = queue::claim_next(tx.conn(), &app.hints, claims, false).await?;
            self.advances.push(advance);
            for (set, dealt) in claims.sets.iter().zip(dealt) {
                found.extend(set.places.iter().copied().zip(dealt.claimed));
            }
        }
        for (place, claimed) in found {
            self.waiting[place].claimed = claimed;
        }
        Ok(())
    }

    /// Hands out what was claimed, after the commit. Who got nothing looks again.
    pub(super) async fn hand_out(&mut self, app: &App) {
        for advance in self.advances.drain(..) {
            advance.apply(&app.hints);
        }
        for Fed { taken, claimed, .. } in self.waiting.drain(..) {
            let tenant = taken.tenant;
            let woken = match claimed {
                Claimed::Nothing | Claimed::Full => Woken::LookAgain,
                found => Woken::Fed(Box::new(found)),
            };
            if let Some(unread) = taken.wake(woken) {
                take_back(app, tenant, unread).await;
            }
        }
    }
}

impl Drop for Feeding {
    /// The creation failed: whoever was taken out looks by itself.
    fn drop(&mut self) {
        for Fed { taken, .. } in self.waiting.drain(..) {
            taken.wake(Woken::LookAgain);
        }
    }
}
