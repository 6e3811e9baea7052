//! What this replica knows about its queues. Never the truth, only a hint.
//!
//! Three things are remembered per lane of a tenant (what is remembered about holders: `holder_hints.rs`, about the
//! ends of leases: `expiry_hints.rs`):
//! - a **generation**, raised by whatever can make a task claimable. "Empty" is remembered together with
//!   the generation read before the statement ran, so that a task which came in between is not missed;
//! - a **watermark** per priority: beyond which seq to look (`watermark.rs`);
//! - the **claims that wait**, oldest first. One is woken per task.
//!
//! Losing all of it costs time, never a task: a loop looks for work in the lanes that are waited for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard};

use protocol::{AgentId, TenantId};
use tokio::sync::oneshot;

use super::claim::{Claimant, Claimed};
use super::expiry_hints::ExpiryHints;
use super::holder_hints::HolderHints;
use super::watermark::{Marks, Watermark};
use crate::error::Error;

/// Lanes pinned to one holder are many and nearly always empty: one look for work in so many sees to them.
const LOOKS_PER_PINNED: u64 = 15;
/// Lanes remembered at most; beyond, what is remembered about idle ones is dropped.
const LANES_MAX: usize = 50_000;

/// What this replica knows about its queues.
#[derive(Default)]
pub struct Hints {
    known: Mutex<Known>,
    /// What it knows about holders.
    pub holders: HolderHints,
    /// What it knows about the ends of leases.
    pub(super) expiry: ExpiryHints,
}

#[derive(Default)]
struct Known {
    lanes: HashMap<TenantId, HashMap<String, Lane>>,
    lane_count: usize,
    waiting: BTreeMap<u64, Waiting>,
    last_ticket: u64,
    /// Raised when everything is forgotten: what was observed before counts no more.
    epoch: u64,
    looks: u64,
}

struct Lane {
    generation: u64,
    empty_at: Option<u64>,
    watermark: Watermark,
    waiting: BTreeSet<u64>,
}

impl Lane {
    fn new() -> Self {
        Self {
            generation: 0,
            empty_at: None,
            watermark: Watermark::new(),
            waiting: BTreeSet::new(),
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    fn is_known_empty(&self) -> bool {
        self.empty_at == Some(self.generation)
    }
}

/// A claim that waits.
struct Waiting {
    tenant: TenantId,
    lanes: Vec<String>,
    claimant: Claimant,
    /// Whether a creating batch may hand it a task. Not while its own look is under way.
    can_be_fed: bool,
    /// Something happened while its own look was under way.
    look_again: bool,
    wake: Option<oneshot::Sender<Woken>>,
}

/// What a waiting claim is woken with.
pub enum Woken {
    /// There may be work: look again.
    LookAgain,
    /// The batch that created a task has claimed it for this claim, in the same transaction.
    Fed(Box<Claimed>),
}

/// The generations of some lanes at one moment.
#[derive(Clone, Debug)]
pub struct Observed {
    epoch: u64,
    generations: Vec<u64>,
}

/// The place of a waiting claim. Leaving the queue is dropping it.
pub struct Ticket<'a> {
    hints: &'a Hints,
    number: u64,
    tenant: TenantId,
    lanes: &'a [String],
    claimant: &'a Claimant,
}

/// A waiting claim that was taken out to be handed a task.
pub struct Taken {
    /// Whose lanes.
    pub(crate) tenant: TenantId,
    /// The lanes it takes from.
    pub(crate) lanes: Vec<String>,
    /// Who claims.
    pub(crate) claimant: Claimant,
    wake: oneshot::Sender<Woken>,
}

impl Taken {
    /// Wakes the claim. Gives back what it was to be fed when its client has gone.
    pub fn wake(self, woken: Woken) -> Option<Claimed> {
        match self.wake.send(woken) {
            Err(Woken::Fed(claimed)) => Some(*claimed),
            Err(Woken::LookAgain) | Ok(()) => None,
        }
    }
}

impl Hints {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known
            .lock()
            .expect("nothing panics while it holds the hints")
    }

    /// A lane has got tasks: raises its generation and wakes as many claims.
    pub fn work_ready(&self, tenant: TenantId, lane: &str, tasks: u32) {
        let mut known = self.known();
        let entry = known.lane(tenant, lane);
        entry.generation += 1;
        let waiting: Vec<u64> = entry.waiting.iter().copied().collect();
        // Those that sleep first: one that looks already may find an earlier task and be gone.
        let (asleep, looking): (Vec<u64>, Vec<u64>) = waiting.into_iter().partition(|number| {
            known
                .waiting
                .get(number)
                .is_some_and(|claim| claim.wake.is_some())
        });
        for number in asleep.into_iter().chain(looking).take(tasks as usize) {
            known.wake(number);
        }
    }

    /// A task went back to its old place: the next claim must look before the watermark.
    pub fn look_from_the_start(&self, tenant: TenantId, lane: &str) {
        self.known().lane(tenant, lane).watermark.rewind_to_start();
    }

    /// The generations of some lanes now, to be read before a statement looks into them.
    pub fn observe(&self, tenant: TenantId, lanes: &[String]) -> Observed {
        let mut known = self.known();
        let generations = lanes
            .iter()
            .map(|lane| known.lane(tenant, lane).generation)
            .collect();
        Observed {
            epoch: known.epoch,
            generations,
        }
    }

    /// A statement found nothing in these lanes, for this agent.
    pub fn found_nothing(
        &self,
        tenant: TenantId,
        lanes: &[String],
        observed: &Observed,
        agent: AgentId,
    ) {
        let mut known = self.known();
        if known.epoch != observed.epoch {
            return;
        }
        for (lane, generation) in lanes.iter().zip(&observed.generations) {
            known.lane(tenant, lane).empty_at = Some(*generation);
        }
        drop(known);
        self.holders.holds_nothing(agent);
    }

    /// Pinned lanes among these of which it is not known whether they are empty.
    pub fn unsure_pinned(&self, tenant: TenantId, lanes: &[String]) -> Vec<String> {
        let mut known = self.known();
        lanes
            .iter()
            .filter(|lane| {
                super::lanes::holder_of(lane).is_some()
                    && !known.lane(tenant, lane).is_known_empty()
            })
            .cloned()
            .collect()
    }

    /// Those of these lanes that are not among the `filled` ones are empty.
    pub fn found_filled(
        &self,
        tenant: TenantId,
        lanes: &[String],
        observed: &Observed,
        filled: &[String],
    ) {
        let mut known = self.known();
        if known.epoch != observed.epoch {
            return;
        }
        for (lane, generation) in lanes.iter().zip(&observed.generations) {
            if !filled.contains(lane) {
                known.lane(tenant, lane).empty_at = Some(*generation);
            }
        }
    }

    /// Whether every one of these lanes is known to be empty.
    pub fn are_known_empty(&self, tenant: TenantId, lanes: &[String]) -> bool {
        let mut known = self.known();
        lanes
            .iter()
            .all(|lane| known.lane(tenant, lane).is_known_empty())
    }

    /// Lanes without those that are known to be empty, unless all are.
    ///
    /// Lanes pinned to one holder are nearly always empty; without them, the claims of many agents want
    /// the same lanes and share a statement.
    pub fn without_known_empty(&self, tenant: TenantId, lanes: &[String]) -> Vec<String> {
        let mut known = self.known();
        let mut wanted: Vec<String> = lanes
            .iter()
            .filter(|lane| {
                !known.lane(tenant, lane).is_known_empty()
                    || super::lanes::holder_of(lane).is_none()
            })
            .cloned()
            .collect();
        if wanted.is_empty() {
            wanted = lanes.to_vec();
        }
        wanted
    }

    /// Where to look beyond.
    pub(super) fn marks(&self, tenant: TenantId, lane: &str) -> Marks {
        self.known().lane(tenant, lane).watermark.look()
    }

    /// Where to look before saying that there is nothing.
    pub(super) fn floor(&self, tenant: TenantId, lane: &str) -> Marks {
        self.known().lane(tenant, lane).watermark.floor()
    }

    /// A claim received this seq: the next one looks beyond. Never goes back.
    pub(super) fn advance(&self, tenant: TenantId, lane: &str, priority: usize, seq: i64) {
        let mut known = self.known();
        known.lane(tenant, lane).watermark.advance(priority, seq);
    }

    /// Notes may have been missed: nothing remembered counts, and every waiting claim looks again.
    pub fn forget_everything(&self) {
        let mut known = self.known();
        known.epoch += 1;
        self.holders.forget();
        self.expiry.forget();
        for lane in known.lanes.values_mut().flat_map(HashMap::values_mut) {
            lane.empty_at = None;
        }
        let waiting: Vec<u64> = known.waiting.keys().copied().collect();
        for number in waiting {
            known.wake(number);
        }
    }

    /// Lanes that claims wait for, or that are remembered as empty, with their floors; pinned ones only
    /// now and then.
    pub(super) fn watched(&self) -> Vec<(TenantId, String, Marks)> {
        let mut known = self.known();
        let with_pinned = known.looks.is_multiple_of(LOOKS_PER_PINNED);
        known.looks += 1;
        let mut watched = Vec::new();
        for (tenant, lanes) in &mut known.lanes {
            for (name, lane) in lanes {
                let is_used = !lane.waiting.is_empty() || lane.is_known_empty();
                if is_used && (with_pinned || super::lanes::holder_of(name).is_none()) {
                    watched.push((*tenant, name.clone(), lane.watermark.floor()));
                }
            }
        }
        watched
    }

    /// How many claims wait.
    pub fn waiting_count(&self) -> usize {
        self.known().waiting.len()
    }

    /// Takes a place among the waiting claims. It cannot be fed before [`Ticket::wait`].
    pub fn join<'a>(
        &'a self,
        tenant: TenantId,
        lanes: &'a [String],
        claimant: &'a Claimant,
    ) -> Ticket<'a> {
        let number = {
            let mut known = self.known();
            known.last_ticket += 1;
            known.last_ticket
        };
        let ticket = Ticket {
            hints: self,
            number,
            tenant,
            lanes,
            claimant,
        };
        ticket.looking();
        ticket
    }

    /// Takes out up to `tasks` claims that wait for a lane, oldest first, to hand them what was created.
    pub fn take_waiting(&self, tenant: TenantId, lane: &str, tasks: usize) -> Vec<Taken> {
        let mut known = self.known();
        let numbers: Vec<u64> = match known.lanes.get(&tenant).and_then(|lanes| lanes.get(lane)) {
            Some(lane) => lane.waiting.iter().copied().collect(),
            None => return Vec::new(),
        };
        let mut taken = Vec::new();
        for number in numbers {
            if taken.len() == tasks {
                break;
            }
            if known
                .waiting
                .get(&number)
                .is_some_and(|waiting| waiting.can_be_fed)
                && let Some(waiting) = known.remove(number)
                && let Some(wake) = waiting.wake
            {
                taken.push(Taken {
                    tenant: waiting.tenant,
                    lanes: waiting.lanes,
                    claimant: waiting.claimant,
                    wake,
                });
            }
        }
        taken
    }
}

impl Known {
    fn lane(&mut self, tenant: TenantId, name: &str) -> &mut Lane {
        if self.lane_count >= LANES_MAX {
            for lanes in self.lanes.values_mut() {
                lanes.retain(|_, lane| !lane.is_idle());
            }
            self.lane_count = self.lanes.values().map(HashMap::len).sum();
            // Generations start anew: what was observed before must not be believed.
            self.epoch += 1;
        }
        let lanes = self.lanes.entry(tenant).or_default();
        if !lanes.contains_key(name) {
            lanes.insert(name.to_owned(), Lane::new());
            self.lane_count += 1;
        }
        lanes.get_mut(name).expect("just inserted")
    }

    fn wake(&mut self, number: u64) {
        let Some(waiting) = self.waiting.get_mut(&number) else {
            return;
        };
        match waiting.wake.take() {
            Some(wake) => {
                waiting.can_be_fed = false;
                waiting.look_again = true;
                if wake.send(Woken::LookAgain).is_err() {
                    self.remove(number);
                }
            }
            None => waiting.look_again = true,
        }
    }

    fn remove(&mut self, number: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&number)?;
        if let Some(lanes) = self.lanes.get_mut(&waiting.tenant) {
            for name in &waiting.lanes {
                if let Some(lane) = lanes.get_mut(name) {
                    lane.waiting.remove(&number);
                }
            }
        }
        Some(waiting)
    }
}

impl Ticket<'_> {
    /// A look begins: whatever happens from now on makes [`Ticket::wait`] return at once. A claim that was
    /// taken out to be fed, in vain, takes its place again.
    pub fn looking(&self) {
        let mut known = self.hints.known();
        if let Some(waiting) = known.waiting.get_mut(&self.number) {
            waiting.look_again = false;
            return;
        }
        for lane in self.lanes {
            known.lane(self.tenant, lane).waiting.insert(self.number);
        }
        let waiting = Waiting {
            tenant: self.tenant,
            lanes: self.lanes.to_vec(),
            claimant: self.claimant.clone(),
            can_be_fed: false,
            look_again: false,
            wake: None,
        };
        known.waiting.insert(self.number, waiting);
    }

    /// Waits until there may be work, or until a task is handed over. After the latter the ticket is spent.
    pub async fn wait(&self) -> Woken {
        let woken = {
            let mut known = self.hints.known();
            let Some(waiting) = known.waiting.get_mut(&self.number) else {
                return Woken::LookAgain;
            };
            if waiting.look_again {
                return Woken::LookAgain;
            }
            let (wake, woken) = oneshot::channel();
            waiting.wake = Some(wake);
            waiting.can_be_fed = true;
            woken
        };
        woken.await.unwrap_or(Woken::LookAgain)
    }

    /// Stops waiting. False when somebody has taken the claim out to feed it: then its answer is on the way.
    pub fn leave(&self) -> bool {
        self.hints.known().remove(self.number).is_some()
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.hints.known().remove(self.number);
    }
}

/// The bound on waiting claims, told to the one that would exceed it.
pub(crate) fn too_many_waiting(max: usize) -> Error {
    crate::error::Refused::new(
        protocol::ErrorCode::RateLimited,
        format!("{max} claims wait on this replica already"),
    )
    .reason(protocol::ReasonCode::LimitReached)
    .hint("claim without wait_seconds, or add a replica")
    .retry_after(1)
    .into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tenant() -> TenantId {
        TenantId::from(uuid::Uuid::nil())
    }

    fn lanes() -> Vec<String> {
        vec!["role:a".to_owned()]
    }

    #[test]
    fn a_task_that_came_during_the_look_makes_the_lane_not_empty() {
        let hints = Hints::default();
        let before = hints.observe(tenant(), &lanes());
        hints.work_ready(tenant(), "role:a", 1);
        hints.found_nothing(tenant(), &lanes(), &before, AgentId::new());
        assert!(!hints.are_known_empty(tenant(), &lanes()));
    }

    #[test]
    fn empty_is_remembered_until_something_can_be_claimed() {
        let hints = Hints::default();
        let before = hints.observe(tenant(), &lanes());
        hints.found_nothing(tenant(), &lanes(), &before, AgentId::new());
        assert!(hints.are_known_empty(tenant(), &lanes()));
        hints.forget_everything();
        assert!(!hints.are_known_empty(tenant(), &lanes()));
    }

    #[test]
    fn pinned_lanes_that_hold_nothing_are_left_out_so_that_claims_of_many_agents_share_a_statement()
    {
        let hints = Hints::default();
        let agent = AgentId::new();
        let lanes = vec!["role:a".to_owned(), format!("role:a@{}", agent.uuid())];
        let unsure = hints.unsure_pinned(tenant(), &lanes);
        assert_eq!(unsure, lanes[1..]);
        let observed = hints.observe(tenant(), &unsure);
        hints.found_filled(tenant(), &unsure, &observed, &[]);
        assert_eq!(hints.without_known_empty(tenant(), &lanes), lanes[..1]);
        hints.work_ready(tenant(), &lanes[1], 1);
        assert_eq!(hints.without_known_empty(tenant(), &lanes), lanes);
    }

    #[tokio::test]
    async fn one_waiting_claim_is_woken_per_task_oldest_first() {
        let hints = Hints::default();
        let (lanes, claimant) = (lanes(), Claimant::for_test());
        let first = hints.join(tenant(), &lanes, &claimant);
        let second = hints.join(tenant(), &lanes, &claimant);
        hints.work_ready(tenant(), "role:a", 1);
        assert!(matches!(first.wait().await, Woken::LookAgain));
        let waits = tokio::time::timeout(Duration::from_millis(20), second.wait()).await;
        assert!(
            waits.is_err(),
            "the second claim was woken for the same task"
        );
    }

    #[tokio::test]
    async fn a_claim_that_still_looks_is_not_fed() {
        let hints = Hints::default();
        let (lanes, claimant) = (lanes(), Claimant::for_test());
        let ticket = hints.join(tenant(), &lanes, &claimant);
        assert!(hints.take_waiting(tenant(), "role:a", 1).is_empty());
        assert!(ticket.leave());
    }

    #[test]
    fn a_claim_that_left_is_not_found_any_more() {
        let hints = Hints::default();
        drop(hints.join(tenant(), &lanes(), &Claimant::for_test()));
        assert_eq!(hints.waiting_count(), 0);
        assert!(hints.watched().is_empty());
    }
}
