//! Every statement that writes `agents`.

use std::collections::HashMap;

use protocol::{
    Agent, AgentId, AgentProtocol, AgentStatus, ExecutionMode, JsonObject, TenantId, WorkerId,
};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use super::NewAgent;
use crate::error::Error;
use crate::holders::{Changed, Forgotten, Heard, Holder};
use crate::http::PageQuery;

/// Which agents are wanted.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) id: Option<AgentId>,
    pub(super) status: Option<AgentStatus>,
    pub(super) worker: Option<WorkerId>,
    pub(super) name: Option<String>,
}

struct Row {
    id: Uuid,
    worker_id: Option<Uuid>,
    name: String,
    protocol: String,
    status: String,
    execution_mode: String,
    routing_tags: Vec<String>,
    capacity: i32,
    leases: i64,
    current_task_id: Option<Uuid>,
    heartbeat_interval_seconds: i32,
    protocol_version: Option<i32>,
    last_heartbeat_at: DateTime<Utc>,
    last_claim_at: Option<DateTime<Utc>>,
    metadata: String,
    tools: String,
    registered_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    fn into_agent(self, tenant: TenantId) -> Result<Agent, Error> {
        let parse = anyhow::Error::from;
        Ok(Agent {
            id: self.id.into(),
            tenant_id: tenant,
            worker_id: self.worker_id.map(Into::into),
            name: self.name,
            protocol: self.protocol.parse::<AgentProtocol>().map_err(parse)?,
            status: self.status.parse::<AgentStatus>().map_err(parse)?,
            execution_mode: self
                .execution_mode
                .parse::<ExecutionMode>()
                .map_err(parse)?,
            routing_tags: self.routing_tags,
            capacity: self.capacity,
            leases: self.leases,
            current_task_id: self.current_task_id.map(Into::into),
            heartbeat_interval_seconds: self.heartbeat_interval_seconds,
            protocol_version: self.protocol_version,
            last_heartbeat_at: self.last_heartbeat_at.into(),
            last_claim_at: self.last_claim_at.map(Into::into),
            metadata: JsonObject::from_text(self.metadata)?,
            tools: JsonObject::from_text(self.tools)?,
            registered_at: self.registered_at.into(),
            created_at: self.created_at.into(),
            updated_at: self.updated_at.into(),
        })
    }
}

/// Reads one agent.
pub(super) async fn read(
    db: &mut PgConnection,
    tenant: TenantId,
    id: AgentId,
) -> Result<Option<Agent>, Error> {
    let filter = Filter {
        id: Some(id),
        ..Filter::default()
    };
    Ok(select(db, tenant, &filter, 1, 0).await?.pop())
}

/// Reads a page of agents, newest first, and counts all that fit.
pub(super) async fn list(
    db: &mut PgConnection,
    tenant: TenantId,
    filter: &Filter,
    page: PageQuery,
) -> Result<(Vec<Agent>, i64), Error> {
    let total = sqlx::query_scalar!(
        r#"select count(*) as "count!"
           from agent_standing
           where tenant_id = $1
             and ($2::text is null or status = $2)
             and ($3::uuid is null or worker_id = $3)
             and ($4::text is null or name = $4)"#,
        tenant.uuid(),
        filter.status.map(AgentStatus::as_str),
        filter.worker.map(WorkerId::uuid),
        filter.name.as_deref(),
    )
    .fetch_one(&mut *db)
    .await?;
    let agents = select(db, tenant, filter, page.per_page(), page.offset()).await?;
    Ok((agents, total))
}

async fn select(
    db: &mut PgConnection,
    tenant: TenantId,
    filter: &Filter,
    limit: i64,
    offset: i64,
) -> Result<Vec<Agent>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select id as "id!", worker_id, name as "name!", protocol as "protocol!", status as "status!",
                  execution_mode as "execution_mode!", routing_tags as "routing_tags!", capacity as "capacity!",
                  leases as "leases!", current_task_id,
                  heartbeat_interval_seconds as "heartbeat_interval_seconds!", protocol_version,
                  last_heartbeat_at as "last_heartbeat_at!", last_claim_at,
                  metadata::text as "metadata!", tools::text as "tools!",
                  registered_at as "registered_at!", created_at as "created_at!", updated_at as "updated_at!"
           from agent_standing
           where tenant_id = $1
             and ($2::uuid is null or id = $2)
             and ($3::text is null or status = $3)
             and ($4::uuid is null or worker_id = $4)
             and ($5::text is null or name = $5)
           order by id desc
           limit $6 offset $7"#,
        tenant.uuid(),
        filter.id.map(AgentId::uuid),
        filter.status.map(AgentStatus::as_str),
        filter.worker.map(WorkerId::uuid),
        filter.name.as_deref(),
        limit,
        offset,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(|row| row.into_agent(tenant)).collect()
}

/// How some agents are doing now.
///
/// # Errors
/// Those of the database.
pub(crate) async fn statuses(
    db: &mut PgConnection,
    tenant: TenantId,
    agents: &[AgentId],
) -> Result<HashMap<AgentId, AgentStatus>, Error> {
    if agents.is_empty() {
        return Ok(HashMap::new());
    }
    let agents: Vec<Uuid> = agents.iter().map(|agent| agent.uuid()).collect();
    let rows = sqlx::query!(
        r#"select id as "id!", status as "status!"
           from agent_standing
           where tenant_id = $1 and id = any($2)"#,
        tenant.uuid(),
        &agents,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let status = row.status.parse().map_err(anyhow::Error::from)?;
            Ok((row.id.into(), status))
        })
        .collect()
}

/// The agents that a worker hosts.
///
/// # Errors
/// Those of the database.
pub(crate) async fn ids_of(
    db: &mut PgConnection,
    tenant: TenantId,
    worker: WorkerId,
) -> Result<Vec<AgentId>, Error> {
    let ids = sqlx::query_scalar!(
        "select id from agents where tenant_id = $1 and worker_id = $2 order by id for update",
        tenant.uuid(),
        worker.uuid(),
    )
    .fetch_all(db)
    .await?;
    Ok(ids.into_iter().map(AgentId::from).collect())
}

/// Keeps a worker from being deleted meanwhile. Returns false when there is none.
pub(super) async fn hold_worker(
    db: &mut PgConnection,
    tenant: TenantId,
    worker: WorkerId,
) -> sqlx::Result<bool> {
    let found = sqlx::query!(
        "select id from workers where tenant_id = $1 and id = $2 for key share",
        tenant.uuid(),
        worker.uuid(),
    )
    .fetch_optional(db)
    .await?;
    Ok(found.is_some())
}

/// Stores an agent that registers.
pub(super) async fn insert(
    db: &mut PgConnection,
    tenant: TenantId,
    id: AgentId,
    agent: &NewAgent<'_>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into agents (tenant_id, id, worker_id, name, protocol, execution_mode, routing_tags, capacity,
                             heartbeat_interval_seconds, protocol_version, playbook_id, tools, metadata, acp, profile)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
                 $12::text::json, $13::text::json, $14::text::json, $15::text::json)",
        tenant.uuid(),
        id.uuid(),
        agent.worker.map(WorkerId::uuid),
        agent.name,
        agent.protocol.as_str(),
        agent.execution_mode.as_str(),
        &agent.routing_tags,
        agent.capacity,
        agent.heartbeat_interval_seconds,
        agent.protocol_version,
        agent.playbook,
        agent.tools.map_or("{}", JsonObject::text),
        agent.metadata.map_or("{}", JsonObject::text),
        agent.acp.map(JsonObject::text),
        agent.profile.map(JsonObject::text),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes an agent. Returns false when there is none.
pub(super) async fn delete(
    db: &mut PgConnection,
    tenant: TenantId,
    agent: AgentId,
) -> sqlx::Result<bool> {
    let deleted = sqlx::query!(
        "delete from agents where tenant_id = $1 and id = $2",
        tenant.uuid(),
        agent.uuid(),
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected() == 1)
}

/// Writes down that agents were heard, and returns those that exist.
///
/// With each comes the worker that speaks for it, if one does; an agent that it does not host is
/// returned, but not written.
///
/// # Errors
/// Those of the database.
pub(crate) async fn touch(
    db: &mut PgConnection,
    tenant: TenantId,
    beats: &[(AgentId, Option<WorkerId>)],
) -> Result<Vec<Heard>, Error> {
    if beats.is_empty() {
        return Ok(vec![]);
    }
    let ids: Vec<Uuid> = beats.iter().map(|(agent, _)| agent.uuid()).collect();
    let hosts: Vec<Option<Uuid>> = beats
        .iter()
        .map(|(_, host)| host.map(WorkerId::uuid))
        .collect();
    let rows = sqlx::query!(
        r#"with heard as (
               select a.id, a.protocol_version is not null as is_fenced,
                      b.host_id is null or b.host_id is not distinct from a.worker_id as is_allowed
               from unnest($2::uuid[], $3::uuid[]) as b (id, host_id)
               join agents a on a.id = b.id
               where a.tenant_id = $1
               order by a.id
               for no key update of a),
           touched as (
               update agents a
               set last_heartbeat_at = clock_timestamp()
               from heard h
               where a.tenant_id = $1 and a.id = h.id and h.is_allowed)
           select id as "id!", is_fenced as "is_fenced!", is_allowed as "is_allowed!" from heard"#,
        tenant.uuid(),
        &ids,
        &hosts as &[Option<Uuid>],
    )
    .fetch_all(db)
    .await?;
    let heard = rows.into_iter().map(|row| Heard {
        holder: Holder::Agent(row.id.into()),
        is_fenced: row.is_fenced,
        is_allowed: row.is_allowed,
    });
    Ok(heard.collect())
}

/// Notes the standing of agents whose last told one is no longer true, and returns them.
///
/// # Errors
/// Those of the database.
pub(crate) async fn tell_changed(db: &mut PgConnection, limit: i64) -> Result<Vec<Changed>, Error> {
    let rows = sqlx::query!(
        r#"with changed as (
               select s.tenant_id, s.id,
                      coalesce(s.silence, 'active') as standing
               from agent_standing s
               where s.told_status <> coalesce(s.silence, 'active')
               limit $1),
           locked as (
               select a.tenant_id, a.id, c.standing
               from agents a
               join changed c on c.tenant_id = a.tenant_id and c.id = a.id
               where a.told_status <> c.standing
               order by a.tenant_id, a.id
               for no key update of a skip locked)
           update agents a
           set told_status = l.standing
           from locked l
           where a.tenant_id = l.tenant_id and a.id = l.id
           returning a.tenant_id, a.id, a.told_status as standing"#,
        limit,
    )
    .fetch_all(db)
    .await?;
    let changed = rows.into_iter().map(|row| Changed {
        tenant: row.tenant_id.into(),
        id: row.id,
        standing: row.standing,
    });
    Ok(changed.collect())
}

/// Deletes agents that were not heard for so many days, by themselves or by their worker, and hold nothing.
///
/// # Errors
/// Those of the database.
pub(crate) async fn forget(
    db: &mut PgConnection,
    days: i32,
    limit: i64,
) -> Result<Vec<Forgotten>, Error> {
    let rows = sqlx::query!(
        "delete from agents a
         using (select a.tenant_id, a.id
                from agents a
                left join workers w on w.tenant_id = a.tenant_id and w.id = a.worker_id
                where greatest(a.last_heartbeat_at, w.last_heartbeat_at) < clock_timestamp() - make_interval(days => $1)
                  and not exists (select from task_leases l where l.tenant_id is not distinct from a.tenant_id and l.agent_id = a.id)
                order by a.tenant_id, a.id
                limit $2
                for update of a skip locked) old
         where a.tenant_id = old.tenant_id and a.id = old.id
         returning a.tenant_id, a.id",
        days,
        limit,
    )
    .fetch_all(db)
    .await?;
    let forgotten = rows.into_iter().map(|row| Forgotten {
        tenant: row.tenant_id.into(),
        id: row.id,
    });
    Ok(forgotten.collect())
}
