//! Creating tasks.

use std::collections::HashMap;

use protocol::{
    CreateTask, ErrorCode, JsonObject, ReasonCode, RetryPolicy, Task, TaskError, TaskId, TaskKind,
    TaskState, TaskType, TenantId,
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::record::Settings;
use super::{claim, store};
use crate::app::App;
use crate::batch::Lane;
use crate::config::LimitConfig;
use crate::consequences;
use crate::db::{Note, Tx};
use crate::error::{Error, Refused};
use crate::http::{Hot, check_length};
use crate::queue::{self, Destination, NewTask, Order, Placed};

/// Tasks that one task may depend on: one fan-in of the largest kind that is promised.
const DEPENDENCIES_MAX: usize = 10_000;
/// How often a holder may fall silent over a task before it fails, unless the task says so.
const ABANDONS_MAX: i32 = 3;

/// What waits together to be created commits together, and with it the claims that wait for it.
pub struct CreateLane;

/// A task to be made.
pub struct Member {
    tenant: TenantId,
    task: NewTask,
    /// A subtask may be made by operators, and by whoever holds its parent.
    made_by: Maker,
    subject: Option<Uuid>,
    limits: (i32, i64),
    weight: usize,
}

enum Maker {
    Operator,
    Agent(Option<Uuid>),
    Worker(Option<Uuid>),
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Created {
    /// The task.
    pub task: Task,
    /// Whether an earlier request with the same id made it.
    pub is_replay: bool,
}

impl Member {
    /// Checks everything that needs no database, and turns the request into what is stored.
    ///
    /// # Errors
    /// 422 with the path of the field that does not fit; 403 outside the key's restrictions.
    pub(super) fn admit(hot: Hot<CreateTask>, limits: &LimitConfig) -> Result<Self, Error> {
        let weight = hot.weight();
        let fingerprint = hot.request_id.is_some().then(|| hot.fingerprint());
        let Hot {
            caller,
            body,
            request_id,
            ..
        } = hot;
        caller.may_reach(body.workspace_id)?;
        check(&body)?;
        let is_orchestrator_task = body.is_orchestrator_task.unwrap_or(false);
        let role_config = body.role_config.unwrap_or_default();
        let has_output_schema = output_schema(&role_config)?.is_some();
        let text = |object: Option<JsonObject>| object.unwrap_or_default().text().to_owned();
        let retry_policy = match (body.retry_policy, body.auto_retry, body.max_retries) {
            (Some(policy), ..) => Some(policy),
            (None, Some(true), Some(retries)) if retries > 0 => Some(RetryPolicy {
                max_attempts: retries,
                backoff_strategy: None,
                initial_backoff_seconds: None,
                jitter: None,
                retryable_categories: None,
            }),
            (None, ..) => None,
        };
        let settings = Settings {
            subject_task_id: body.subject_task_id.map(TaskId::uuid),
            subject_work_item_id: body.subject_work_item_id.map(Into::into),
            subject_handoff_id: body.subject_handoff_id,
            subject_revision: body.subject_revision,
            assessment_prompt: body.assessment_prompt,
            token_budget: body.token_budget,
            cost_cap_usd: body.cost_cap_usd,
            auto_retry: body.auto_retry.unwrap_or(false),
            max_retries: body.max_retries.unwrap_or(0),
            max_iterations: body.max_iterations,
            llm_max_retries: body.llm_max_retries,
            execution_backend: body.execution_backend,
        };
        let agent = body.preferred_agent_id.map(Into::into);
        let worker = body.preferred_worker_id.map(Into::into);
        let mut depends_on: Vec<Uuid> = body.depends_on.into_iter().map(TaskId::uuid).collect();
        let mut seen = std::collections::HashSet::new();
        depends_on.retain(|id| seen.insert(*id));
        let task = NewTask {
            id: TaskId::new(),
            request_holder: caller.slot_holder(),
            request_id,
            fingerprint,
            title: body.title,
            description: body.description,
            task_type: body.task_type.as_str(),
            task_kind: kind_of(body.task_kind, body.task_type, is_orchestrator_task).as_str(),
            lane: queue::lane_of(body.role.as_deref(), is_orchestrator_task, agent.or(worker)),
            role: body.role,
            stage_name: body.stage_name,
            priority: body.priority.unwrap_or_default().rank(),
            workspace_id: body.workspace_id.map(Into::into),
            parent_id: body.parent_id.map(TaskId::uuid),
            preferred_agent_id: agent,
            preferred_worker_id: worker,
            is_orchestrator_task,
            timeout_minutes: body.timeout_minutes.unwrap_or(limits.task_timeout_minutes),
            max_abandons: body.max_abandons.unwrap_or(ABANDONS_MAX),
            on_dependency_failure: body
                .on_dependency_failure
                .unwrap_or(protocol::OnDependencyFailure::Fail)
                .as_str(),
            depends_on,
            has_output_schema,
            retry_policy: retry_policy
                .map(|policy| serde_json::to_string(&policy))
                .transpose()?,
            settings: serde_json::to_string(&settings)?,
            input: text(body.input),
            context: text(body.context),
            role_config: role_config.text().to_owned(),
            environment: text(body.environment),
            resource_bindings: serde_json::to_string(&body.resource_bindings.unwrap_or_default())?,
            metadata: text(body.metadata),
            available_at: body.run_at.map(|moment| moment.utc()),
            actor_type: caller.scope().as_str(),
            actor: caller.actor(),
        };
        let made_by = match caller.scope() {
            protocol::Scope::Agent => Maker::Agent(caller.agent().map(Into::into)),
            protocol::Scope::Worker => Maker::Worker(caller.worker().map(Into::into)),
            protocol::Scope::Admin | protocol::Scope::Service => Maker::Operator,
        };
        Ok(Self {
            tenant: caller.tenant(),
            task,
            made_by,
            subject: settings.subject_task_id,
            limits: (limits.subtask_depth_max, limits.subtasks_max),
            weight,
        })
    }

    /// Whether the statement alone cannot decide: other tasks or holders must be looked at first.
    fn concerns_others(&self) -> bool {
        !self.task.depends_on.is_empty()
            || self.task.parent_id.is_some()
            || self.subject.is_some()
            || self.task.preferred_agent_id.is_some()
            || self.task.preferred_worker_id.is_some()
    }

    fn is_ready_at_once(&self) -> bool {
        self.task.depends_on.is_empty() && self.task.available_at.is_none()
    }
}

/// The part a task plays, by its type unless it says so.
fn kind_of(said: Option<TaskKind>, task_type: TaskType, is_orchestrator_task: bool) -> TaskKind {
    said.unwrap_or(match task_type {
        _ if is_orchestrator_task => TaskKind::Orchestrator,
        TaskType::Assessment => TaskKind::Assessment,
        _ => TaskKind::Delivery,
    })
}

fn check(body: &CreateTask) -> Result<(), Error> {
    check_length("title", &body.title, 1..=500)?;
    for (path, text, max) in [
        ("description", &body.description, 5000),
        ("role", &body.role, 120),
        ("stage_name", &body.stage_name, 120),
        ("assessment_prompt", &body.assessment_prompt, 2000),
    ] {
        if let Some(text) = text {
            check_length(path, text, usize::from(path != "description")..=max)?;
        }
    }
    check_range("timeout_minutes", body.timeout_minutes, 1..=240)?;
    check_range("max_abandons", body.max_abandons, 0..=100)?;
    check_range("max_retries", body.max_retries, 0..=10)?;
    check_range("max_iterations", body.max_iterations, 1..=i32::MAX)?;
    check_range("llm_max_retries", body.llm_max_retries, 1..=i32::MAX)?;
    check_range("subject_revision", body.subject_revision, 1..=i32::MAX)?;
    if body.token_budget.is_some_and(|budget| budget < 1) {
        return Err(Error::field("token_budget", "must be at least 1"));
    }
    if body.cost_cap_usd.is_some_and(|cap| cap <= 0.0) {
        return Err(Error::field("cost_cap_usd", "must be more than 0"));
    }
    if body.depends_on.len() > DEPENDENCIES_MAX {
        return Err(Error::field(
            "depends_on",
            format!("may name at most {DEPENDENCIES_MAX} tasks"),
        ));
    }
    if let Some(policy) = &body.retry_policy {
        check_policy(policy)?;
    }
    check_kind(body)?;
    // Workflows and their parts are named by ids, and there are none in this release.
    for (what, id) in [
        ("workflow", body.workflow_id.map(Uuid::from)),
        ("work item", body.work_item_id.map(Uuid::from)),
        ("work item", body.subject_work_item_id.map(Uuid::from)),
        ("activation", body.activation_id.map(Uuid::from)),
        ("handoff", body.subject_handoff_id),
    ] {
        if let Some(id) = id {
            return Err(Error::not_found(what, id));
        }
    }
    Ok(())
}

fn check_range(
    path: &str,
    value: Option<i32>,
    range: std::ops::RangeInclusive<i32>,
) -> Result<(), Error> {
    match value {
        Some(value) if !range.contains(&value) => Err(Error::field(
            path,
            format!("must be between {} and {}", range.start(), range.end()),
        )),
        _ => Ok(()),
    }
}

fn check_policy(policy: &RetryPolicy) -> Result<(), Error> {
    check_range(
        "retry_policy.max_attempts",
        Some(policy.max_attempts),
        1..=100,
    )?;
    if policy
        .initial_backoff_seconds
        .is_some_and(|seconds| !(0.0..=86_400.0).contains(&seconds))
    {
        return Err(Error::field(
            "retry_policy.initial_backoff_seconds",
            "must be between 0 and 86400",
        ));
    }
    if policy
        .jitter
        .is_some_and(|jitter| !(0.0..=1.0).contains(&jitter))
    {
        return Err(Error::field(
            "retry_policy.jitter",
            "must be between 0 and 1",
        ));
    }
    for category in policy.retryable_categories.iter().flatten() {
        check_length("retry_policy.retryable_categories", category, 1..=120)?;
    }
    Ok(())
}

fn check_kind(body: &CreateTask) -> Result<(), Error> {
    let is_orchestrator_task = body.is_orchestrator_task.unwrap_or(false);
    if let Some(backend) = body.execution_backend
        && (backend == protocol::ExecutionBackend::RuntimeOnly) != is_orchestrator_task
    {
        return Err(Error::field(
            "execution_backend",
            "runtime_only belongs to orchestrator tasks, runtime_plus_task to all others",
        ));
    }
    let kind = kind_of(body.task_kind, body.task_type, is_orchestrator_task);
    if (kind == TaskKind::Orchestrator) != is_orchestrator_task {
        return Err(Error::invalid(
            "task_kind orchestrator and is_orchestrator_task go together",
        ));
    }
    // A subject is asked for only where the kind was named: a type alone is no more than a label.
    let has_subject = body.subject_task_id.is_some() && body.subject_revision.is_some();
    if matches!(
        body.task_kind,
        Some(TaskKind::Assessment | TaskKind::Approval)
    ) && !has_subject
    {
        return Err(Error::invalid(format!(
            "task_kind {kind} needs subject_task_id and subject_revision"
        )));
    }
    Ok(())
}

/// The schema that the output must fit, if the role's settings have one.
fn output_schema(role_config: &JsonObject) -> Result<Option<jsonschema::Validator>, Error> {
    if !role_config.text().contains("output_schema") {
        return Ok(None);
    }
    let Some(schema) = role_config
        .members()
        .remove("output_schema")
        .filter(|schema| !schema.is_null())
    else {
        return Ok(None);
    };
    jsonschema::validator_for(&schema)
        .map(Some)
        .map_err(|error| {
            Error::field(
                "role_config.output_schema",
                format!("is not a JSON Schema: {error}"),
            )
        })
}

/// What is wrong with an output, the first ten faults; empty when it fits.
pub(super) fn output_faults(role_config: &str, output: &str) -> Result<Vec<String>, Error> {
    let role_config = JsonObject::from_text(role_config.to_owned())?;
    let Some(schema) = output_schema(&role_config)? else {
        return Ok(Vec::new());
    };
    let output: serde_json::Value = serde_json::from_str(output)?;
    Ok(schema
        .iter_errors(&output)
        .take(10)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect())
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
        let mut answers = super::Answers::for_batch_of(members.len());
        for (tenant, group, places) in super::by_tenant(members, |member| member.tenant) {
            answers.put(&places, create(app, tenant, &group).await?);
        }
        Ok(answers.in_order())
    }
}

/// Creates the tasks of one tenant. Alone and concerning nobody else, that is one statement, which commits
/// by itself; with dependencies, or with claims that wait for just this, it is a transaction.
async fn create(
    app: &App,
    tenant: TenantId,
    members: &[&Member],
) -> Result<Vec<Result<Created, Error>>, Error> {
    let mut feeding = claim::Feeding::for_tasks(app, tenant, ready_lanes(members));
    let alone = feeding.is_empty() && members.iter().all(|member| !member.concerns_others());
    let (refusals, placed) = if alone {
        let mut db = app.db.internal().await?;
        let tasks: Vec<&NewTask> = members.iter().map(|member| &member.task).collect();
        let placed = queue::place(&mut db, tenant, &tasks, &vec![0; tasks.len()])
            .await
            .map_err(crate::db::unknown_outcome)?;
        let mut notes = vec![Note::EventsAppended];
        notes.extend(ready_notes(tenant, members, &placed));
        app.bus.publish(app, notes);
        (
            members.iter().map(|_| None).collect(),
            placed.into_iter().map(Some).collect(),
        )
    } else {
        let mut tx = app.db.begin_internal().await?;
        let (refusals, placed) = place_with_others(&mut tx, tenant, members).await?;
        feeding.claim(app, &mut tx).await?;
        let known: Vec<Placed> = placed
            .iter()
            .map(|placed| {
                placed.unwrap_or(Placed {
                    is_made: false,
                    is_ready: false,
                })
            })
            .collect();
        for note in ready_notes(tenant, members, &known) {
            tx.note(note);
        }
        tx.note(Note::EventsAppended);
        tx.note(Note::DueSooner {
            name: "release_due".to_owned(),
        });
        tx.commit(app).await?;
        (refusals, placed)
    };
    feeding.hand_out(app).await;
    answers(app, tenant, members, refusals, &placed).await
}

/// In which lanes how many tasks will be ready at once.
fn ready_lanes(members: &[&Member]) -> HashMap<String, usize> {
    let mut lanes = HashMap::new();
    for member in members.iter().filter(|member| member.is_ready_at_once()) {
        *lanes.entry(member.task.lane.clone()).or_default() += 1;
    }
    lanes
}

fn ready_notes(tenant: TenantId, members: &[&Member], placed: &[Placed]) -> Vec<Note> {
    let mut lanes: HashMap<&str, u32> = HashMap::new();
    for (member, placed) in members.iter().zip(placed) {
        if placed.is_made && placed.is_ready {
            *lanes.entry(&member.task.lane).or_default() += 1;
        }
    }
    lanes
        .into_iter()
        .map(|(lane, tasks)| Note::WorkReady {
            tenant,
            lane: lane.to_owned(),
            tasks,
            at_old_place: false,
        })
        .collect()
}

type Places = (Vec<Option<Error>>, Vec<Option<Placed>>);

/// Looks at what the tasks concern, refuses those that cannot be, and creates the others.
async fn place_with_others(
    tx: &mut Tx,
    tenant: TenantId,
    members: &[&Member],
) -> Result<Places, Error> {
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
    let mut blocked: Vec<i32> = Vec::with_capacity(members.len());
    for member in members {
        let refusal = refuse(tx.conn(), tenant, member, &states).await?;
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
            .count();
        refusals.push(refusal);
        blocked.push(i32::try_from(unfinished).unwrap_or(i32::MAX));
    }
    let chosen: Vec<usize> = (0..members.len())
        .filter(|place| refusals[*place].is_none())
        .collect();
    let tasks: Vec<&NewTask> = chosen.iter().map(|place| &members[*place].task).collect();
    let counts: Vec<i32> = chosen.iter().map(|place| blocked[*place]).collect();
    let mut placed: Vec<Option<Placed>> = vec![None; members.len()];
    for (place, done) in chosen
        .iter()
        .zip(queue::place(tx.conn(), tenant, &tasks, &counts).await?)
    {
        placed[*place] = Some(done);
    }
    let lost = lost_already(members, &placed, &states)?;
    consequences::move_and_follow(tx, tenant, &lost).await?;
    Ok((refusals, placed))
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
        let state = if task.on_dependency_failure == "cancel" {
            TaskState::Cancelled
        } else {
            TaskState::Failed
        };
        let mut order = Order::by_system(
            task.id,
            vec![TaskState::Pending],
            Destination::Ended(state),
            "fail_dependency",
        );
        let error = TaskError {
            category: Some("dependency_failed".to_owned()),
            message: format!(
                "task {needs}, which this one depends on, had not completed when it was made"
            ),
            recoverable: Some(false),
            details: None,
        };
        order.outcome.error = Some(serde_json::to_string(&error)?);
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
) -> Result<Option<Error>, Error> {
    let task = &member.task;
    if let Some(missing) = task.depends_on.iter().find(|id| !states.contains_key(id)) {
        return Ok(Some(Error::not_found("task", missing)));
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
        Some(parent) => refuse_subtask(db, tenant, member, parent.into()).await,
        None => Ok(None),
    }
}

async fn refuse_subtask(
    db: &mut PgConnection,
    tenant: TenantId,
    member: &Member,
    parent: TaskId,
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
    if children >= children_max {
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

/// Reads what was made, and what earlier requests with the same ids had made.
async fn answers(
    app: &App,
    tenant: TenantId,
    members: &[&Member],
    refusals: Vec<Option<Error>>,
    placed: &[Option<Placed>],
) -> Result<Vec<Result<Created, Error>>, Error> {
    let mut db = app.db.internal().await?;
    let mut ids: Vec<Result<(TaskId, bool), Error>> = Vec::with_capacity(members.len());
    for ((member, refusal), placed) in members.iter().zip(refusals).zip(placed) {
        ids.push(match (refusal, placed, &member.task.request_id) {
            (Some(refusal), ..) => Err(refusal),
            (None, Some(Placed { is_made: true, .. }), _) => Ok((member.task.id, false)),
            (None, _, Some(request_id)) => made_before(&mut db, tenant, member, request_id).await?,
            (None, _, None) => {
                Err(anyhow::anyhow!("a task without a request id was not made").into())
            }
        });
    }
    let wanted: Vec<Uuid> = ids.iter().flatten().map(|(id, _)| id.uuid()).collect();
    let records = store::records(&mut db, tenant, &wanted).await?;
    Ok(ids
        .into_iter()
        .map(|id| {
            let (id, is_replay) = id?;
            let task = records
                .get(&id)
                .cloned()
                .ok_or_else(|| Error::not_found("task", id))?;
            Ok(Created { task, is_replay })
        })
        .collect())
}

/// The task that an earlier request with the same id made, if it was the same request.
async fn made_before(
    db: &mut PgConnection,
    tenant: TenantId,
    member: &Member,
    request_id: &str,
) -> Result<Result<(TaskId, bool), Error>, Error> {
    let found = store::by_request_id(db, tenant, member.task.request_holder, request_id).await?;
    let Some((id, fingerprint)) = found else {
        return Err(anyhow::anyhow!("the task of request {request_id} vanished").into());
    };
    if fingerprint == member.task.fingerprint {
        return Ok(Ok((id, true)));
    }
    Ok(Err(Refused::new(ErrorCode::Conflict, format!("request_id {request_id:?} made another task before: {id}"))
        .reason(ReasonCode::RequestIdReused)
        .hint("use a new request_id for every new task, and the same one only to repeat a request unchanged")
        .into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_checked_against_its_schema() {
        let role_config = r#"{"output_schema":{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}}"#;
        assert!(output_faults(role_config, r#"{"n":1}"#).unwrap().is_empty());
        assert_eq!(output_faults(role_config, r#"{"n":"x"}"#).unwrap().len(), 1);
        assert!(output_faults("{}", "17").unwrap().is_empty());
    }

    #[test]
    fn a_schema_that_is_none_is_refused() {
        let role_config =
            JsonObject::from_text(r#"{"output_schema":{"type":"nonsense"}}"#.to_owned()).unwrap();
        assert!(output_schema(&role_config).is_err());
    }

    #[test]
    fn the_kind_follows_from_the_type_unless_it_is_said() {
        assert_eq!(
            kind_of(None, TaskType::Assessment, false),
            TaskKind::Assessment
        );
        assert_eq!(kind_of(None, TaskType::Code, true), TaskKind::Orchestrator);
        assert_eq!(
            kind_of(Some(TaskKind::Delivery), TaskType::Assessment, false),
            TaskKind::Delivery
        );
    }
}
