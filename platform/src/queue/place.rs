//! Creating: facts into `tasks`, a row into the first drawer.

use std::collections::BTreeMap;

use protocol::{TaskId, TaskState, TenantId};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use super::gates::Run;
use super::moves::{Destination, Order};
use crate::db::{Note, Touch, Tx};
use crate::error::Error;

/// A task that is about to be made: its facts as they are stored.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "named like the columns they are written to")]
pub struct NewTask {
    pub id: TaskId,
    pub request_holder: Uuid,
    pub request_id: Option<String>,
    pub fingerprint: Option<Vec<u8>>,
    pub title: String,
    pub description: Option<String>,
    pub task_type: &'static str,
    pub task_kind: &'static str,
    pub role: Option<String>,
    pub stage_name: Option<String>,
    pub priority: i16,
    pub workspace_id: Option<Uuid>,
    pub parent_id: Option<Uuid>,
    pub preferred_agent_id: Option<Uuid>,
    pub preferred_worker_id: Option<Uuid>,
    pub is_orchestrator_task: bool,
    pub timeout_minutes: i32,
    pub max_abandons: i32,
    pub max_reworks: i32,
    pub requires_approval: bool,
    pub on_dependency_failure: &'static str,
    pub depends_on: Vec<Uuid>,
    pub has_output_schema: bool,
    pub retry_policy: Option<String>,
    pub settings: String,
    pub input: String,
    pub context: String,
    pub role_config: String,
    pub environment: String,
    pub resource_bindings: String,
    pub metadata: String,
    pub lane: String,
    pub available_at: Option<DateTime<Utc>>,
    pub actor_type: &'static str,
    pub actor: Option<Uuid>,
    pub workflow_id: Option<Uuid>,
    pub work_item_id: Option<Uuid>,
}

impl NewTask {
    /// A task that the platform itself makes; the rest is at its simplest.
    pub fn by_system() -> Self {
        let nothing = || "{}".to_owned();
        Self {
            id: TaskId::new(),
            request_holder: Uuid::nil(),
            request_id: None,
            fingerprint: None,
            title: String::new(),
            description: None,
            task_type: protocol::TaskType::Custom.as_str(),
            task_kind: protocol::TaskKind::Delivery.as_str(),
            role: None,
            stage_name: None,
            priority: protocol::Priority::default().rank(),
            workflow_id: None,
            work_item_id: None,
            workspace_id: None,
            parent_id: None,
            preferred_agent_id: None,
            preferred_worker_id: None,
            is_orchestrator_task: false,
            timeout_minutes: 1,
            max_abandons: 0,
            max_reworks: 0,
            requires_approval: false,
            on_dependency_failure: protocol::OnDependencyFailure::Fail.as_str(),
            depends_on: Vec::new(),
            has_output_schema: false,
            retry_policy: None,
            settings: nothing(),
            input: nothing(),
            context: nothing(),
            role_config: nothing(),
            environment: nothing(),
            resource_bindings: "[]".to_owned(),
            metadata: nothing(),
            lane: String::new(),
            available_at: None,
            actor_type: "system",
            actor: None,
        }
    }
}

/// What became of a new task.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// False when its request id was used before: then nothing was made.
    pub is_made: bool,
    /// When it was made, by the database's clock.
    pub made_at: DateTime<Utc>,
    /// Whether it can be claimed at once.
    pub is_ready: bool,
    /// Whether it is kept at the gate of its run.
    pub is_held: bool,
    /// Whether a person must let it run now.
    pub is_asked: bool,
}

struct Row {
    #[expect(dead_code, reason = "rows come in the order of the tasks")]
    place: i64,
    is_made: bool,
    made_at: DateTime<Utc>,
    is_ready: bool,
    is_held: bool,
    is_asked: bool,
}

/// Creates tasks: one answer per task, in their order.
///
/// `waits_for` names the unfinished tasks that each waits for; their rows are locked by the caller.
///
/// # Errors
/// Those of the database.
pub async fn place(
    db: &mut PgConnection,
    tenant: TenantId,
    tasks: &[&NewTask],
    waits_for: &[&[Uuid]],
) -> Result<Vec<Placed>, Error> {
    macro_rules! column {
        ($field:ident) => {
            tasks
                .iter()
                .map(|task| task.$field.clone())
                .collect::<Vec<_>>()
        };
    }
    let ids: Vec<Uuid> = tasks.iter().map(|task| task.id.uuid()).collect();
    // An array of arrays would be flattened by unnest: each list travels as an array literal.
    let literal = |ids: &[Uuid]| {
        let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
        format!("{{{}}}", ids.join(","))
    };
    let depends_on: Vec<String> = tasks.iter().map(|task| literal(&task.depends_on)).collect();
    let waits_for: Vec<String> = waits_for.iter().map(|ids| literal(ids)).collect();
    let rows = sqlx::query_file_as!(
        Row,
        "src/queue/place.sql",
        tenant.uuid(),
        &ids,
        &column!(request_holder),
        &column!(request_id) as &[Option<String>],
        &column!(fingerprint) as &[Option<Vec<u8>>],
        &column!(title),
        &column!(description) as &[Option<String>],
        &column!(task_type) as &[&str],
        &column!(task_kind) as &[&str],
        &column!(role) as &[Option<String>],
        &column!(stage_name) as &[Option<String>],
        &column!(priority),
        &column!(workspace_id) as &[Option<Uuid>],
        &column!(parent_id) as &[Option<Uuid>],
        &column!(preferred_agent_id) as &[Option<Uuid>],
        &column!(preferred_worker_id) as &[Option<Uuid>],
        &column!(is_orchestrator_task),
        &column!(timeout_minutes),
        &column!(max_abandons),
        &column!(on_dependency_failure) as &[&str],
        &depends_on,
        &column!(has_output_schema),
        &column!(retry_policy) as &[Option<String>],
        &column!(settings),
        &column!(input),
        &column!(context),
        &column!(role_config),
        &column!(environment),
        &column!(resource_bindings),
        &column!(metadata),
        &column!(lane),
        &waits_for,
        &column!(available_at) as &[Option<DateTime<Utc>>],
        &column!(actor_type) as &[&str],
        &column!(actor) as &[Option<Uuid>],
        &column!(workflow_id) as &[Option<Uuid>],
        &column!(work_item_id) as &[Option<Uuid>],
        &column!(max_reworks),
        &column!(requires_approval),
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Placed {
            is_made: row.is_made,
            made_at: row.made_at,
            is_ready: row.is_ready,
            is_held: row.is_held,
            is_asked: row.is_asked,
        })
        .collect())
}

/// Creates tasks of runs, which wait for no other tasks, and tells of those that can be claimed at once.
/// Their gates are settled by whoever commits.
///
/// # Errors
/// Those of the database.
pub async fn place_in_run(
    tx: &mut Tx,
    tenant: TenantId,
    tasks: &[&NewTask],
) -> Result<Vec<Placed>, Error> {
    let placed = place(tx.conn(), tenant, tasks, &vec![[].as_slice(); tasks.len()]).await?;
    let mut ready: BTreeMap<&str, u32> = BTreeMap::new();
    for (task, placed) in tasks.iter().zip(&placed) {
        if placed.is_made && placed.is_ready {
            *ready.entry(&task.lane).or_default() += 1;
        }
    }
    mark(tx, tenant, tasks.iter().copied().zip(&placed));
    let asked: Vec<_> = tasks
        .iter()
        .zip(&placed)
        .filter(|(_, placed)| placed.is_made && placed.is_asked)
        .map(|(task, _)| request_approval(task.id))
        .collect();
    super::move_tasks(tx, tenant, &asked).await?;
    for (lane, tasks) in ready {
        tx.note(Note::WorkReady {
            tenant,
            lane: lane.to_owned(),
            tasks,
            at_old_place: false,
        });
    }
    tx.note(Note::EventsAppended);
    tx.note(Note::DueSooner {
        name: "release_due".to_owned(),
    });
    Ok(placed)
}

/// A task that nothing keeps from running any more but a person.
pub(crate) fn request_approval(task: TaskId) -> Order {
    Order::by_system(
        task,
        vec![TaskState::Pending],
        Destination::Parked(TaskState::AwaitingApproval),
        "request_approval",
    )
}

/// Marks the runs of new tasks as unsettled.
pub(crate) fn mark<'a>(
    tx: &mut Tx,
    tenant: TenantId,
    placed: impl Iterator<Item = (&'a NewTask, &'a Placed)>,
) {
    for (task, placed) in placed {
        if let (true, Some(run)) = (placed.is_made, Run::of(task.workflow_id, task.work_item_id)) {
            let touch = if placed.is_held {
                Touch::Held
            } else {
                Touch::Queued
            };
            tx.unsettle(tenant, run.workflow, run.work_item, touch);
        }
    }
}
