//! What this replica knows about holders. Never the truth, only a hint: losing it costs time, never a task.
//!
//! - Of an agent, whether its hands are empty. An agent that can hold one task only gets back what it holds when it
//!   claims, so such a claim must ask, even where its lanes are known to be empty; not when it was seen a moment ago
//!   to hold nothing.
//! - Of a holder (a worker, or an agent without one), which of its living leases is the oldest, so that counting
//!   them passes over what ended before.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use protocol::{AgentId, TaskId};
use uuid::Uuid;

/// How long an agent is believed to hold nothing after it was seen so: meanwhile another replica may have given it
/// a task.
const FREE_FOR: Duration = Duration::from_secs(5);
/// Holders remembered at most; beyond, all of them are forgotten.
const HOLDERS_MAX: usize = 100_000;

/// What this replica knows about holders.
#[derive(Default)]
pub struct HolderHints(Mutex<Known>);

#[derive(Default)]
struct Known {
    hands: HashMap<AgentId, Hand>,
    /// Leases of a holder have at least this number.
    oldest_leases: HashMap<Uuid, i64>,
}

/// What an agent has in hand, as far as this replica has seen.
enum Hand {
    /// The task it was given last.
    Full(TaskId),
    /// Nothing, since then.
    Empty(Instant),
}

impl HolderHints {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0
            .lock()
            .expect("nothing panics while it holds the hints")
    }

    /// Whether this agent was seen to hold nothing a moment ago.
    pub fn is_known_free(&self, agent: AgentId) -> bool {
        match self.known().hands.get(&agent) {
            Some(Hand::Empty(since)) => since.elapsed() < FREE_FOR,
            Some(Hand::Full(_)) | None => false,
        }
    }

    /// This agent holds a task now.
    pub(super) fn holds(&self, agent: AgentId, task: TaskId) {
        self.known().put(agent, Hand::Full(task));
    }

    /// This agent was found to hold nothing.
    pub(super) fn holds_nothing(&self, agent: AgentId) {
        self.known().put(agent, Hand::Empty(Instant::now()));
    }

    /// A task has left the agent that held it.
    pub fn has_handed_in(&self, agent: AgentId, task: TaskId) {
        let mut known = self.known();
        // It may have been given another one since.
        if matches!(known.hands.get(&agent), Some(Hand::Full(last)) if *last == task) {
            known.put(agent, Hand::Empty(Instant::now()));
        }
    }

    /// This agent has waited here and was given nothing: if it held nothing before, that is believed on. Should another
    /// replica have given it a task meanwhile, its claims here wait until that lease ends.
    pub fn waited_in_vain(&self, agent: AgentId) {
        if let Some(Hand::Empty(since)) = self.known().hands.get_mut(&agent) {
            *since = Instant::now();
        }
    }

    /// Notes may have been missed, and the database may be another one, in which numbers of leases are given anew: a
    /// holder whose leases have lower numbers than are believed here would get more than it may hold.
    pub(super) fn forget(&self) {
        *self.known() = Known::default();
    }

    /// From which number on the living leases of holders are.
    pub(super) fn oldest_leases(&self, holders: impl Iterator<Item = Uuid>) -> Vec<i64> {
        let known = self.known();
        holders
            .map(|holder| known.oldest_leases.get(&holder).copied().unwrap_or(0))
            .collect()
    }

    /// No living lease of this holder has a lower number; and later ones have higher numbers.
    pub(super) fn oldest_lease_is(&self, holder: Uuid, number: i64) {
        let mut known = self.known();
        make_room(&mut known.oldest_leases, &holder);
        let oldest = known.oldest_leases.entry(holder).or_default();
        *oldest = number.max(*oldest);
    }
}

impl Known {
    fn put(&mut self, agent: AgentId, hand: Hand) {
        make_room(&mut self.hands, &agent);
        self.hands.insert(agent, hand);
    }
}

fn make_room<K: Eq + std::hash::Hash, V>(known: &mut HashMap<K, V>, holder: &K) {
    if known.len() >= HOLDERS_MAX && !known.contains_key(holder) {
        known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_is_counted_from_the_first_lease_again() {
        let (hints, holder) = (HolderHints::default(), Uuid::now_v7());
        hints.oldest_lease_is(holder, 7);
        assert_eq!(hints.oldest_leases([holder].into_iter()), [7]);
        hints.forget();
        assert_eq!(hints.oldest_leases([holder].into_iter()), [0]);
    }

    #[test]
    fn an_agent_that_has_handed_in_the_task_it_was_given_last_is_known_to_be_free() {
        let (hints, agent) = (HolderHints::default(), AgentId::new());
        let (first, second) = (TaskId::new(), TaskId::new());
        hints.holds(agent, first);
        hints.waited_in_vain(agent);
        assert!(!hints.is_known_free(agent));
        hints.holds(agent, second);
        hints.has_handed_in(agent, first);
        assert!(
            !hints.is_known_free(agent),
            "it was given another one since"
        );
        hints.has_handed_in(agent, second);
        assert!(hints.is_known_free(agent));
    }
}
