//! What the explanation of a task looks at: others that it waits for, and agents that could take it.

use protocol::{TaskId, TaskState, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;

/// A task that another one waits for.
pub(super) struct Unfinished {
    pub(super) id: TaskId,
    pub(super) title: String,
    pub(super) state: TaskState,
}

/// The tasks among these that have not completed, 20 at most.
pub(super) async fn unfinished(
    db: &mut PgConnection,
    tenant: TenantId,
    ids: &[Uuid],
) -> Result<Vec<Unfinished>, Error> {
    let rows = sqlx::query!(
        r#"select t.id, t.title, p.state as "state!"
           from tasks t
           cross join lateral (select state from task_positions where tenant_id = $1 and task_id = t.id limit 1) p
           where t.tenant_id = $1 and t.id = any($2) and p.state <> 'completed'
           order by t.id
           limit 20"#,
        tenant.uuid(),
        ids,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Unfinished {
                id: row.id.into(),
                title: row.title,
                state: super::record::word(&row.state)?,
            })
        })
        .collect()
}

/// An agent that could take tasks, as `why` looks at it.
pub(super) struct Candidate {
    pub(super) id: Uuid,
    pub(super) worker: Option<Uuid>,
    pub(super) tags: Vec<String>,
    pub(super) is_alive: bool,
    pub(super) is_draining: bool,
    pub(super) has_room: bool,
}

/// Every agent with what decides whether it can take a task.
pub(super) async fn candidates(
    db: &mut PgConnection,
    tenant: TenantId,
) -> Result<Vec<Candidate>, Error> {
    Ok(sqlx::query_as!(
        Candidate,
        r#"select a.id, a.worker_id as worker,
                  a.routing_tags || coalesce(w.routing_tags, '{}') as "tags!",
                  coalesce(w.last_heartbeat_at, a.last_heartbeat_at)
                      > clock_timestamp() - 2 * make_interval(secs => coalesce(w.heartbeat_interval_seconds, a.heartbeat_interval_seconds)) as "is_alive!",
                  coalesce(w.drain_requested_at is not null or w.said_status in ('draining', 'offline'), false) as "is_draining!",
                  (select count(*) from task_leases l where l.tenant_id is not distinct from $1 and l.agent_id = a.id) < a.capacity
                      and (w.id is null
                           or (select count(*) from task_leases l where l.tenant_id is not distinct from $1 and l.worker_id = w.id) < w.capacity) as "has_room!"
           from agents a
           left join workers w on w.tenant_id = a.tenant_id and w.id = a.worker_id
           where a.tenant_id = $1"#,
        tenant.uuid(),
    )
    .fetch_all(db)
    .await?)
}
