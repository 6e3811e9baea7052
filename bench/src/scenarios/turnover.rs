//! Workers that each create a task, claim one and complete it, so that the backlog keeps its size.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::time::{MissedTickBehavior, interval_at};

use super::cycle::PAYLOAD_BYTES;
use crate::client::Connection;
use crate::fleet::{ClaimWords, Member};
use crate::ledger::Ledger;
use crate::load::{Stage, Tally};
use crate::wire::{self, CreateRequest, TaskRequest};

/// Roles of a backlog.
pub(crate) const ROLES: usize = 20;
/// Roles that one worker serves.
const ROLES_SERVED: usize = 4;

/// The name of a role.
pub(crate) fn role(number: usize) -> String {
    format!("r{}", number % ROLES)
}

/// One such worker.
pub(crate) struct Turner {
    address: SocketAddr,
    create: CreateRequest,
    claim: Vec<u8>,
    complete: TaskRequest,
    /// Between the beginnings of two turns, if it is to keep a pace; and how long to wait before the first.
    pace: Option<(Duration, Duration)>,
    /// Where it notes what it does, if somebody looks meanwhile.
    slice: Option<Arc<Mutex<Tally>>>,
}

impl Turner {
    /// Creates tasks of one role and serves some neighbouring ones.
    pub(crate) fn new(member: &Member, number: usize, address: SocketAddr) -> Self {
        // Mixed within each role. If one role had all that is urgent and another all that can wait, the one would
        // pile up while the lanes of the others ran out, and workers would rightly find nothing.
        let priority = match (number / ROLES) % 20 {
            0 => "critical",
            1 | 2 => "high",
            3 | 4 => "low",
            _ => "normal",
        };
        let create = CreateRequest::new(
            address,
            &member.agent_key,
            &role(number),
            &wire::payload(PAYLOAD_BYTES),
            &format!(r#","priority":"{priority}""#),
        );
        let served: Vec<String> = (number..number + ROLES_SERVED).map(role).collect();
        let served: Vec<&str> = served.iter().map(String::as_str).collect();
        let words = ClaimWords {
            start: true,
            wait_seconds: 0,
        };
        Self {
            address,
            create,
            claim: member.claim(address, &served, words),
            complete: member.complete(address, &wire::payload(PAYLOAD_BYTES)),
            pace: None,
            slice: None,
        }
    }

    /// Keeps a pace of so many turns a second, all workers together. A late turn is made up for.
    pub(crate) fn paced(mut self, number: usize, workers: usize, per_second: f64) -> Self {
        let period = Duration::from_secs_f64(workers as f64 / per_second);
        let first = period.mul_f64(number as f64 / workers as f64);
        self.pace = Some((period, first));
        self
    }

    /// Notes what it does there, for somebody who takes it away now and then.
    pub(crate) fn reporting_to(mut self, slice: Arc<Mutex<Tally>>) -> Self {
        self.slice = Some(slice);
        self
    }

    /// The times are of claims, the other times of creates.
    pub(crate) async fn run(
        mut self,
        stage: Arc<Stage>,
        ledger: Arc<Ledger>,
    ) -> anyhow::Result<Tally> {
        let mut connection = Connection::open(self.address).await?;
        let mut tally = Tally::default();
        let mut turns = self.pace.map(|(period, first)| {
            let mut turns = interval_at(tokio::time::Instant::now() + first, period);
            turns.set_missed_tick_behavior(MissedTickBehavior::Burst);
            turns
        });
        while stage.takes_turn() {
            if let Some(turns) = &mut turns {
                turns.tick().await;
            }
            let began = Instant::now();
            let request = self.create.numbered(ledger.number());
            connection.call(request).await?.expect(201, "a create")?;
            let created = Instant::now();
            let answer = connection.call(&self.claim).await?;
            ensure!(
                answer.status != 204,
                "a claim found nothing, although tasks are left"
            );
            answer.expect(200, "a claim")?;
            let claimed = Instant::now();
            let task = wire::task_in(answer.body)?;
            ledger.claimed(&task)?;
            let answer = connection.call(self.complete.about(task.id)).await?;
            answer.expect(204, "a complete")?;
            ledger.completed();
            if !stage.is_measured() {
                continue;
            }
            let mut slice = self
                .slice
                .as_ref()
                .map(|slice| slice.lock().unwrap_or_else(PoisonError::into_inner));
            let tally = slice.as_deref_mut().unwrap_or(&mut tally);
            tally.done += 1;
            tally.times.add(claimed - created);
            tally.other_times.add(created - began);
        }
        Ok(tally)
    }
}
