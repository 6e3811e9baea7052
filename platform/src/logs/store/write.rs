//! Taking log entries in.

use std::collections::{HashMap, HashSet};

use protocol::{LogCategory, LogGap, LogInput, LogLevel, LogSource, LogStatus, TenantId};
use serde_json::json;
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use super::super::judge::Position;
use super::super::sequence::{Attempt, Moved};
use super::super::wire::{Labels, rank};
use crate::error::Error;
use crate::http::mask_secrets;

/// What the log wants to know about a task.
pub(in super::super) struct Task {
    pub(in super::super) position: Position,
    workflow: Option<Uuid>,
    work_item: Option<Uuid>,
    role: Option<String>,
    stage: Option<String>,
    is_orchestrator_task: bool,
}

/// Where tasks are and what they belong to, by their keys.
pub(in super::super) async fn tasks(
    db: &mut PgConnection,
    tenant: TenantId,
    tasks: &[Uuid],
) -> sqlx::Result<HashMap<Uuid, Task>> {
    // The lateral with its limit makes the database probe each drawer by its key.
    let rows = sqlx::query!(
        r#"select t.id, t.workspace_id, t.workflow_id, t.work_item_id, t.role, t.stage_name, t.is_orchestrator_task,
                  p.attempt as "attempt!", p.state as "state!", p.agent_id, p.worker_id,
                  extract(epoch from clock_timestamp() - p.state_changed_at)::float8 as "seconds_since_change!"
           from unnest($2::uuid[]) as wanted (id)
           join tasks t on t.tenant_id = $1 and t.id = wanted.id
           cross join lateral (
               select * from task_positions
               where tenant_id = $1 and task_id = wanted.id
               limit 1) p"#,
        tenant.uuid(),
        tasks,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let position = Position {
                attempt: row.attempt,
                is_held: matches!(row.state.as_str(), "claimed" | "in_progress"),
                seconds_since_change: row.seconds_since_change,
                holders: row
                    .agent_id
                    .into_iter()
                    .chain(row.worker_id)
                    .collect::<HashSet<_>>(),
                workspace: row.workspace_id,
            };
            let task = Task {
                position,
                workflow: row.workflow_id,
                work_item: row.work_item_id,
                role: row.role,
                stage: row.stage_name,
                is_orchestrator_task: row.is_orchestrator_task,
            };
            (row.id, task)
        })
        .collect())
}

/// The agents that caused something in these attempts, and their workers, each with its task.
pub(in super::super) async fn former_holders(
    db: &mut PgConnection,
    tenant: TenantId,
    attempts: &[Attempt],
) -> sqlx::Result<Vec<(Uuid, Uuid)>> {
    let (tasks, numbers): (Vec<Uuid>, Vec<i32>) = attempts.iter().copied().unzip();
    let rows = sqlx::query!(
        r#"select distinct e.entity_id, e.actor_id as "actor_id!", a.worker_id as "worker_id?"
           from unnest($2::uuid[], $3::int[]) as wanted (task_id, attempt)
           join events e
             on e.tenant_id = $1 and e.entity_id = wanted.task_id and e.attempt = wanted.attempt
           left join agents a on a.tenant_id = $1 and a.id = e.actor_id
           where e.actor_id is not null
             -- Whoever held it longer ago than this is too late anyway.
             and e.created_at > now() - interval '2 days'"#,
        tenant.uuid(),
        &tasks,
        &numbers,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .flat_map(|row| {
            [Some(row.actor_id), row.worker_id]
                .into_iter()
                .flatten()
                .map(move |holder| (row.entity_id, holder))
        })
        .collect())
}

/// Locks the heads of attempts in the order of their keys, and tells how far they have come.
pub(in super::super) async fn lock_heads(
    db: &mut PgConnection,
    tenant: TenantId,
    attempts: &[Attempt],
) -> sqlx::Result<Vec<(Attempt, i64)>> {
    let (tasks, numbers): (Vec<Uuid>, Vec<i32>) = attempts.iter().copied().unzip();
    let rows = sqlx::query!(
        "select h.task_id, h.attempt, h.last_seq
         from unnest($2::uuid[], $3::int[]) as wanted (task_id, attempt)
         join log_heads h
           on h.tenant_id = $1 and h.task_id = wanted.task_id and h.attempt = wanted.attempt
         order by h.task_id, h.attempt
         for update of h",
        tenant.uuid(),
        &tasks,
        &numbers,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| ((row.task_id, row.attempt), row.last_seq))
        .collect())
}

/// Writes how far the logs of attempts have come now.
///
/// Another replica may begin the same log at the same moment: then one of the two fails on the key,
/// runs again, and sees the other's head.
pub(in super::super) async fn write_heads(
    db: &mut PgConnection,
    tenant: TenantId,
    heads: &[Moved],
) -> sqlx::Result<()> {
    if heads.is_empty() {
        return Ok(());
    }
    let tasks: Vec<Uuid> = heads.iter().map(|head| head.attempt.0).collect();
    let attempts: Vec<i32> = heads.iter().map(|head| head.attempt.1).collect();
    let lasts: Vec<i64> = heads.iter().map(|head| head.last).collect();
    let stored: Vec<bool> = heads.iter().map(|head| head.is_stored).collect();
    sqlx::query!(
        "with moved as (
             select *
             from unnest($2::uuid[], $3::int[], $4::bigint[], $5::boolean[])
                  as moved (task_id, attempt, last_seq, is_stored)),
         known as (
             update log_heads h
             set last_seq = moved.last_seq, updated_at = clock_timestamp()
             from moved
             where moved.is_stored
               and h.tenant_id = $1 and h.task_id = moved.task_id and h.attempt = moved.attempt)
         insert into log_heads (tenant_id, task_id, attempt, last_seq, updated_at)
         select $1, task_id, attempt, last_seq, clock_timestamp()
         from moved
         where not is_stored
         order by task_id, attempt",
        tenant.uuid(),
        &tasks,
        &attempts,
        &lasts,
        &stored,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets heads of attempts that are long over, a bounded number a turn.
pub(in super::super) async fn forget_heads(db: &mut PgConnection) -> sqlx::Result<u64> {
    let forgotten = sqlx::query!(
        "delete from log_heads h
         using (select tenant_id, task_id, attempt
                from log_heads
                where updated_at < clock_timestamp() - interval '2 days'
                  and not exists (
                      select from task_leases l
                      where l.tenant_id = log_heads.tenant_id and l.task_id = log_heads.task_id)
                order by updated_at
                limit 5000
                for update skip locked) old
         where h.tenant_id = old.tenant_id and h.task_id = old.task_id and h.attempt = old.attempt"
    )
    .execute(db)
    .await?;
    Ok(forgotten.rows_affected())
}

/// A log entry that is about to be written.
pub(in super::super) struct NewLog<'a> {
    entry: &'a LogInput,
    source: LogSource,
    category: LogCategory,
    level: LogLevel,
    operation: &'a str,
    status: LogStatus,
    duration_ms: Option<i64>,
    payload: Option<String>,
    error: Option<String>,
    attempt: Option<i32>,
    seq: Option<i64>,
    task: Option<&'a Task>,
}

impl<'a> NewLog<'a> {
    /// An entry as it was handed in, without what looks like a secret.
    pub(in super::super) fn of(
        entry: &'a LogInput,
        attempt: Option<i32>,
        task: Option<&'a Task>,
    ) -> Self {
        let error = entry
            .error
            .as_ref()
            .map(|error| serde_json::to_string(error).expect("an error is plain data"));
        Self {
            entry,
            source: entry.source,
            category: entry.category,
            level: entry.level.unwrap_or(LogLevel::Info),
            operation: &entry.operation,
            status: entry.status,
            duration_ms: entry.duration_ms,
            payload: entry
                .payload
                .as_ref()
                .map(|payload| mask_secrets(payload.text())),
            error: error.map(|error| mask_secrets(&error)),
            attempt,
            seq: entry.seq,
            task,
        }
    }

    /// The platform's remark that numbers are missing before an entry.
    pub(in super::super) fn gap(
        entry: &'a LogInput,
        attempt: i32,
        gap: &LogGap,
        task: Option<&'a Task>,
    ) -> Self {
        Self {
            entry,
            source: LogSource::Platform,
            category: LogCategory::TaskLifecycle,
            level: LogLevel::Warn,
            operation: "log.gap",
            status: LogStatus::Completed,
            duration_ms: None,
            payload: Some(json!({ "from_seq": gap.from_seq, "to_seq": gap.to_seq }).to_string()),
            error: None,
            attempt: Some(attempt),
            seq: None,
            task,
        }
    }
}

/// One column of the rows that are written.
fn column<'a, T>(rows: &'a [NewLog<'_>], of: impl Fn(&'a NewLog<'_>) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// Writes entries, in one statement.
pub(in super::super) async fn insert(
    db: &mut PgConnection,
    tenant: TenantId,
    rows: &[NewLog<'_>],
) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let occurred: Vec<Option<DateTime<Utc>>> = column(rows, |row| {
        row.entry.created_at.map(protocol::Timestamp::utc)
    });
    let labels = column(rows, |row| Labels::of(row.entry).to_text());
    sqlx::query!(
        "insert into execution_logs (
             tenant_id, occurred_at, trace_id, span_id, parent_span_id, source, category, level, operation, status,
             duration_ms, payload, error, workspace_id, workflow_id, task_id, attempt, seq, work_item_id,
             activation_id, role, stage_name, is_orchestrator_task, execution_backend, tool_owner, actor_type,
             actor_id, labels)
         select $1, n.occurred_at, n.trace_id, n.span_id, n.parent_span_id, n.source, n.category, n.level,
                n.operation, n.status, n.duration_ms, n.payload::json, n.error::json, n.workspace_id, n.workflow_id,
                n.task_id, n.attempt, n.seq, n.work_item_id, n.activation_id, n.role, n.stage_name,
                n.is_orchestrator_task, n.execution_backend, n.tool_owner, n.actor_type, n.actor_id, n.labels::json
         from unnest($2::timestamptz[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::smallint[],
                     $9::text[], $10::text[], $11::bigint[], $12::text[], $13::text[], $14::uuid[], $15::uuid[],
                     $16::uuid[], $17::int[], $18::bigint[], $19::uuid[], $20::uuid[], $21::text[], $22::text[],
                     $23::boolean[], $24::text[], $25::text[], $26::text[], $27::text[], $28::text[])
              with ordinality
              as n (occurred_at, trace_id, span_id, parent_span_id, source, category, level, operation, status,
                    duration_ms, payload, error, workspace_id, workflow_id, task_id, attempt, seq, work_item_id,
                    activation_id, role, stage_name, is_orchestrator_task, execution_backend, tool_owner,
                    actor_type, actor_id, labels, place)
         order by n.place",
        tenant.uuid(),
        &occurred as &[Option<DateTime<Utc>>],
        &column(rows, |row| row.entry.trace_id),
        &column(rows, |row| row.entry.span_id),
        &column(rows, |row| row.entry.parent_span_id) as &[Option<Uuid>],
        &column(rows, |row| row.source.as_str()) as &[&str],
        &column(rows, |row| row.category.as_str()) as &[&str],
        &column(rows, |row| rank(row.level)),
        &column(rows, |row| row.operation) as &[&str],
        &column(rows, |row| row.status.as_str()) as &[&str],
        &column(rows, |row| row.duration_ms) as &[Option<i64>],
        &column(rows, |row| row.payload.as_deref()) as &[Option<&str>],
        &column(rows, |row| row.error.as_deref()) as &[Option<&str>],
        // What a task belongs to is known better here than by the sender.
        &column(rows, |row| match row.task {
            Some(task) => task.position.workspace,
            None => row.entry.workspace_id.map(Uuid::from),
        }) as &[Option<Uuid>],
        &column(rows, |row| row
            .task
            .and_then(|task| task.workflow)
            .or(row.entry.workflow_id.map(Uuid::from))) as &[Option<Uuid>],
        &column(rows, |row| row.entry.task_id.map(Uuid::from)) as &[Option<Uuid>],
        &column(rows, |row| row.attempt) as &[Option<i32>],
        &column(rows, |row| row.seq) as &[Option<i64>],
        &column(rows, |row| row
            .task
            .and_then(|task| task.work_item)
            .or(row.entry.work_item_id.map(Uuid::from))) as &[Option<Uuid>],
        &column(rows, |row| row.entry.activation_id.map(Uuid::from)) as &[Option<Uuid>],
        &column(rows, |row| row
            .entry
            .role
            .as_deref()
            .or(row.task.and_then(|task| task.role.as_deref()))) as &[Option<&str>],
        &column(rows, |row| row
            .entry
            .stage_name
            .as_deref()
            .or(row.task.and_then(|task| task.stage.as_deref()))) as &[Option<&str>],
        &column(rows, |row| row
            .task
            .map(|task| task.is_orchestrator_task)
            .or(row.entry.is_orchestrator_task)) as &[Option<bool>],
        &column(rows, |row| row.entry.execution_backend.map(protocol::ExecutionBackend::as_str))
            as &[Option<&str>],
        &column(rows, |row| row.entry.tool_owner.map(protocol::ToolOwner::as_str)) as &[Option<&str>],
        &column(rows, |row| row.entry.actor_type.as_deref()) as &[Option<&str>],
        &column(rows, |row| row.entry.actor_id.as_deref()) as &[Option<&str>],
        &labels as &[Option<String>],
    )
    .execute(db)
    .await?;
    Ok(())
}
