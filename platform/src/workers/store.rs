//! Every statement that writes `workers`.

use std::collections::HashMap;

use protocol::{
    ConnectionMode, JsonObject, RegisterWorker, RuntimeType, TenantId, Worker, WorkerId,
    WorkerStatus,
};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use super::register::NewWorker;
use crate::error::Error;
use crate::holders::{Changed, Forgotten, Heard, Holder};
use crate::http::PageQuery;

/// Which workers are wanted.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) id: Option<WorkerId>,
    pub(super) status: Option<WorkerStatus>,
    pub(super) name: Option<String>,
}

struct Row {
    id: Uuid,
    name: String,
    status: String,
    runtime_type: String,
    connection_mode: String,
    routing_tags: Vec<String>,
    capacity: i32,
    leases: i64,
    current_task_id: Option<Uuid>,
    heartbeat_interval_seconds: i32,
    protocol_version: Option<i32>,
    last_heartbeat_at: DateTime<Utc>,
    connected_at: DateTime<Utc>,
    metadata: String,
    host_info: String,
    metrics: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    fn into_worker(self, tenant: TenantId) -> Result<Worker, Error> {
        let parse = anyhow::Error::from;
        Ok(Worker {
            id: self.id.into(),
            tenant_id: tenant,
            name: self.name,
            status: self.status.parse::<WorkerStatus>().map_err(parse)?,
            runtime_type: self.runtime_type.parse::<RuntimeType>().map_err(parse)?,
            connection_mode: self
                .connection_mode
                .parse::<ConnectionMode>()
                .map_err(parse)?,
            routing_tags: self.routing_tags,
            capacity: self.capacity,
            leases: self.leases,
            current_task_id: self.current_task_id.map(Into::into),
            heartbeat_interval_seconds: self.heartbeat_interval_seconds,
            protocol_version: self.protocol_version,
            last_heartbeat_at: self.last_heartbeat_at.into(),
            connected_at: self.connected_at.into(),
            metadata: JsonObject::from_text(self.metadata)?,
            host_info: JsonObject::from_text(self.host_info)?,
            metrics: JsonObject::from_text(self.metrics)?,
            created_at: self.created_at.into(),
            updated_at: self.updated_at.into(),
        })
    }
}

/// Reads one worker.
pub(super) async fn read(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkerId,
) -> Result<Option<Worker>, Error> {
    let filter = Filter {
        id: Some(id),
        ..Filter::default()
    };
    Ok(select(db, tenant, &filter, 1, 0).await?.pop())
}

/// Reads a page of workers, newest first, and counts all that fit.
pub(super) async fn list(
    db: &mut PgConnection,
    tenant: TenantId,
    filter: &Filter,
    page: PageQuery,
) -> Result<(Vec<Worker>, i64), Error> {
    let total = sqlx::query_scalar!(
        r#"select count(*) as "count!"
           from worker_standing
           where tenant_id = $1
             and ($2::text is null or status = $2)
             and ($3::text is null or name = $3)"#,
        tenant.uuid(),
        filter.status.map(WorkerStatus::as_str),
        filter.name.as_deref(),
    )
    .fetch_one(&mut *db)
    .await?;
    let workers = select(db, tenant, filter, page.per_page(), page.offset()).await?;
    Ok((workers, total))
}

async fn select(
    db: &mut PgConnection,
    tenant: TenantId,
    filter: &Filter,
    limit: i64,
    offset: i64,
) -> Result<Vec<Worker>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select id as "id!", name as "name!", status as "status!", runtime_type as "runtime_type!",
                  connection_mode as "connection_mode!", routing_tags as "routing_tags!", capacity as "capacity!",
                  leases as "leases!", current_task_id,
                  heartbeat_interval_seconds as "heartbeat_interval_seconds!", protocol_version,
                  last_heartbeat_at as "last_heartbeat_at!", connected_at as "connected_at!",
                  metadata::text as "metadata!", host_info::text as "host_info!", metrics::text as "metrics!",
                  created_at as "created_at!", updated_at as "updated_at!"
           from worker_standing
           where tenant_id = $1
             and ($2::uuid is null or id = $2)
             and ($3::text is null or status = $3)
             and ($4::text is null or name = $4)
           order by id desc
           limit $5 offset $6"#,
        tenant.uuid(),
        filter.id.map(WorkerId::uuid),
        filter.status.map(WorkerStatus::as_str),
        filter.name.as_deref(),
        limit,
        offset,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| row.into_worker(tenant))
        .collect()
}

/// How some workers are doing now.
///
/// # Errors
/// Those of the database.
pub(crate) async fn statuses(
    db: &mut PgConnection,
    tenant: TenantId,
    workers: &[WorkerId],
) -> Result<HashMap<WorkerId, WorkerStatus>, Error> {
    if workers.is_empty() {
        return Ok(HashMap::new());
    }
    let workers: Vec<Uuid> = workers.iter().map(|worker| worker.uuid()).collect();
    let rows = sqlx::query!(
        r#"select id as "id!", status as "status!"
           from worker_standing
           where tenant_id = $1 and id = any($2)"#,
        tenant.uuid(),
        &workers,
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

/// Stores a worker that registers.
pub(super) async fn insert(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkerId,
    wanted: &RegisterWorker,
    new: &NewWorker,
) -> sqlx::Result<()> {
    let text = |data: &Option<JsonObject>| {
        data.as_ref()
            .map_or_else(|| "{}".to_owned(), |data| data.text().to_owned())
    };
    sqlx::query!(
        "insert into workers (tenant_id, id, name, runtime_type, connection_mode, routing_tags, capacity,
                              heartbeat_interval_seconds, protocol_version, host_info, metadata)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::json, $11::text::json)",
        tenant.uuid(),
        id.uuid(),
        wanted.name.trim(),
        wanted.runtime_type.unwrap_or(RuntimeType::Custom).as_str(),
        wanted.connection_mode.unwrap_or(ConnectionMode::Polling).as_str(),
        &wanted.routing_tags,
        new.capacity,
        new.heartbeat_interval_seconds,
        new.protocol_version,
        text(&wanted.host_info),
        text(&wanted.metadata),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Keeps others from changing a worker meanwhile. Returns false when there is none.
pub(super) async fn lock(
    db: &mut PgConnection,
    tenant: TenantId,
    worker: WorkerId,
) -> sqlx::Result<bool> {
    let found = sqlx::query!(
        "select id from workers where tenant_id = $1 and id = $2 for update",
        tenant.uuid(),
        worker.uuid(),
    )
    .fetch_optional(db)
    .await?;
    Ok(found.is_some())
}

/// Writes down that a worker shall take nothing new. Returns false when that was so before.
pub(super) async fn request_drain(
    db: &mut PgConnection,
    tenant: TenantId,
    worker: WorkerId,
) -> sqlx::Result<bool> {
    let requested = sqlx::query!(
        "update workers
         set drain_requested_at = clock_timestamp(), updated_at = clock_timestamp()
         where tenant_id = $1 and id = $2 and drain_requested_at is null",
        tenant.uuid(),
        worker.uuid(),
    )
    .execute(db)
    .await?;
    Ok(requested.rows_affected() == 1)
}

/// Deletes a worker; its agents and signals go with it.
pub(super) async fn delete(
    db: &mut PgConnection,
    tenant: TenantId,
    worker: WorkerId,
) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from workers where tenant_id = $1 and id = $2",
        tenant.uuid(),
        worker.uuid(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What a worker says about itself in a heartbeat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beat<'a> {
    /// Which worker.
    pub(crate) id: WorkerId,
    /// How it says it is doing.
    pub(crate) said_status: WorkerStatus,
    /// What it measured, as JSON text; what was said before stays when this is left out.
    pub(crate) metrics: Option<&'a str>,
}

/// Writes down that workers were heard, and returns those that exist.
///
/// # Errors
/// Those of the database.
pub(crate) async fn touch(
    db: &mut PgConnection,
    tenant: TenantId,
    beats: &[Beat<'_>],
) -> Result<Vec<Heard>, Error> {
    if beats.is_empty() {
        return Ok(vec![]);
    }
    let ids: Vec<Uuid> = beats.iter().map(|beat| beat.id.uuid()).collect();
    let said: Vec<&str> = beats.iter().map(|beat| beat.said_status.as_str()).collect();
    let metrics: Vec<Option<&str>> = beats.iter().map(|beat| beat.metrics).collect();
    let rows = sqlx::query!(
        r#"with heard as (
               select w.id, b.said_status, b.metrics
               from unnest($2::uuid[], $3::text[], $4::text[]) as b (id, said_status, metrics)
               join workers w on w.id = b.id
               where w.tenant_id = $1
               order by w.id
               for no key update of w)
           update workers w
           set last_heartbeat_at = clock_timestamp(),
               said_status = h.said_status,
               metrics = coalesce(h.metrics::json, w.metrics)
           from heard h
           where w.tenant_id = $1 and w.id = h.id
           returning w.id, w.protocol_version is not null as "is_fenced!""#,
        tenant.uuid(),
        &ids,
        &said as &[&str],
        &metrics as &[Option<&str>],
    )
    .fetch_all(db)
    .await?;
    let heard = rows.into_iter().map(|row| Heard {
        holder: Holder::Worker(row.id.into()),
        is_fenced: row.is_fenced,
        is_allowed: true,
    });
    Ok(heard.collect())
}

/// Notes the standing of workers whose last told one is no longer true, and returns them.
///
/// # Errors
/// Those of the database.
pub(crate) async fn tell_changed(db: &mut PgConnection, limit: i64) -> Result<Vec<Changed>, Error> {
    // A worker that was heard between the look and the lock has another last_heartbeat_at, and waits
    // for the next turn.
    let rows = sqlx::query!(
        r#"with changed as (
               select s.tenant_id, s.id, s.last_heartbeat_at,
                      coalesce(s.silence, 'online') as standing
               from worker_standing s
               where s.told_status <> coalesce(s.silence, 'online')
               limit $1),
           locked as (
               select w.tenant_id, w.id, c.standing
               from workers w
               join changed c on c.tenant_id = w.tenant_id and c.id = w.id
               where w.last_heartbeat_at = c.last_heartbeat_at and w.told_status <> c.standing
               order by w.tenant_id, w.id
               for no key update of w skip locked)
           update workers w
           set told_status = l.standing
           from locked l
           where w.tenant_id = l.tenant_id and w.id = l.id
           returning w.tenant_id, w.id, w.told_status as standing"#,
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

/// Deletes workers that were not heard for so many days, host nobody, and hold nothing.
///
/// # Errors
/// Those of the database.
pub(crate) async fn forget(
    db: &mut PgConnection,
    days: i32,
    limit: i64,
) -> Result<Vec<Forgotten>, Error> {
    let rows = sqlx::query!(
        "delete from workers w
         using (select w.tenant_id, w.id
                from workers w
                where w.last_heartbeat_at < clock_timestamp() - make_interval(days => $1)
                  and not exists (select from agents a where a.tenant_id = w.tenant_id and a.worker_id = w.id)
                  and not exists (select from task_leases l where l.tenant_id is not distinct from w.tenant_id and l.worker_id = w.id)
                order by w.tenant_id, w.id
                limit $2
                for update of w skip locked) old
         where w.tenant_id = old.tenant_id and w.id = old.id
         returning w.tenant_id, w.id",
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
