//! Reading log entries.

use protocol::TenantId;
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::Error;
use crate::http::Cursor;

/// A log entry as it is stored.
pub(in super::super) struct Row {
    pub(in super::super) xid: String,
    pub(in super::super) id: i64,
    pub(in super::super) created_at: DateTime<Utc>,
    pub(in super::super) occurred_at: Option<DateTime<Utc>>,
    pub(in super::super) trace_id: Uuid,
    pub(in super::super) span_id: Uuid,
    pub(in super::super) parent_span_id: Option<Uuid>,
    pub(in super::super) source: String,
    pub(in super::super) category: String,
    pub(in super::super) level: i16,
    pub(in super::super) operation: String,
    pub(in super::super) status: String,
    pub(in super::super) duration_ms: Option<i64>,
    pub(in super::super) payload: Option<String>,
    pub(in super::super) error: Option<String>,
    pub(in super::super) workspace_id: Option<Uuid>,
    pub(in super::super) workflow_id: Option<Uuid>,
    pub(in super::super) task_id: Option<Uuid>,
    pub(in super::super) attempt: Option<i32>,
    pub(in super::super) seq: Option<i64>,
    pub(in super::super) work_item_id: Option<Uuid>,
    pub(in super::super) activation_id: Option<Uuid>,
    pub(in super::super) role: Option<String>,
    pub(in super::super) stage_name: Option<String>,
    pub(in super::super) is_orchestrator_task: Option<bool>,
    pub(in super::super) execution_backend: Option<String>,
    pub(in super::super) tool_owner: Option<String>,
    pub(in super::super) actor_type: Option<String>,
    pub(in super::super) actor_id: Option<String>,
    pub(in super::super) labels: Option<String>,
}

/// Which entries are wanted; what is none is not asked for.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Filter {
    pub(in super::super) task: Option<Uuid>,
    pub(in super::super) attempt: Option<i32>,
    pub(in super::super) workflow: Option<Uuid>,
    pub(in super::super) work_item: Option<Uuid>,
    pub(in super::super) trace: Option<Uuid>,
    pub(in super::super) workspaces: Option<Vec<Uuid>>,
    pub(in super::super) stage: Option<String>,
    pub(in super::super) level_min: Option<i16>,
    pub(in super::super) levels: Option<Vec<i16>>,
    pub(in super::super) sources: Option<Vec<String>>,
    pub(in super::super) categories: Option<Vec<String>>,
    /// Patterns of LIKE.
    pub(in super::super) operations: Option<Vec<String>>,
    pub(in super::super) statuses: Option<Vec<String>>,
    pub(in super::super) roles: Option<Vec<String>>,
    pub(in super::super) actor_types: Option<Vec<String>>,
    pub(in super::super) actors: Option<Vec<String>>,
    pub(in super::super) backends: Option<Vec<String>>,
    pub(in super::super) tool_owners: Option<Vec<String>>,
    /// A pattern of ILIKE for the operation, the payload and the error.
    pub(in super::super) search: Option<String>,
    pub(in super::super) since: Option<DateTime<Utc>>,
    pub(in super::super) until: Option<DateTime<Utc>>,
    /// Only the last day, unless `since` says otherwise.
    pub(in super::super) is_recent: bool,
}

/// The entries between two places, both excluded.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Range {
    pub(in super::super) after: Cursor,
    pub(in super::super) before: Cursor,
}

/// Which end of the log comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Order {
    OldestFirst,
    NewestFirst,
}

/// The newest entry that nothing can come before any more.
pub(in super::super) async fn newest(
    db: &mut PgConnection,
    tenant: TenantId,
) -> Result<Cursor, Error> {
    let row = sqlx::query!(
        r#"select l.xid::text as "xid!", l.id
           from execution_logs l
           where l.tenant_id = $1
             and l.xid < pg_snapshot_xmin(pg_current_snapshot())
           order by l.xid desc, l.id desc
           limit 1"#,
        tenant.uuid(),
    )
    .fetch_optional(db)
    .await?;
    row.map_or(Ok(Cursor::START), |row| Cursor::of_row(&row.xid, row.id))
}

/// Reads entries, by one projection. The tail says which.
macro_rules! read_logs {
    ([$($tail:tt),*], $($bind:expr),* $(,)?) => {
        sqlx::query_as!(
            Row,
            "select l.xid::text as \"xid!\", l.id, l.created_at, l.occurred_at, l.trace_id, l.span_id,
                    l.parent_span_id, l.source, l.category, l.level, l.operation, l.status, l.duration_ms,
                    l.payload::text as payload, l.error::text as error, l.workspace_id, l.workflow_id, l.task_id,
                    l.attempt, l.seq, l.work_item_id, l.activation_id, l.role, l.stage_name,
                    l.is_orchestrator_task, l.execution_backend, l.tool_owner, l.actor_type, l.actor_id,
                    l.labels::text as labels
             from execution_logs l
             where l.tenant_id = $1" $(+ $tail)*,
            $($bind),*
        )
    };
}

/// One entry, if the caller may see it.
pub(in super::super) async fn find(
    db: &mut PgConnection,
    tenant: TenantId,
    place: Cursor,
    workspaces: Option<&[Uuid]>,
) -> sqlx::Result<Option<Row>> {
    read_logs!(
        [" and l.xid = $2::text::xid8 and l.id = $3
           and ($4::uuid[] is null or l.workspace_id = any($4))"],
        tenant.uuid(),
        place.xid_text(),
        place.id,
        workspaces as Option<&[Uuid]>,
    )
    .fetch_optional(db)
    .await
}

/// Reads a range of entries. The four statements differ in their way to the rows, which `$by` names,
/// and in their order, so that each has the one plan that suits it.
macro_rules! read_range {
    ($by:tt, $order:tt, $tenant:expr, $range:expr, $filter:expr, $limit:expr) => {
        read_logs!(
            [$by, "
               and (l.xid, l.id) > ($3::text::xid8, $4) and (l.xid, l.id) < ($5::text::xid8, $6)
               and l.created_at >= coalesce($7::timestamptz, case when $8 then now() - interval '24 hours' end, '-infinity')
               and l.created_at < coalesce($9::timestamptz, 'infinity')
               and ($10::int is null or l.attempt = $10)
               and ($11::uuid is null or l.workflow_id = $11)
               and ($12::uuid is null or l.work_item_id = $12)
               and ($13::uuid is null or l.trace_id = $13)
               and ($14::uuid[] is null or l.workspace_id = any($14))
               and ($15::text is null or l.stage_name = $15)
               and ($16::smallint is null or l.level >= $16)
               and (($17::text[] is null and $18::smallint[] is null)
                    or l.status = any($17) or l.level = any($18))
               and ($19::text[] is null or l.source = any($19))
               and ($20::text[] is null or l.category = any($20))
               and ($21::text[] is null or l.operation like any($21))
               and ($22::text[] is null or l.role = any($22))
               and ($23::text[] is null or l.actor_type = any($23))
               and ($24::text[] is null or l.actor_id = any($24))
               and ($25::text[] is null or l.execution_backend = any($25))
               and ($26::text[] is null or l.tool_owner = any($26))
               and ($27::text is null
                    or l.operation ilike $27 or l.payload::text ilike $27 or l.error::text ilike $27) ", $order, " limit $28"],
            $tenant.uuid(),
            $filter.task,
            $range.after.xid_text(),
            $range.after.id,
            $range.before.xid_text(),
            $range.before.id,
            $filter.since,
            $filter.is_recent,
            $filter.until,
            $filter.attempt,
            $filter.workflow,
            $filter.work_item,
            $filter.trace,
            $filter.workspaces.as_deref() as Option<&[Uuid]>,
            $filter.stage,
            $filter.level_min,
            $filter.statuses.as_deref() as Option<&[String]>,
            $filter.levels.as_deref() as Option<&[i16]>,
            $filter.sources.as_deref() as Option<&[String]>,
            $filter.categories.as_deref() as Option<&[String]>,
            $filter.operations.as_deref() as Option<&[String]>,
            $filter.roles.as_deref() as Option<&[String]>,
            $filter.actor_types.as_deref() as Option<&[String]>,
            $filter.actors.as_deref() as Option<&[String]>,
            $filter.backends.as_deref() as Option<&[String]>,
            $filter.tool_owners.as_deref() as Option<&[String]>,
            $filter.search,
            $limit
        )
    };
}

/// The entries of a range, in the wanted order.
pub(in super::super) async fn between(
    db: &mut PgConnection,
    tenant: TenantId,
    range: Range,
    order: Order,
    filter: &Filter,
    limit: i64,
) -> sqlx::Result<Vec<Row>> {
    match (filter.task, order) {
        (Some(_), Order::OldestFirst) => {
            read_range!(
                " and l.task_id = $2",
                "order by l.xid, l.id",
                tenant,
                range,
                filter,
                limit
            )
            .fetch_all(db)
            .await
        }
        (Some(_), Order::NewestFirst) => {
            read_range!(
                " and l.task_id = $2",
                "order by l.xid desc, l.id desc",
                tenant,
                range,
                filter,
                limit
            )
            .fetch_all(db)
            .await
        }
        (None, Order::OldestFirst) => {
            read_range!(
                " and $2::uuid is null",
                "order by l.xid, l.id",
                tenant,
                range,
                filter,
                limit
            )
            .fetch_all(db)
            .await
        }
        (None, Order::NewestFirst) => {
            read_range!(
                " and $2::uuid is null",
                "order by l.xid desc, l.id desc",
                tenant,
                range,
                filter,
                limit
            )
            .fetch_all(db)
            .await
        }
    }
}
