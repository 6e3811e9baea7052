//! Handing out: the next ready tasks to those who ask.

use std::collections::{BTreeMap, HashMap};

use protocol::{AgentId, TaskId, TenantId, Timestamp, WorkerId, WorkflowId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::claim_store::{Row, answer, fetch};
use super::hints::Hints;
use super::watermark::{Marks, PRIORITIES};
use crate::error::Error;

/// Who asks for a task.
#[derive(Clone, Debug)]
pub struct Claimant {
    /// The agent that will hold it.
    pub agent: AgentId,
    /// That agent's worker.
    pub worker: Option<WorkerId>,
    /// How many leases the agent may hold.
    pub agent_capacity: i32,
    /// How many leases the worker's agents may hold together.
    pub worker_capacity: Option<i32>,
    /// Makes the claim safe to repeat.
    pub request_id: Option<String>,
    /// How long the lease is to be.
    pub lease_seconds: i32,
    /// Whether the holder must name its attempt in every report.
    pub fenced: bool,
    /// Whether the task is handed out already started.
    pub starts: bool,
    /// Only tasks of these workspaces.
    pub workspaces: Option<Vec<Uuid>>,
    /// Only tasks of this workflow.
    pub workflow: Option<WorkflowId>,
    /// What kind of caller asks.
    pub actor_type: &'static str,
    /// Which caller asks.
    pub actor: Uuid,
}

impl Claimant {
    /// Whose capacity bounds it first: its worker, if it has one.
    pub(super) fn holder(&self) -> Uuid {
        self.worker.map_or(self.agent.uuid(), WorkerId::uuid)
    }
}

/// What claims must have in common to share a statement.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bounds {
    /// Whose tasks.
    pub tenant: TenantId,
    /// Only tasks of these workspaces.
    pub workspaces: Option<Vec<Uuid>>,
    /// Only tasks of this workflow.
    pub workflow: Option<Uuid>,
}

impl Bounds {
    /// Whether they take whatever lies in their lanes.
    pub fn are_open(&self) -> bool {
        self.workspaces.is_none() && self.workflow.is_none()
    }
}

/// Claims that share a statement.
#[derive(Debug)]
pub struct Claims<'a> {
    /// What they have in common.
    pub bounds: Bounds,
    /// Those that want the same lanes.
    pub sets: Vec<LaneSet<'a>>,
}

/// Claims that want the same lanes.
#[derive(Debug)]
pub struct LaneSet<'a> {
    /// The lanes they take from.
    pub lanes: Vec<String>,
    /// Which ones they are, of those that were gathered.
    pub places: Vec<usize>,
    /// Who asks, one task each.
    pub claimants: Vec<&'a Claimant>,
}

impl<'a> Claims<'a> {
    /// Gathers claims, each with its tenant and lanes, by what they can share. What came first is served first: in any
    /// order of their own, the same ones would get what the others leave, batch after batch.
    pub fn gather(
        claims: impl Iterator<Item = (TenantId, Vec<String>, &'a Claimant)>,
    ) -> Vec<Self> {
        type Members<'a> = Vec<(usize, &'a Claimant)>;
        let mut gathered: BTreeMap<Bounds, BTreeMap<Vec<String>, Members<'a>>> = BTreeMap::new();
        for (place, (tenant, lanes, claimant)) in claims.enumerate() {
            let bounds = Bounds {
                tenant,
                workspaces: claimant.workspaces.clone(),
                workflow: claimant.workflow.map(WorkflowId::uuid),
            };
            let sets = gathered.entry(bounds).or_default();
            sets.entry(lanes).or_default().push((place, claimant));
        }
        let set = |(lanes, members): (_, Members<'a>)| {
            let (places, claimants) = members.into_iter().unzip();
            LaneSet {
                lanes,
                places,
                claimants,
            }
        };
        let mut all: Vec<Self> = gathered
            .into_iter()
            .map(|(bounds, sets)| {
                let mut sets: Vec<LaneSet<'a>> = sets.into_iter().map(set).collect();
                sets.sort_by_key(|set| set.places.first().copied());
                Self { bounds, sets }
            })
            .collect();
        // Tenants have nothing to take from each other, and stay in one order, in which replicas lock their holders.
        all.sort_by_key(|claims| {
            let first = claims.sets.first().map(|set| set.places.first().copied());
            (claims.bounds.tenant, first)
        });
        all
    }
}

/// What a claim got.
#[derive(Clone, Debug)]
pub enum Claimed {
    /// A task, with the attempt that holds it now.
    Task(Box<Held>),
    /// The task that the same request got before.
    Replayed(Box<Held>),
    /// The same request got an attempt that lives no more.
    Spent {
        /// The task it got.
        task: TaskId,
        /// The attempt it got.
        attempt: i32,
    },
    /// There is nothing for it.
    Nothing,
    /// The agent, or its worker, holds as many leases as it may.
    Full,
    /// The worker drains.
    Draining,
    /// The agent does not exist any more.
    Gone,
}

/// A lease with the facts of its task.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "named like the columns they are read from")]
pub struct Held {
    pub task: TaskId,
    pub attempt: i32,
    pub state: String,
    pub retry_count: i32,
    pub abandon_count: i32,
    pub rework_count: i32,
    pub agent: AgentId,
    pub worker: Option<WorkerId>,
    pub claimed_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub expires_at: Timestamp,
    pub lease_seconds: i32,
    pub progress: Option<String>,
    pub workflow_id: Option<Uuid>,
    pub work_item_id: Option<Uuid>,
    pub workspace_id: Option<Uuid>,
    pub activation_id: Option<Uuid>,
    pub title: String,
    pub description: Option<String>,
    pub task_type: String,
    pub task_kind: String,
    pub role: Option<String>,
    pub stage_name: Option<String>,
    pub priority: i16,
    pub timeout_minutes: i32,
    pub depends_on: Vec<Uuid>,
    pub settings: String,
    pub input: String,
    pub context: String,
    pub role_config: String,
    pub environment: String,
    pub metadata: String,
    pub is_orchestrator_task: bool,
    pub created_at: Timestamp,
}

/// How often claims look again when all they saw was locked by another replica at that moment.
const LOOKS_PAST_OTHERS: usize = 4;

/// What the claims of a set got.
#[derive(Debug)]
pub struct Dealt {
    /// One answer for each claimant, in their order.
    pub claimed: Vec<Claimed>,
    /// Whether those who got nothing may take it that the lanes are empty. Not when they saw tasks that
    /// another replica had locked: it may not have them in the end.
    pub proves_empty: bool,
}

/// Where claims ended, to be remembered once they have committed.
#[derive(Debug, Default)]
pub struct Advance {
    marks: Vec<(TenantId, String, usize, i64)>,
    holders: Vec<(AgentId, TaskId)>,
    /// Of each holder the lowest number that was told: those of one batch do not see each other's leases.
    oldest_leases: HashMap<Uuid, i64>,
}

impl Advance {
    /// Remembers. Only after the commit: a watermark must not pass a task whose claim was rolled back.
    pub fn apply(self, hints: &Hints) {
        for (tenant, lane, priority, seq) in self.marks {
            hints.advance(tenant, &lane, priority, seq);
        }
        for (agent, task) in self.holders {
            hints.holders.holds(agent, task);
        }
        for (holder, oldest) in self.oldest_leases {
            hints.holders.oldest_lease_is(holder, oldest);
        }
    }
}

/// The look for tasks of one set.
pub(super) struct Look<'a> {
    pub(super) set: &'a LaneSet<'a>,
    answers: Vec<Option<Claimed>>,
    /// Beyond which seq it looks in each lane; and the lowest that makes sense.
    pub(super) marks: Vec<Marks>,
    floors: Vec<Marks>,
    looks_past_others: usize,
    saw_tasks_of_others: bool,
    // What the last statement has told.
    candidates: i32,
    got_some: bool,
    come_later: Vec<usize>,
}

impl<'a> Look<'a> {
    fn new(hints: &Hints, claims: &Claims<'_>, set: &'a LaneSet<'a>) -> Self {
        // A filter passes over tasks, so neither reads nor moves the watermark.
        let marks_of = |read: &dyn Fn(&String) -> Marks| -> Vec<Marks> {
            let one = |lane| match claims.bounds.are_open() {
                true => read(lane),
                false => [0; PRIORITIES],
            };
            set.lanes.iter().map(one).collect()
        };
        Self {
            answers: vec![None; set.claimants.len()],
            marks: marks_of(&|lane| hints.marks(claims.bounds.tenant, lane)),
            floors: marks_of(&|lane| hints.floor(claims.bounds.tenant, lane)),
            set,
            looks_past_others: 0,
            saw_tasks_of_others: false,
            candidates: 0,
            got_some: false,
            come_later: Vec::new(),
        }
    }

    /// Who has no answer yet, by their places.
    pub(super) fn open(&self) -> impl Iterator<Item = usize> {
        (0..self.answers.len()).filter(|place| self.answers[*place].is_none())
    }

    fn is_over(&self) -> bool {
        self.open().next().is_none()
    }

    fn looks_beyond_the_floor(&self) -> bool {
        let mut lanes = self.marks.iter().zip(&self.floors);
        lanes.any(|(marks, floors)| marks.iter().zip(floors).any(|(mark, floor)| mark > floor))
    }

    /// Draws the conclusions from what the last statement has told.
    fn conclude(&mut self) {
        let saw_some = self.candidates > 0;
        let later = std::mem::take(&mut self.come_later);
        if saw_some && (self.got_some || self.looks_past_others < LOOKS_PAST_OTHERS) {
            // There may be more behind what was seen, or behind what others have locked: look again.
            self.looks_past_others += usize::from(!self.got_some);
        } else if self.looks_beyond_the_floor() {
            self.marks.clone_from(&self.floors);
        } else {
            self.saw_tasks_of_others |= saw_some;
            // There is nothing for those who were in time.
            for place in self
                .open()
                .filter(|place| !later.contains(place))
                .collect::<Vec<_>>()
            {
                self.answers[place] = Some(Claimed::Nothing);
            }
            self.looks_past_others = 0;
        }
    }
}

/// Hands out tasks to claimants of one tenant: what each set got, in their order.
///
/// Looks beyond the watermarks first; whoever finds nothing there looks once more from the floor, and
/// some more times past what another replica has locked. Where each statement commits by itself, what a first one
/// handed out stands, whatever becomes of a second look for the others.
///
/// # Errors
/// Those of the database. The same claim request on two replicas in one moment is a unique violation: run
/// the whole batch again.
pub async fn claim_next(
    db: &mut PgConnection,
    hints: &Hints,
    claims: &Claims<'_>,
    commits_by_itself: bool,
) -> Result<(Vec<Dealt>, Advance), Error> {
    let mut advance = Advance::default();
    let mut looks: Vec<Look<'_>> = claims
        .sets
        .iter()
        .map(|set| Look::new(hints, claims, set))
        .collect();
    let mut looked_before = false;
    loop {
        let mut open: Vec<&mut Look<'_>> =
            looks.iter_mut().filter(|look| !look.is_over()).collect();
        if open.is_empty() {
            break;
        }
        let asked: Vec<(usize, usize)> = open
            .iter()
            .enumerate()
            .flat_map(|(nth, look)| look.open().map(move |place| (nth, place)))
            .collect();
        let rows = match fetch(db, hints, claims, &open, &asked).await {
            Ok(rows) => rows,
            Err(error) if commits_by_itself && looked_before => {
                tracing::warn!(%error, "a second look for work failed; those that found nothing ask again");
                for look in open {
                    look.saw_tasks_of_others = true;
                }
                break;
            }
            Err(error) => return Err(error),
        };
        looked_before = true;
        for look in &mut open {
            look.got_some = false;
        }
        for row in rows {
            let nth = usize::try_from(row.place)
                .ok()
                .and_then(|nth| nth.checked_sub(1));
            let nth = nth
                .ok_or_else(|| anyhow::anyhow!("claim_next has told of the place {}", row.place))?;
            if row.verdict == "seen" {
                open[nth].candidates = row.candidates.unwrap_or_default();
                continue;
            }
            let (set, place) = asked[nth];
            let look = &mut open[set];
            if row.verdict == "later" {
                look.come_later.push(place);
                continue;
            }
            if row.verdict == "claimed" {
                look.got_some = true;
                if claims.bounds.are_open() {
                    advance.note(claims.bounds.tenant, &row);
                }
            }
            if let (Some(agent), Some(task)) = (row.agent_id, row.task_id) {
                advance.holders.push((agent.into(), task.into()));
            }
            if let Some(oldest) = row.oldest_lease {
                let holder = look.set.claimants[place].holder();
                let lowest = advance.oldest_leases.entry(holder).or_insert(oldest);
                *lowest = oldest.min(*lowest);
            }
            look.answers[place] = Some(answer(row)?);
        }
        for look in open {
            look.conclude();
        }
    }
    let dealt = looks.into_iter().map(|look| Dealt {
        claimed: look
            .answers
            .into_iter()
            .map(|answer| answer.unwrap_or(Claimed::Nothing))
            .collect(),
        proves_empty: !look.saw_tasks_of_others,
    });
    Ok((dealt.collect(), advance))
}

impl Advance {
    fn note(&mut self, tenant: TenantId, row: &Row) {
        if let (Some(lane), Some(priority), Some(seq)) = (&row.lane, row.priority, row.seq) {
            self.marks.push((
                tenant,
                lane.clone(),
                usize::from(priority.unsigned_abs()),
                seq,
            ));
        }
    }
}

/// Finds out which pinned lanes of these claims hold nothing, as far as that is not known yet. Lanes that are
/// known to be empty need not be named, so that the claims of many agents want the same ones.
///
/// # Errors
/// Those of the database.
pub async fn settle_pinned(
    db: &mut PgConnection,
    hints: &Hints,
    tenant: TenantId,
    lanes: &[String],
) -> Result<(), Error> {
    let observed = hints.observe(tenant, lanes);
    let filled = super::loops_store::filled_lanes(db, tenant, lanes).await?;
    hints.found_filled(tenant, lanes, &observed, &filled);
    Ok(())
}

#[cfg(test)]
impl Claimant {
    /// Anyone.
    pub(super) fn for_test() -> Self {
        Self {
            agent: AgentId::new(),
            worker: None,
            agent_capacity: 1,
            worker_capacity: None,
            request_id: None,
            lease_seconds: 30,
            fenced: true,
            starts: false,
            workspaces: None,
            workflow: None,
            actor_type: "agent",
            actor: Uuid::nil(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn claims_share_a_statement_within_their_bounds_and_a_look_with_the_same_lanes() {
        let (ours, theirs) = (TenantId::from(Uuid::nil()), TenantId::from(Uuid::max()));
        let free = Claimant::for_test();
        let bound = Claimant {
            workspaces: Some(vec![Uuid::nil()]),
            ..Claimant::for_test()
        };
        let claims = Claims::gather(
            [
                (ours, lanes(&["b"]), &free),
                (ours, lanes(&["a"]), &free),
                (ours, lanes(&["a"]), &bound),
                (ours, lanes(&["b"]), &free),
                (theirs, lanes(&["a"]), &free),
            ]
            .into_iter(),
        );
        let gathered: Vec<Vec<(&[String], &[usize])>> = claims
            .iter()
            .map(|claims| {
                let sets = claims.sets.iter();
                sets.map(|set| (set.lanes.as_slice(), set.places.as_slice()))
                    .collect()
            })
            .collect();
        let (a, b) = (lanes(&["a"]), lanes(&["b"]));
        let wanted: [&[(&[String], &[usize])]; 3] =
            [&[(&b, &[0, 3]), (&a, &[1])], &[(&a, &[2])], &[(&a, &[4])]];
        assert_eq!(gathered, wanted);
    }

    /// A look for two claimants that has told nothing yet, beyond a watermark that lies above its floor.
    fn look<'a>(set: &'a LaneSet<'a>) -> Look<'a> {
        Look {
            set,
            answers: vec![None; set.claimants.len()],
            marks: vec![[7; PRIORITIES]],
            floors: vec![[3; PRIORITIES]],
            looks_past_others: 0,
            saw_tasks_of_others: false,
            candidates: 0,
            got_some: false,
            come_later: Vec::new(),
        }
    }

    fn set<'a>(claimants: &[&'a Claimant]) -> LaneSet<'a> {
        LaneSet {
            lanes: lanes(&["a"]),
            places: (0..claimants.len()).collect(),
            claimants: claimants.to_vec(),
        }
    }

    #[test]
    fn who_sees_nothing_looks_from_the_floor_and_then_has_nothing() {
        let claimant = Claimant::for_test();
        let set = set(&[&claimant, &claimant]);
        let mut look = look(&set);
        look.conclude();
        assert!(!look.is_over());
        assert_eq!(look.marks, look.floors);
        look.conclude();
        assert!(look.is_over() && !look.saw_tasks_of_others);
    }

    #[test]
    fn who_sees_only_what_others_have_locked_looks_again_some_times_and_proves_nothing() {
        let claimant = Claimant::for_test();
        let set = set(&[&claimant]);
        let mut look = look(&set);
        look.marks.clone_from(&look.floors);
        for _ in 0..LOOKS_PAST_OTHERS {
            look.candidates = 1;
            look.conclude();
            assert!(!look.is_over());
        }
        look.conclude();
        assert!(look.is_over() && look.saw_tasks_of_others);
    }

    #[test]
    fn who_was_told_to_come_later_looks_once_more_when_the_others_have_nothing() {
        let claimant = Claimant::for_test();
        let set = set(&[&claimant, &claimant]);
        let mut look = look(&set);
        look.marks.clone_from(&look.floors);
        look.come_later = vec![1];
        look.conclude();
        assert!(matches!(
            look.answers.as_slice(),
            [Some(Claimed::Nothing), None]
        ));
        look.conclude();
        assert!(look.is_over());
    }
}
