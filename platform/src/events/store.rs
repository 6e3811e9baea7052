//! Every statement that writes `events`, hot statements aside, and those that read it.

use protocol::{EntityType, JsonObject, TenantId, WorkflowId};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::Error;
use crate::http::Cursor;

/// An event that is about to be written.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// What happened, such as `worker.registered`.
    pub event_type: &'static str,
    /// What kind of thing it happened to.
    pub entity_type: EntityType,
    /// Which one.
    pub entity: Uuid,
    /// What kind of caller caused it: a scope, or `system`.
    pub actor_type: &'static str,
    /// The agent, worker or key that caused it.
    pub actor: Option<Uuid>,
    /// What there is to know about it.
    pub data: JsonObject,
}

/// Writes events in the transaction that causes them.
///
/// # Errors
/// Those of the database.
pub async fn append(
    db: &mut PgConnection,
    tenant: TenantId,
    events: &[NewEvent],
) -> Result<(), Error> {
    let events: Vec<_> = events.iter().map(|event| (None, event)).collect();
    insert(db, tenant, &events).await
}

/// Writes events that belong to runs, in the transaction that causes them.
///
/// # Errors
/// Those of the database.
pub async fn append_to_runs(
    db: &mut PgConnection,
    tenant: TenantId,
    events: &[(WorkflowId, NewEvent)],
) -> Result<(), Error> {
    let events: Vec<_> = events
        .iter()
        .map(|(run, event)| (Some(run.uuid()), event))
        .collect();
    insert(db, tenant, &events).await
}

async fn insert(
    db: &mut PgConnection,
    tenant: TenantId,
    events: &[(Option<Uuid>, &NewEvent)],
) -> Result<(), Error> {
    macro_rules! column {
        ($event:ident => $value:expr) => {
            events.iter().map(|(_, $event)| $value).collect::<Vec<_>>()
        };
    }
    let runs: Vec<Option<Uuid>> = events.iter().map(|(run, _)| *run).collect();
    sqlx::query!(
        "insert into events (tenant_id, event_type, entity_type, entity_id, actor_type, actor_id, data, workflow_id)
         select $1, e.event_type, e.entity_type, e.entity_id, e.actor_type, e.actor_id, e.data::json, e.workflow_id
         from unnest($2::text[], $3::text[], $4::uuid[], $5::text[], $6::uuid[], $7::text[], $8::uuid[])
              with ordinality as e (event_type, entity_type, entity_id, actor_type, actor_id, data, workflow_id, place)
         order by e.place",
        tenant.uuid(),
        &column!(event => event.event_type) as &[&str],
        &column!(event => event.entity_type.as_str()) as &[&str],
        &column!(event => event.entity),
        &column!(event => event.actor_type) as &[&str],
        &column!(event => event.actor) as &[Option<Uuid>],
        &column!(event => event.data.text()) as &[&str],
        &runs as &[Option<Uuid>],
    )
    .execute(db)
    .await?;
    Ok(())
}

/// An event, or two moves of a task as they are stored: see [`Row::each`].
#[derive(Clone)]
pub(super) struct Row {
    pub(super) xid: String,
    pub(super) id: i64,
    pub(super) created_at: DateTime<Utc>,
    pub(super) event_type: String,
    pub(super) entity_type: String,
    pub(super) entity_id: Uuid,
    pub(super) actor_type: String,
    pub(super) actor_id: Option<Uuid>,
    pub(super) task_seq: Option<i32>,
    pub(super) attempt: Option<i32>,
    pub(super) from_state: Option<String>,
    /// The state in between when one request made two moves.
    pub(super) via_state: Option<String>,
    pub(super) to_state: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) fenced: Option<bool>,
    pub(super) data: Option<String>,
}

impl Row {
    /// The events that it stands for, in their order: a claim that also started wrote one row for both, as the
    /// view `task_moves` tells too.
    fn each(self) -> impl DoubleEndedIterator<Item = Self> {
        let Some(via) = self.via_state.clone() else {
            return [Some(self), None].into_iter().flatten();
        };
        let first = Self {
            id: self.id - 1,
            task_seq: self.task_seq.map(|seq| seq - 1),
            to_state: Some(via.clone()),
            via_state: None,
            ..self.clone()
        };
        let second = Self {
            from_state: Some(via),
            via_state: None,
            reason: Some("start".to_owned()),
            ..self
        };
        [Some(first), Some(second)].into_iter().flatten()
    }
}

/// The events after a place, one row each, as many as are wanted at most.
fn each_after(rows: Vec<Row>, after: Cursor, limit: i64) -> Result<Vec<Row>, Error> {
    let mut events = Vec::with_capacity(rows.len());
    for row in rows.into_iter().flat_map(Row::each) {
        // The place may lie between the two events of a row.
        if Cursor::of_row(&row.xid, row.id)? > after {
            events.push(row);
        }
    }
    events.truncate(usize::try_from(limit).map_err(anyhow::Error::from)?);
    Ok(events)
}

/// Which events are wanted; what is none is not asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) event_types: Option<Vec<String>>,
    pub(super) entity_types: Option<Vec<String>>,
    pub(super) entity: Option<Uuid>,
    /// Only what concerns these workspaces: themselves and their tasks.
    pub(super) workspaces: Option<Vec<Uuid>>,
}

/// The newest event that nothing can come before any more.
pub(super) async fn newest(db: &mut PgConnection, tenant: TenantId) -> Result<Cursor, Error> {
    let row = sqlx::query!(
        r#"select e.xid::text as "xid!", e.id
           from events e
           where e.tenant_id = $1
             and e.xid < pg_snapshot_xmin(pg_current_snapshot())
           order by e.xid desc, e.id desc
           limit 1"#,
        tenant.uuid(),
    )
    .fetch_optional(db)
    .await?;
    row.map_or(Ok(Cursor::START), |row| Cursor::of_row(&row.xid, row.id))
}

/// Reads events in their order. `$tail` says which of them, and is what the two statements differ in,
/// so that each has the one plan that suits it.
macro_rules! read_events {
    ($tail:tt, $tenant:expr, $after:expr, $upto:expr, $filter:expr, $limit:expr $(, $more:expr)?) => {
        sqlx::query_as!(
            Row,
            "select e.xid::text as \"xid!\", e.id, e.created_at, e.event_type, e.entity_type, e.entity_id,
                    e.actor_type, e.actor_id, e.task_seq, e.attempt, e.from_state, e.via_state, e.to_state, e.reason, e.fenced,
                    e.data::text as data
             from events e
             where e.tenant_id = $1
               and (e.xid, e.id) > ($2::text::xid8, $3)
               and (e.xid, e.id) <= ($4::text::xid8, $5)
               and ($6::text[] is null or e.event_type = any($6))
               and ($7::text[] is null or e.entity_type = any($7))
               and ($8::uuid[] is null
                    or (e.entity_type = 'workspace' and e.entity_id = any($8))
                    or (e.entity_type = 'task' and exists (
                            select from tasks t
                            where t.tenant_id = e.tenant_id and t.id = e.entity_id and t.workspace_id = any($8))))"
                + $tail,
            $tenant.uuid(),
            $after.xid_text(),
            $after.id,
            $upto.xid_text(),
            $upto.id,
            $filter.event_types.as_deref() as Option<&[String]>,
            $filter.entity_types.as_deref() as Option<&[String]>,
            $filter.workspaces.as_deref() as Option<&[Uuid]>,
            $limit
            $(, $more)?
        )
    };
}

/// The events after a place, up to and with another one, oldest first.
pub(super) async fn between(
    db: &mut PgConnection,
    tenant: TenantId,
    after: Cursor,
    upto: Cursor,
    filter: &Filter,
    limit: i64,
) -> Result<Vec<Row>, Error> {
    let rows = match filter.entity {
        // By the index events_entity.
        Some(entity) => {
            read_events!(
                " and e.entity_id = $10 order by e.xid, e.id limit $9",
                tenant,
                after,
                upto,
                filter,
                limit,
                entity
            )
            .fetch_all(db)
            .await?
        }
        // By the primary key.
        None => {
            read_events!(
                " order by e.xid, e.id limit $9",
                tenant,
                after,
                upto,
                filter,
                limit
            )
            .fetch_all(db)
            .await?
        }
    };
    each_after(rows, after, limit)
}

/// Which events of a run are wanted.
pub(super) struct RunFilter {
    pub(super) event_types: Option<Vec<String>>,
    pub(super) entity_types: Option<Vec<String>>,
    pub(super) entity: Option<Uuid>,
    pub(super) work_item: Option<Uuid>,
    pub(super) stage_name: Option<String>,
}

/// The events of a run after a place, up to and with another one, oldest first.
pub(super) async fn of_run(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    (after, upto): (Cursor, Cursor),
    filter: &RunFilter,
    limit: i64,
) -> Result<Vec<Row>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select e.xid::text as "xid!", e.id, e.created_at, e.event_type, e.entity_type, e.entity_id,
                  e.actor_type, e.actor_id, e.task_seq, e.attempt, e.from_state, e.via_state, e.to_state, e.reason, e.fenced,
                  e.data::text as data
           from events e
           where e.tenant_id = $1 and e.workflow_id = $2
             and (e.xid, e.id) > ($3::text::xid8, $4)
             and (e.xid, e.id) <= ($5::text::xid8, $6)
             and ($7::text[] is null or e.event_type = any($7))
             and ($8::text[] is null or e.entity_type = any($8))
             and ($9::uuid is null or e.entity_id = $9)
             and ($10::uuid is null or e.entity_id = $10
                  or exists (select from tasks t where t.tenant_id = $1 and t.id = e.entity_id and t.work_item_id = $10))
             and ($11::text is null
                  or exists (select from tasks t where t.tenant_id = $1 and t.id = e.entity_id and t.stage_name = $11)
                  or exists (select from work_items i where i.tenant_id = $1 and i.id = e.entity_id and i.stage_name = $11)
                  or (e.entity_type = 'workflow' and e.data->>'stage_name' = $11))
           order by e.xid, e.id
           limit $12"#,
        tenant.uuid(),
        run.uuid(),
        after.xid_text(),
        after.id,
        upto.xid_text(),
        upto.id,
        filter.event_types.as_deref() as Option<&[String]>,
        filter.entity_types.as_deref() as Option<&[String]>,
        filter.entity as Option<Uuid>,
        filter.work_item as Option<Uuid>,
        filter.stage_name.as_deref() as Option<&str>,
        limit,
    )
    .fetch_all(db)
    .await?;
    each_after(rows, after, limit)
}

/// The last events of a work item and its tasks, newest first.
pub(super) async fn last_of_item(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    item: Uuid,
    limit: i64,
) -> Result<Vec<Row>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select e.xid::text as "xid!", e.id, e.created_at, e.event_type, e.entity_type, e.entity_id,
                  e.actor_type, e.actor_id, e.task_seq, e.attempt, e.from_state, e.via_state, e.to_state, e.reason, e.fenced,
                  e.data::text as data
           from events e
           where e.tenant_id = $1 and e.workflow_id = $2
             and (e.entity_id = $3
                  or exists (select from tasks t where t.tenant_id = $1 and t.id = e.entity_id and t.work_item_id = $3))
           order by e.xid desc, e.id desc
           limit $4"#,
        tenant.uuid(),
        run.uuid(),
        item,
        limit,
    )
    .fetch_all(db)
    .await?;
    let newest_first = rows.into_iter().flat_map(|row| row.each().rev());
    let wanted = usize::try_from(limit).map_err(anyhow::Error::from)?;
    Ok(newest_first.take(wanted).collect())
}
