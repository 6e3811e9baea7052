//! Taking log entries in: many callers, one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use protocol::{LogGap, LogInput, LogRejection, LogsIngested, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::judge::{Position, Reporter, judge};
use super::sequence::{self, Heads, Step};
use super::store::{self, NewLog, Task};
use crate::app::App;
use crate::batch::Lane;
use crate::db::{LaneDb, Note};
use crate::error::Error;
use crate::queue::{LogTouch, touch_leases};

/// Rejections and gaps told in one answer at most.
const DETAILS_MAX: usize = 10;

/// The lane of log entries.
pub struct LogLane;

/// The entries of one request.
pub struct LogBatch {
    pub(super) tenant: TenantId,
    pub(super) reporter: Reporter,
    /// The workspaces that the key is restricted to; empty means all.
    pub(super) workspaces: Vec<Uuid>,
    pub(super) entries: Vec<LogInput>,
    pub(super) weight: usize,
}

impl Lane for LogLane {
    type Member = LogBatch;
    type Answer = LogsIngested;
    type Key = ();

    const NAME: &'static str = "logs";
    /// Long enough that a fleet's batches share commits, and too short to be seen by whoever follows a log.
    const GATHER: Duration = Duration::from_millis(25);

    /// Members may share tasks: their entries are numbered through in the order of the members.
    fn key(_: &LogBatch) -> Option<()> {
        None
    }

    fn weight(member: &LogBatch) -> usize {
        member.weight
    }

    async fn run(app: &App, members: &[LogBatch]) -> Result<Vec<LogsIngested>, Error> {
        let mut by_tenant: BTreeMap<TenantId, Vec<usize>> = BTreeMap::new();
        for (place, member) in members.iter().enumerate() {
            by_tenant.entry(member.tenant).or_default().push(place);
        }
        let mut answers: Vec<Option<LogsIngested>> = members.iter().map(|_| None).collect();
        let mut tx = app.db.begin_lane(LaneDb::Logs).await?;
        for (tenant, places) in by_tenant {
            let theirs: Vec<&LogBatch> = places.iter().map(|place| &members[*place]).collect();
            let taken = ingest(tx.conn(), tenant, &theirs).await?;
            for (place, answer) in places.into_iter().zip(taken) {
                answers[place] = Some(answer);
            }
        }
        tx.note(Note::LogsAppended);
        tx.commit(app).await?;
        Ok(answers
            .into_iter()
            .map(|answer| answer.expect("every member belongs to one tenant"))
            .collect())
    }
}

/// An entry that is taken, and whose it is.
struct Taken<'a> {
    member: usize,
    entry: &'a LogInput,
    attempt: Option<i32>,
}

impl Taken<'_> {
    /// The attempt it is numbered in, and its number there.
    fn number(&self) -> Option<(sequence::Attempt, i64)> {
        Some(((self.entry.task_id?.uuid(), self.attempt?), self.entry.seq?))
    }
}

/// Judges and stores the entries of one tenant.
async fn ingest(
    db: &mut PgConnection,
    tenant: TenantId,
    members: &[&LogBatch],
) -> Result<Vec<LogsIngested>, Error> {
    let tasks = tasks(db, tenant, members).await?;
    let mut answers = Vec::with_capacity(members.len());
    let mut taken = Vec::new();
    let mut touches = BTreeSet::new();
    for (member, batch) in members.iter().enumerate() {
        let mut refused = Vec::new();
        for (place, entry) in batch.entries.iter().enumerate() {
            let position = entry
                .task_id
                .and_then(|task| tasks.get(&task.uuid()))
                .map(|task| &task.position);
            match judge(entry, batch.reporter, &batch.workspaces, position) {
                Ok(attempt) => {
                    touches.extend(touch(entry, attempt, batch.reporter, position));
                    taken.push(Taken {
                        member,
                        entry,
                        attempt,
                    });
                }
                Err(reason) => refused.push((place, entry, reason)),
            }
        }
        answers.push(answer(batch.entries.len(), &refused));
    }
    let taken = sequence::in_order(taken, Taken::number);
    let mut heads = lock_heads(db, tenant, &taken).await?;
    let mut rows = Vec::with_capacity(taken.len());
    let mut repeated = 0;
    for Taken {
        member,
        entry,
        attempt,
    } in &taken
    {
        let task = entry.task_id.and_then(|task| tasks.get(&task.uuid()));
        if let (Some(task), Some(attempt), Some(seq)) = (entry.task_id, *attempt, entry.seq) {
            let place = (task.uuid(), attempt);
            match heads.take(place, seq) {
                Step::Next => {}
                Step::Repetition => {
                    repeated += 1;
                    continue;
                }
                Step::Jump { from, to } => {
                    let gap = sequence::gap(place, from, to);
                    rows.push(NewLog::gap(entry, attempt, &gap, tasks.get(&place.0)));
                    tell(&mut answers[*member].gaps, gap);
                }
            }
        }
        rows.push(NewLog::of(entry, *attempt, task));
    }
    store::insert(db, tenant, &rows).await?;
    store::write_heads(db, tenant, &heads.moved()).await?;
    let touches: Vec<LogTouch> = touches.into_iter().collect();
    if !touches.is_empty() {
        touch_leases(db, tenant, &touches).await?;
    }
    count(taken.len() - repeated, repeated, &answers);
    Ok(answers)
}

/// The tasks that the entries are about, as far as they exist in this tenant.
async fn tasks(
    db: &mut PgConnection,
    tenant: TenantId,
    members: &[&LogBatch],
) -> Result<HashMap<Uuid, Task>, Error> {
    let wanted: BTreeSet<Uuid> = members
        .iter()
        .flat_map(|batch| &batch.entries)
        .filter_map(|entry| entry.task_id.map(protocol::TaskId::uuid))
        .collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let wanted: Vec<Uuid> = wanted.into_iter().collect();
    let mut tasks = store::tasks(db, tenant, &wanted).await?;
    let is_operated = members
        .iter()
        .all(|batch| batch.reporter == Reporter::Operator);
    // A task that is back in the queue no longer says who held it; its events do.
    let returned: Vec<(Uuid, i32)> = tasks
        .iter()
        .filter(|(_, task)| task.position.attempt > 0 && task.position.holders.is_empty())
        .map(|(id, task)| (*id, task.position.attempt))
        .collect();
    if !returned.is_empty() && !is_operated {
        for (task, holder) in store::former_holders(db, tenant, &returned).await? {
            if let Some(task) = tasks.get_mut(&task) {
                task.position.holders.insert(holder);
            }
        }
    }
    Ok(tasks)
}

/// The lease that an entry renews: that of its attempt, for the holder alone.
fn touch(
    entry: &LogInput,
    attempt: Option<i32>,
    reporter: Reporter,
    position: Option<&Position>,
) -> Option<LogTouch> {
    reporter.holder()?;
    position.filter(|position| position.is_held)?;
    let (agent, worker) = match reporter {
        Reporter::Agent(id) => (Some(id), None),
        Reporter::Worker(id) => (None, Some(id)),
        Reporter::Operator | Reporter::Nobody => (None, None),
    };
    Some(LogTouch {
        task: entry.task_id?.uuid(),
        attempt: attempt?,
        agent,
        worker,
    })
}

async fn lock_heads(
    db: &mut PgConnection,
    tenant: TenantId,
    taken: &[Taken<'_>],
) -> Result<Heads, Error> {
    let attempts: BTreeSet<sequence::Attempt> = taken
        .iter()
        .filter_map(|taken| Some(taken.number()?.0))
        .collect();
    let mut heads = Heads::default();
    if !attempts.is_empty() {
        let attempts: Vec<_> = attempts.into_iter().collect();
        for (attempt, last) in store::lock_heads(db, tenant, &attempts).await? {
            heads.add_stored(attempt, last);
        }
    }
    Ok(heads)
}

fn answer(entries: usize, refused: &[(usize, &LogInput, super::judge::Reason)]) -> LogsIngested {
    let count = |number: usize| i64::try_from(number).expect("a batch is small");
    LogsIngested {
        accepted: count(entries - refused.len()),
        rejected: count(refused.len()),
        rejection_details: refused
            .iter()
            .take(DETAILS_MAX)
            .map(|(place, entry, reason)| LogRejection {
                index: count(*place),
                trace_id: entry.trace_id,
                operation: entry.operation.clone(),
                reason: reason.as_str().to_owned(),
            })
            .collect(),
        gaps: vec![],
    }
}

fn tell(gaps: &mut Vec<LogGap>, gap: LogGap) {
    if gaps.len() < DETAILS_MAX {
        gaps.push(gap);
    }
}

fn count(stored: usize, repeated: usize, answers: &[LogsIngested]) {
    let rejected: i64 = answers.iter().map(|answer| answer.rejected).sum();
    for (outcome, number) in [
        ("stored", stored as u64),
        ("repeated", repeated as u64),
        ("rejected", rejected.unsigned_abs()),
    ] {
        metrics::counter!("stint_log_entries_total", "outcome" => outcome).increment(number);
    }
}
