//! Heartbeats: many holders in one transaction, gathered for a fifth of a second.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use protocol::{
    AgentHeartbeat, AgentHeartbeatAnswer, AgentId, AgentStatus, HeartbeatLease, JsonObject,
    LeaseRef, PendingMessage, PendingSignal, TaskId, TenantId, WorkerHeartbeat,
    WorkerHeartbeatAnswer, WorkerId, WorkerStatus,
};
use sqlx::PgConnection;

use super::{Heard, Holder, check_free_data, store};
use crate::app::App;
use crate::batch::Lane;
use crate::db::LaneDb;
use crate::error::Error;
use crate::http::{Caller, mask_secrets};
use crate::queue::{self, Holding, Renewal};
use crate::{agents, messages, workers};

/// Leases that one heartbeat may list: as many as a worker may hold.
const LEASES_MAX: usize = 1000;
/// Largest progress of a lease, and largest metrics of a worker.
const REPORT_BYTES_MAX: usize = 8 * 1024;

/// One heartbeat, checked.
#[derive(Debug)]
pub struct Beat {
    tenant: TenantId,
    holder: Holder,
    /// The worker that must host the agent, when a worker speaks for it.
    host: Option<WorkerId>,
    said_status: WorkerStatus,
    metrics: Option<JsonObject>,
    leases: Option<HashMap<LeaseRef, Option<JsonObject>>>,
    weight: usize,
}

/// What became of a heartbeat.
#[derive(Debug)]
pub enum Outcome {
    /// A worker was heard.
    Worker(WorkerHeartbeatAnswer),
    /// An agent was heard.
    Agent(AgentHeartbeatAnswer),
    /// There is no such holder in the tenant.
    Unknown,
    /// The agent exists, but the worker that spoke for it does not host it.
    NotHosted,
}

impl Beat {
    /// A worker's heartbeat.
    ///
    /// # Errors
    /// 403 for another worker; 422 for bad fields.
    pub fn of_worker(
        caller: &Caller,
        worker: WorkerId,
        weight: usize,
        body: WorkerHeartbeat,
    ) -> Result<Self, Error> {
        caller.must_be(None, Some(worker))?;
        let said_status = body.status.unwrap_or(WorkerStatus::Online);
        if said_status == WorkerStatus::Degraded {
            return Err(Error::field(
                "status",
                "degraded is what the platform finds; say online, busy, draining, disconnected or offline",
            ));
        }
        check_free_data("metrics", body.metrics.as_ref(), REPORT_BYTES_MAX)?;
        Ok(Self {
            tenant: caller.tenant(),
            holder: Holder::Worker(worker),
            host: None,
            said_status,
            metrics: body.metrics.map(masked).transpose()?,
            leases: body.leases.map(listed).transpose()?,
            weight,
        })
    }

    /// An agent's heartbeat, by itself or by the worker that hosts it.
    ///
    /// # Errors
    /// 403 for another agent; 422 for bad fields.
    pub fn of_agent(
        caller: &Caller,
        agent: AgentId,
        weight: usize,
        body: AgentHeartbeat,
    ) -> Result<Self, Error> {
        let host = caller.worker();
        // Whether a worker hosts the agent is looked up with the rest of the batch.
        if host.is_none() {
            caller.must_be(Some(agent), None)?;
        }
        Ok(Self {
            tenant: caller.tenant(),
            holder: Holder::Agent(agent),
            host,
            said_status: WorkerStatus::Online,
            metrics: None,
            leases: body.leases.map(listed).transpose()?,
            weight,
        })
    }
}

/// The leases of a heartbeat, each once.
fn listed(leases: Vec<HeartbeatLease>) -> Result<HashMap<LeaseRef, Option<JsonObject>>, Error> {
    if leases.len() > LEASES_MAX {
        let message = format!(
            "must have at most {LEASES_MAX} entries, has {}",
            leases.len()
        );
        return Err(Error::field("leases", message));
    }
    leases
        .into_iter()
        .map(|lease| {
            check_free_data("leases.progress", lease.progress.as_ref(), REPORT_BYTES_MAX)?;
            let named = LeaseRef {
                task_id: lease.task_id,
                attempt: lease.attempt,
            };
            Ok((named, lease.progress.map(masked).transpose()?))
        })
        .collect()
}

/// Free data without what looks like a secret.
fn masked(data: JsonObject) -> Result<JsonObject, Error> {
    Ok(JsonObject::from_text(mask_secrets(data.text()))?)
}

/// The lane of heartbeats.
#[derive(Debug)]
pub struct HeartbeatLane;

impl Lane for HeartbeatLane {
    type Member = Beat;
    type Answer = Outcome;
    type Key = (TenantId, Holder);

    const NAME: &'static str = "heartbeat";
    const GATHER: Duration = Duration::from_millis(200);

    fn key(beat: &Beat) -> Option<Self::Key> {
        Some((beat.tenant, beat.holder))
    }

    fn weight(beat: &Beat) -> usize {
        beat.weight
    }

    async fn run(app: &App, beats: &[Beat]) -> Result<Vec<Outcome>, Error> {
        let mut tenants: BTreeMap<TenantId, Vec<usize>> = BTreeMap::new();
        for (place, beat) in beats.iter().enumerate() {
            tenants.entry(beat.tenant).or_default().push(place);
        }
        let mut outcomes: Vec<Option<Outcome>> = beats.iter().map(|_| None).collect();
        let mut tx = app.db.begin_lane(LaneDb::Heartbeat).await?;
        store::spare_the_disk(tx.conn()).await?;
        for (tenant, places) in tenants {
            let group: Vec<&Beat> = places.iter().map(|place| &beats[*place]).collect();
            let answers = serve_tenant(tx.conn(), tenant, &group).await?;
            for (place, answer) in places.into_iter().zip(answers) {
                outcomes[place] = Some(answer);
            }
        }
        tx.commit(app).await?;
        Ok(outcomes
            .into_iter()
            .map(|outcome| outcome.expect("every beat belongs to one tenant"))
            .collect())
    }
}

/// Serves the heartbeats of one tenant, each statement for all of them.
async fn serve_tenant(
    db: &mut PgConnection,
    tenant: TenantId,
    beats: &[&Beat],
) -> Result<Vec<Outcome>, Error> {
    let heard = touch(db, tenant, beats).await?;
    let present: Vec<&Beat> = beats
        .iter()
        .copied()
        .filter(|beat| {
            heard
                .get(&beat.holder)
                .is_some_and(|heard| heard.is_allowed)
        })
        .collect();
    let holders: Vec<Holder> = present.iter().map(|beat| beat.holder).collect();

    let (mut renewals, mut everything_of) = (Vec::new(), Vec::new());
    for beat in &present {
        match &beat.leases {
            Some(leases) => renewals.extend(leases.iter().map(|(lease, progress)| Renewal {
                holder: beat.holder,
                lease: *lease,
                progress: progress.as_ref().map(JsonObject::text),
            })),
            None if heard[&beat.holder].is_fenced => {}
            None => everything_of.push(beat.holder),
        }
    }
    queue::renew(db, tenant, &renewals, &everything_of).await?;

    let held = queue::held_by(db, tenant, &holders).await?;
    let leases = held.iter().map(|holding| holding.lease);
    let waiting = messages::waiting(db, tenant, leases).await?;
    let held = by_holder(&held);
    let told: Vec<Told> = present
        .iter()
        .map(|beat| {
            let held = held.get(&beat.holder).map_or(&[][..], Vec::as_slice);
            compare(beat, heard[&beat.holder].is_fenced, held)
        })
        .collect();
    let missing: Vec<TaskId> = told
        .iter()
        .flat_map(|told| told.missing.iter().map(|lease| lease.task_id))
        .collect();
    let cancelled = queue::cancelled_among(db, tenant, &missing).await?;
    let mut statuses = Statuses::read(db, tenant, &holders).await?;

    let mut answers: HashMap<Holder, Outcome> = present
        .iter()
        .zip(told)
        .map(|(beat, told)| {
            let of_holder = held.get(&beat.holder).map_or(&[][..], Vec::as_slice);
            // Whoever is to stop need not listen.
            let at_work = of_holder.iter().filter(|held| !held.is_cancelled);
            let messages = messages::tell(at_work.map(|held| held.lease.task_id), &waiting);
            let answer = statuses.answer(beat.holder, told, &cancelled, messages);
            (beat.holder, answer)
        })
        .collect();
    Ok(beats
        .iter()
        .map(|beat| match heard.get(&beat.holder) {
            None => Outcome::Unknown,
            Some(heard) if !heard.is_allowed => Outcome::NotHosted,
            Some(_) => answers
                .remove(&beat.holder)
                .expect("a holder beats once in a batch"),
        })
        .collect())
}

/// Writes down who was heard. Workers go before agents, as everywhere.
async fn touch(
    db: &mut PgConnection,
    tenant: TenantId,
    beats: &[&Beat],
) -> Result<HashMap<Holder, Heard>, Error> {
    let mut worker_beats = Vec::new();
    let mut agent_beats = Vec::new();
    for beat in beats {
        match beat.holder {
            Holder::Worker(id) => worker_beats.push(workers::Beat {
                id,
                said_status: beat.said_status,
                metrics: beat.metrics.as_ref().map(JsonObject::text),
            }),
            Holder::Agent(id) => agent_beats.push((id, beat.host)),
        }
    }
    let mut heard = workers::touch(db, tenant, &worker_beats).await?;
    heard.extend(agents::touch(db, tenant, &agent_beats).await?);
    Ok(heard
        .into_iter()
        .map(|heard| (heard.holder, heard))
        .collect())
}

/// What a heartbeat and the queue know about leases, set against each other.
#[derive(Debug, Default, PartialEq)]
struct Told {
    /// Listed, but not held.
    missing: Vec<LeaseRef>,
    /// Held, but not listed.
    unlisted: Vec<LeaseRef>,
    /// Held, but of a run that was cancelled.
    cancelled: Vec<LeaseRef>,
}

/// A lease as the queue has it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    lease: LeaseRef,
    is_cancelled: bool,
}

/// The leases of each holder: a lease is its agent's, and its worker's.
fn by_holder(held: &[Holding]) -> HashMap<Holder, Vec<Held>> {
    let mut leases: HashMap<Holder, Vec<Held>> = HashMap::new();
    for holding in held {
        let holders = [
            Some(Holder::Agent(holding.agent)),
            holding.worker.map(Holder::Worker),
        ];
        for holder in holders.into_iter().flatten() {
            leases.entry(holder).or_default().push(Held {
                lease: holding.lease,
                is_cancelled: holding.is_cancelled,
            });
        }
    }
    leases
}

fn compare(beat: &Beat, is_fenced: bool, held: &[Held]) -> Told {
    let cancelled = held
        .iter()
        .filter(|held| held.is_cancelled)
        .map(|held| held.lease)
        .collect();
    let none = HashMap::new();
    let listed = match &beat.leases {
        Some(leases) => leases,
        None if is_fenced => &none,
        // A plain client never lists its leases, so none is missing from its list.
        None => {
            return Told {
                cancelled,
                ..Told::default()
            };
        }
    };
    let held: Vec<LeaseRef> = held.iter().map(|held| held.lease).collect();
    let unlisted = held
        .iter()
        .filter(|lease| !listed.contains_key(lease))
        .copied()
        .collect();
    let held: HashSet<&LeaseRef> = held.iter().collect();
    let mut missing: Vec<LeaseRef> = listed
        .keys()
        .filter(|lease| !held.contains(lease))
        .copied()
        .collect();
    missing.sort_by_key(|lease| (lease.task_id, lease.attempt));
    Told {
        missing,
        unlisted,
        cancelled,
    }
}

/// How the holders of a batch are doing, and which signals wait for its workers.
struct Statuses {
    workers: HashMap<WorkerId, WorkerStatus>,
    agents: HashMap<AgentId, AgentStatus>,
    signals: HashMap<WorkerId, Vec<PendingSignal>>,
}

impl Statuses {
    async fn read(
        db: &mut PgConnection,
        tenant: TenantId,
        holders: &[Holder],
    ) -> Result<Self, Error> {
        let (mut worker_ids, mut agent_ids) = (Vec::new(), Vec::new());
        for holder in holders {
            match holder {
                Holder::Worker(worker) => worker_ids.push(*worker),
                Holder::Agent(agent) => agent_ids.push(*agent),
            }
        }
        Ok(Self {
            workers: workers::statuses(db, tenant, &worker_ids).await?,
            agents: agents::statuses(db, tenant, &agent_ids).await?,
            signals: workers::pending_signals(db, tenant, &worker_ids).await?,
        })
    }

    fn answer(
        &mut self,
        holder: Holder,
        told: Told,
        cancelled: &HashSet<TaskId>,
        messages: Vec<PendingMessage>,
    ) -> Outcome {
        let (mut called_off, lost): (Vec<LeaseRef>, _) = told
            .missing
            .into_iter()
            .partition(|lease| cancelled.contains(&lease.task_id));
        called_off.extend(told.cancelled);
        match holder {
            Holder::Worker(worker) => match self.workers.get(&worker) {
                Some(status) => Outcome::Worker(WorkerHeartbeatAnswer {
                    ack: true,
                    status: *status,
                    pending_signals: self.signals.remove(&worker).unwrap_or_default(),
                    lost,
                    cancelled: called_off,
                    unlisted: told.unlisted,
                    messages,
                }),
                None => Outcome::Unknown,
            },
            Holder::Agent(agent) => match self.agents.get(&agent) {
                Some(status) => Outcome::Agent(AgentHeartbeatAnswer {
                    ack: true,
                    status: *status,
                    lost,
                    cancelled: called_off,
                    unlisted: told.unlisted,
                    messages,
                }),
                None => Outcome::Unknown,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(attempt: i32) -> LeaseRef {
        LeaseRef {
            task_id: TaskId::new(),
            attempt,
        }
    }

    fn held(lease: LeaseRef) -> Held {
        Held {
            lease,
            is_cancelled: false,
        }
    }

    fn beat(leases: Option<&[LeaseRef]>) -> Beat {
        Beat {
            tenant: TenantId::new(),
            holder: Holder::Worker(WorkerId::new()),
            host: None,
            said_status: WorkerStatus::Online,
            metrics: None,
            leases: leases.map(|leases| leases.iter().map(|lease| (*lease, None)).collect()),
            weight: 0,
        }
    }

    #[test]
    fn a_lease_of_an_older_attempt_is_missing_and_the_newer_one_is_unlisted() {
        let old = lease(1);
        let new = LeaseRef { attempt: 2, ..old };
        let told = compare(&beat(Some(&[old])), true, &[held(new)]);
        assert_eq!(told.missing, [old]);
        assert_eq!(told.unlisted, [new]);
    }

    #[test]
    fn a_lease_is_its_agents_and_its_workers_and_nobody_elses() {
        let (worker, agent, mine) = (WorkerId::new(), AgentId::new(), lease(1));
        let leases = by_holder(&[Holding {
            lease: mine,
            agent,
            worker: Some(worker),
            is_cancelled: false,
        }]);
        assert_eq!(leases[&Holder::Worker(worker)], [held(mine)]);
        assert_eq!(leases[&Holder::Agent(agent)], [held(mine)]);
        assert_eq!(leases.len(), 2);
    }

    #[test]
    fn a_fenced_holder_that_lists_nothing_has_everything_unlisted() {
        let mine = lease(3);
        assert_eq!(compare(&beat(None), true, &[held(mine)]).unlisted, [mine]);
    }

    #[test]
    fn a_plain_client_that_lists_nothing_is_told_nothing() {
        assert_eq!(
            compare(&beat(None), false, &[held(lease(1))]),
            Told::default()
        );
    }

    #[test]
    fn a_lease_of_a_cancelled_run_is_told_whether_it_is_listed_or_not() {
        let mine = lease(1);
        let called_off = Held {
            lease: mine,
            is_cancelled: true,
        };
        for listed in [None, Some(&[mine][..])] {
            for is_fenced in [false, true] {
                let told = compare(&beat(listed), is_fenced, &[called_off]);
                assert_eq!(told.cancelled, [mine]);
            }
        }
    }
}
