//! Creating tasks.

use std::collections::{HashMap, HashSet};

use protocol::{ErrorCode, ReasonCode, Task, TaskId, TaskState, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::belong;
use super::feed::Feeding;
use super::new_task::{Maker, Member};
use super::record::Row;
use super::store;
use crate::app::App;
use crate::batch::Lane;
use crate::consequences;
use crate::db::{LaneDb, Note, Tx};
use crate::error::{Error, Refused};
use crate::queue::{self, NewTask, Order, Placed};

/// What waits together to be created commits together, and with it the claims that wait for it.
pub struct CreateLane;

/// What became of it.
#[derive(Clone, Debug)]
pub struct Created {
    /// The task.
    pub task: Task,
    /// Whether an earlier request with the same id made it.
    pub is_replay: bool,
}

impl Lane for CreateLane {
    type Member = Member;
    type Answer = Result<Created, Error>;
    type Key = (TenantId, Uuid, String);
    const NAME: &'static str = "create";

    fn key(member: &Member) -> Option<Self::Key> {
        let request_id = member.task.request_id.clone()?;
        Some((member.tenant, member.task.request_holder, request_id))
    }

    fn weight(member: &Member) -> usize {
        member.weight
    }

    async fn run(app: &App, members: &[Member]) -> Result<Vec<Self::Answer>, Error> {
        let groups = super::by_tenant(members, |member| member.tenant);
        let (outcomes, mut feedings) = create(app, &groups).await?;
        for feeding in &mut feedings {
            feeding.hand_out(app).await;
        }
        // The tasks are made: whatever fails from here on must not make them once more.
        let mut answers = super::Answers::for_batch_of(members.len());
        for ((tenant, group, places), outcome) in groups.iter().zip(outcomes) {
            let made = read_answers(app, *tenant, group, outcome).await;
            answers.put(
                places,
                made.map_err(|error| {
                    tracing::warn!(%error, "tasks were made, and could not be read");
                    Error::outcome_unknown()
                })?,
            );
        }
        Ok(answers.in_order())
    }
}

/// The members of one tenant, with their places in the batch.
type Group<'a> = (TenantId, Vec<&'a Member>, Vec<usize>);

/// What became of the members of one tenant: who was refused, who was placed, and those tasks that are known as
/// they were made, without reading them.
pub(super) struct Outcome {
    pub(super) refusals: Vec<Option<Error>>,
    pub(super) placed: Vec<Option<Placed>>,
    pub(super) known: HashMap<TaskId, Task>,
}

/// Creates a batch of tasks. Of one tenant and concerning nobody else, that is one statement, which commits
/// by itself; otherwise, or with claims that wait for just this, it is a transaction.
async fn create(app: &App, groups: &[Group<'_>]) -> Result<(Vec<Outcome>, Vec<Feeding>), Error> {
    let mut feedings: Vec<Feeding> = groups
        .iter()
        .map(|(tenant, members, _)| Feeding::for_tasks(app, *tenant, ready_lanes(members)))
        .collect();
    if let [(tenant, members, _)] = groups
        && feedings.iter().all(Feeding::is_empty)
        && members.iter().all(|member| !member.concerns_others())
    {
        return Ok((vec![create_alone(app, *tenant, members).await?], feedings));
    }
    let mut tx = app.db.begin_lane(LaneDb::Create).await?;
    let mut outcomes = Vec::with_capacity(groups.len());
    for ((tenant, members, _), feeding) in groups.iter().zip(&mut feedings) {
        let outcome = place_with_others(&mut tx, *tenant, members).await?;
        feeding.claim(app, &mut tx).await?;
        for note in notes(*tenant, members, &outcome.placed, &feeding.fed()) {
            tx.note(note);
        }
        outcomes.push(outcome);
    }
    tx.commit(app).await?;
    Ok((outcomes, feedings))
}

async fn create_alone(app: &App, tenant: TenantId, members: &[&Member]) -> Result<Outcome, Error> {
    let mut db = app.db.lane(LaneDb::Create).await?;
    let tasks: Vec<&NewTask> = members.iter().map(|member| &member.task).collect();
    let placed = queue::place(&mut db, tenant, &tasks, &vec![[].as_slice(); tasks.len()])
        .await
        .map_err(crate::db::unknown_outcome)?;
    db.put_back();
    let made = tasks.iter().zip(&placed);
    let ready = made.filter(|(_, placed)| placed.is_made && placed.is_ready);
    let known = ready
        .filter_map(|(task, placed)| {
            let record = Task::try_from(Row::of_new(tenant, task, placed.made_at));
            Some((task.id, record.ok()?))
        })
        .collect();
    let placed: Vec<Option<Placed>> = placed.into_iter().map(Some).collect();
    let notes = notes(tenant, members, &placed, &HashSet::new());
    app.bus.publish(app, notes);
    Ok(Outcome {
        refusals: members.iter().map(|_| None).collect(),
        placed,
        known,
    })
}

/// In which lanes how many tasks will be ready at once.
fn ready_lanes(members: &[&Member]) -> HashMap<String, usize> {
    let mut lanes = HashMap::new();
    for member in members.iter().filter(|member| member.is_ready_at_once()) {
        *lanes.entry(member.task.lane.clone()).or_default() += 1;
    }
    lanes
}

/// What there is to tell of tasks that were made. Those that were handed to waiting claims at once concern nobody
/// else: of a lane in which nothing is left there is nothing to tell.
pub(super) fn notes(
    tenant: TenantId,
    members: &[&Member],
    placed: &[Option<Placed>],
    fed: &HashSet<TaskId>,
) -> Vec<Note> {
    let mut lanes: HashMap<&str, u32> = HashMap::new();
    for (member, placed) in members.iter().zip(placed) {
        let is_ready = placed.is_some_and(|placed| placed.is_made && placed.is_ready);
        if is_ready && !fed.contains(&member.task.id) {
            *lanes.entry(&member.task.lane).or_default() += 1;
        }
    }
    let ready = lanes.into_iter().map(|(lane, tasks)| Note::WorkReady {
        tenant,
        lane: lane.to_owned(),
        tasks,
        at_old_place: false,
    });
    let is_due_later = members
        .iter()
        .any(|member| member.task.available_at.is_some());
    let due = is_due_later.then(|| Note::DueSooner {
        name: "release_due".to_owned(),
    });
    [Note::EventsAppended]
        .into_iter()
        .chain(ready)
        .chain(due)
        .collect()
}

/// Looks at what the tasks concern, refuses those that cannot be, and creates the others.
pub(super) async fn place_with_others(
    tx: &mut Tx,
    tenant: TenantId,
    members: &[&Member],
) -> Result<Outcome, Error> {
    let mut belonging = belong::belonging(tx, tenant, members).await?;
    let needed: Vec<Uuid> = members
        .iter()
        .flat_map(|member| member.task.depends_on.iter().copied())
        .collect();
    let states = if needed.is_empty() {
        HashMap::new()
    } else {
        queue::lock_predecessors(tx.conn(), tenant, &needed).await?
    };
    let mut refusals: Vec<Option<Error>> = Vec::with_capacity(members.len());
    let mut waits_for: Vec<Vec<Uuid>> = Vec::with_capacity(members.len());
    // Subtasks that this batch makes: the statement that counts those of a parent does not see them yet.
    let mut siblings: HashMap<Uuid, i64> = HashMap::new();
    for (at, member) in members.iter().enumerate() {
        if belonging.get(&at).is_some_and(Result::is_err) {
            refusals.push(belonging.remove(&at).and_then(Result::err));
            waits_for.push(Vec::new());
            continue;
        }
        let parent = member.task.parent_id;
        let made_here = parent.and_then(|parent| siblings.get(&parent).copied());
        let refusal = refuse(
            tx.conn(),
            tenant,
            member,
            &states,
            made_here.unwrap_or_default(),
        )
        .await?;
        if let (Some(parent), None) = (parent, &refusal) {
            *siblings.entry(parent).or_default() += 1;
        }
        let unfinished = member
            .task
            .depends_on
            .iter()
            .filter(|id| {
                states
                    .get(id)
                    .is_some_and(|state| *state != TaskState::Completed)
            })
            .filter(|id| {
                !(member.task.on_dependency_failure == "run"
                    && states.get(id).is_some_and(|state| state.is_final()))
            })
            .copied()
            .collect();
        refusals.push(refusal);
        waits_for.push(unfinished);
    }
    let chosen: Vec<usize> = (0..members.len())
        .filter(|place| refusals[*place].is_none())
        .collect();
    let stored = |at: usize| match belonging.get(&at) {
        Some(Ok(task)) => task,
        Some(Err(_)) | None => &members[at].task,
    };
    let tasks: Vec<&NewTask> = chosen.iter().map(|place| stored(*place)).collect();
    let open: Vec<&[Uuid]> = chosen
        .iter()
        .map(|place| waits_for[*place].as_slice())
        .collect();
    let mut placed: Vec<Option<Placed>> = vec![None; members.len()];
    for (place, done) in chosen
        .iter()
        .zip(queue::place(tx.conn(), tenant, &tasks, &open).await?)
    {
        placed[*place] = Some(done);
    }
    let made = placed.iter().enumerate();
    let made = made.filter_map(|(at, placed)| Some((stored(at), placed.as_ref()?)));
    queue::mark(tx, tenant, made);
    let lost = lost_already(members, &placed, &states)?;
    let asked: Vec<Order> = members
        .iter()
        .zip(&placed)
        .filter(|(_, placed)| placed.is_some_and(|placed| placed.is_made && placed.is_asked))
        .map(|(member, _)| queue::request_approval(member.task.id))
        .collect();
    queue::move_tasks(tx, tenant, &asked).await?;
    consequences::move_and_follow(tx, tenant, &lost).await?;
    Ok(Outcome {
        refusals,
        placed,
        known: HashMap::new(),
    })
}

/// Tasks whose dependency had failed before they were made: they end at once, as their policy says.
fn lost_already(
    members: &[&Member],
    placed: &[Option<Placed>],
    states: &HashMap<Uuid, TaskState>,
) -> Result<Vec<Order>, Error> {
    let mut orders = Vec::new();
    for (member, placed) in members.iter().zip(placed) {
        let task = &member.task;
        if !placed.is_some_and(|placed| placed.is_made) || task.on_dependency_failure == "run" {
            continue;
        }
        let is_lost = |id: &&Uuid| {
            states
                .get(id)
                .is_some_and(|state| matches!(state, TaskState::Failed | TaskState::Cancelled))
        };
        let Some(needs) = task.depends_on.iter().find(is_lost) else {
            continue;
        };
        let order = consequences::end_of_dependant(&queue::Dependant {
            task: task.id,
            needs: (*needs).into(),
            policy: task.on_dependency_failure.to_owned(),
        })?;
        orders.push(order);
    }
    Ok(orders)
}

/// Why a task cannot be made, if it cannot.
async fn refuse(
    db: &mut PgConnection,
    tenant: TenantId,
    member: &Member,
    states: &HashMap<Uuid, TaskState>,
    siblings: i64,
) -> Result<Option<Error>, Error> {
    let task = &member.task;
    if let Some(missing) = task.depends_on.iter().find(|id| !states.contains_key(id)) {
        return Ok(Some(Error::not_found("task", missing)));
    }
    if let Some(allowed) = &member.workspaces {
        let others = task.depends_on.iter().copied();
        let others: Vec<Uuid> = others.chain(member.subject).chain(task.parent_id).collect();
        if let Some(hidden) = store::outside(db, tenant, &others, allowed).await? {
            return Ok(Some(Error::not_found("task", hidden)));
        }
    }
    if let Some(subject) = member.subject
        && store::records(db, tenant, &[subject]).await?.is_empty()
    {
        return Ok(Some(Error::not_found("task", subject)));
    }
    let holders: Vec<Uuid> = task
        .preferred_agent_id
        .into_iter()
        .chain(task.preferred_worker_id)
        .collect();
    if !holders.is_empty() {
        let known = store::holders_exist(db, tenant, &holders).await?;
        if let Some(missing) = holders.iter().find(|id| !known.contains(id)) {
            return Ok(Some(Error::not_found("agent or worker", missing)));
        }
    }
    match task.parent_id {
        Some(parent) => refuse_subtask(db, tenant, member, parent.into(), siblings).await,
        None => Ok(None),
    }
}

async fn refuse_subtask(
    db: &mut PgConnection,
    tenant: TenantId,
    member: &Member,
    parent: TaskId,
    siblings: i64,
) -> Result<Option<Error>, Error> {
    let Some((depth, children)) = store::family(db, tenant, parent).await? else {
        return Ok(Some(Error::not_found("task", parent)));
    };
    let (depth_max, children_max) = member.limits;
    let too_many = |what: &str| {
        Some(
            Refused::new(ErrorCode::ValidationError, format!("task {parent} {what}"))
                .reason(ReasonCode::LimitReached)
                .hint(
                    "the limits are STINT_SUBTASK_DEPTH_MAX and STINT_SUBTASKS_MAX of the platform",
                )
                .into(),
        )
    };
    if depth > depth_max {
        return Ok(too_many("is nested as deep as subtasks may be"));
    }
    if children + siblings >= children_max {
        return Ok(too_many("has as many subtasks as a task may have"));
    }
    let holder = store::records(db, tenant, &[parent.uuid()]).await?;
    let is_holder = |agent: Option<Uuid>, worker: Option<Uuid>| {
        holder.get(&parent).is_some_and(|task| {
            (agent.is_some() && task.assigned_agent_id.map(Uuid::from) == agent)
                || (worker.is_some() && task.assigned_worker_id.map(Uuid::from) == worker)
        })
    };
    let may = match member.made_by {
        Maker::Operator => true,
        Maker::Agent(agent) => is_holder(agent, None),
        Maker::Worker(worker) => is_holder(None, worker),
    };
    Ok((!may).then(|| {
        Error::forbidden(
            ReasonCode::NotHolder,
            "only operators and the holder of the parent task can make subtasks of it",
        )
    }))
}

/// Reads what was made and is not known, and what earlier requests with the same ids had made.
async fn read_answers(
    app: &App,
    tenant: TenantId,
    members: &[&Member],
    Outcome {
        refusals,
        placed,
        known: mut records,
    }: Outcome,
) -> Result<Vec<Result<Created, Error>>, Error> {
    let mut db = app.db.lane(LaneDb::Create).await?;
    let mut ids: Vec<Result<(TaskId, bool), Error>> = Vec::with_capacity(members.len());
    for ((member, refusal), placed) in members.iter().zip(refusals).zip(placed) {
        ids.push(match (refusal, placed, &member.task.request_id) {
            // What was made stays made, even where it could not be made any more.
            (Some(refusal), _, Some(request_id)) => {
                made_before(&mut db, tenant, member, request_id)
                    .await?
                    .unwrap_or(Err(refusal))
            }
            (Some(refusal), _, None) => Err(refusal),
            (None, Some(Placed { is_made: true, .. }), _) => Ok((member.task.id, false)),
            (None, _, Some(request_id)) => made_before(&mut db, tenant, member, request_id)
                .await?
                .ok_or_else(|| anyhow::anyhow!("the task of request {request_id} vanished"))?,
            (None, _, None) => {
                Err(anyhow::anyhow!("a task without a request id was not made").into())
            }
        });
    }
    let made = ids.iter().flatten().map(|(id, _)| id);
    let unknown = made.filter(|id| !records.contains_key(*id));
    let unknown: Vec<Uuid> = unknown.map(|id| id.uuid()).collect();
    if !unknown.is_empty() {
        records.extend(store::records(&mut db, tenant, &unknown).await?);
    }
    db.put_back();
    Ok(ids
        .into_iter()
        .map(|id| {
            let (id, is_replay) = id?;
            let task = records
                .remove(&id)
                .ok_or_else(|| Error::not_found("task", id))?;
            Ok(Created { task, is_replay })
        })
        .collect())
}

/// The task that an earlier request with the same id made, or the refusal when it was another request;
/// none when there was no such request.
async fn made_before(
    db: &mut PgConnection,
    tenant: TenantId,
    member: &Member,
    request_id: &str,
) -> Result<Option<Result<(TaskId, bool), Error>>, Error> {
    let found = store::by_request_id(db, tenant, member.task.request_holder, request_id).await?;
    let Some((id, fingerprint)) = found else {
        return Ok(None);
    };
    if fingerprint == member.task.fingerprint {
        return Ok(Some(Ok((id, true))));
    }
    Ok(Some(Err(Refused::new(
        ErrorCode::Conflict,
        format!("request_id {request_id:?} made another task before: {id}"),
    )
    .reason(ReasonCode::RequestIdReused)
    .hint("use a new request_id for every new task, and the same one only to repeat a request unchanged")
    .into())))
}
