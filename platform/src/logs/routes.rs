//! Handing log entries in, and reading them.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use protocol::{
    Envelope, IngestLogs, LogEntry, LogPage, LogPagination, LogsIngested, Scope, WorkspaceId,
};
use utoipa_axum::routes;

use super::judge::Reporter;
use super::lane::LogBatch;
use super::query::{LogQuery, Wanted};
use super::store::{self, Order, Range};
use super::wire::{self, Detail};
use super::{FOLLOWED, check};
use crate::app::App;
use crate::error::Error;
use crate::http::sse::{self, Beat, Entry};
use crate::http::{Access, Caller, Cursor, Hot, Path, Query, Reply, Routes, meta};

/// Handing log entries in, and reading them.
pub fn routes() -> Routes {
    Routes::new("logs")
        .hot(Access::AtLeast(Scope::Agent), routes!(ingest_logs))
        .route(Access::AtLeast(Scope::Agent), routes!(list_logs))
        .route(Access::AtLeast(Scope::Agent), routes!(stream_logs))
        .route(Access::AtLeast(Scope::Agent), routes!(get_log))
}

/// Takes log entries, and says of each that was not taken why.
///
/// A batch may be repeated: entries with a `seq` that was already taken are not stored again.
#[utoipa::path(post, path = "/api/v1/logs/ingest", request_body = IngestLogs,
               responses((status = 201, body = Envelope<LogsIngested>)))]
async fn ingest_logs(
    State(app): State<App>,
    hot: Hot<IngestLogs>,
) -> Result<Reply<LogsIngested>, Error> {
    check::check(&hot.body)?;
    let identity = hot.caller.identity();
    // The guard has taken the first token.
    let more = u32::try_from(hot.body.entries.len().saturating_sub(1)).unwrap_or(u32::MAX);
    if more > 0 {
        app.rates.spend(identity.key, true, more)?;
    }
    let batch = LogBatch {
        tenant: hot.caller.tenant(),
        reporter: Reporter::of(&hot.caller),
        workspaces: identity
            .workspaces
            .iter()
            .copied()
            .map(WorkspaceId::uuid)
            .collect(),
        weight: hot.weight(),
        entries: hot.body.entries,
    };
    Reply::with(StatusCode::CREATED, app.lanes.logs.run(batch).await?)
}

/// Lists log entries, the newest first unless asked otherwise.
///
/// With `order=asc` and the cursor of each answer, nothing is ever skipped.
#[utoipa::path(get, path = "/api/v1/logs", params(LogQuery), responses((status = 200, body = LogPage)))]
async fn list_logs(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<LogQuery>,
) -> Result<Reply<LogPage>, Error> {
    let wanted = query.wanted(&caller)?;
    let tenant = caller.tenant();
    let mut db = app.db.reader().await?;
    let newest = store::newest(&mut db, tenant).await?;
    let range = match wanted.order {
        Order::OldestFirst => Range {
            after: wanted.cursor.unwrap_or(Cursor::START),
            before: newest.behind(),
        },
        Order::NewestFirst => Range {
            after: Cursor::START,
            before: wanted.cursor.unwrap_or(Cursor::END),
        },
    };
    let Wanted {
        filter,
        order,
        per_page,
        ..
    } = &wanted;
    let mut rows = store::between(&mut db, tenant, range, *order, filter, per_page + 1).await?;
    drop(db);
    let page = usize::try_from(*per_page).map_err(anyhow::Error::from)?;
    let has_more = rows.len() > page;
    rows.truncate(page);
    let data = rows
        .into_iter()
        .map(|row| wire::entry(tenant, row, wanted.detail))
        .collect::<Result<Vec<_>, _>>()?;
    let last = data.last().map(|entry| entry.id.clone());
    let next_cursor = match order {
        Order::NewestFirst => last.filter(|_| has_more),
        Order::OldestFirst if has_more => last,
        // Whoever follows the log goes on from here. What the filters passed over is passed for good.
        Order::OldestFirst => Some(newest.max(range.after).to_string()),
    };
    Reply::log_page(&LogPage {
        data,
        pagination: LogPagination {
            per_page: *per_page,
            has_more,
            next_cursor,
            prev_cursor: wanted.cursor.map(|cursor| cursor.to_string()),
        },
        meta: meta(),
    })
}

/// Reads one log entry.
#[utoipa::path(get, path = "/api/v1/logs/{log_id}", responses((status = 200, body = Envelope<LogEntry>)))]
async fn get_log(
    State(app): State<App>,
    caller: Caller,
    Path(log_id): Path<String>,
) -> Result<Reply<LogEntry>, Error> {
    let absent = || Error::not_found("log entry", &log_id);
    // What is no id of ours is the id of nothing.
    let place = Cursor::parse("log_id", &log_id).map_err(|_| absent())?;
    let workspaces = caller.workspace_filter();
    let mut db = app.db.reader().await?;
    let row = store::find(&mut db, caller.tenant(), place, workspaces.as_deref())
        .await?
        .ok_or_else(absent)?;
    Reply::ok(wire::entry(caller.tenant(), row, Detail::Full)?)
}

/// Streams log entries as they arrive, as server-sent events named `log`.
///
/// `Last-Event-ID` resumes a stream where it broke off, without a gap; `cursor` does so for a first
/// connection. Without either the stream begins with the next entry.
#[utoipa::path(get, path = "/api/v1/logs/stream", params(LogQuery),
               responses((status = 200, body = LogEntry, content_type = "text/event-stream")))]
async fn stream_logs(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<LogQuery>,
) -> Result<Response, Error> {
    let Wanted {
        filter,
        cursor,
        detail,
        ..
    } = query.wanted(&caller)?;
    // A stream begins where its cursor is, however long ago that was.
    let filter = store::Filter {
        is_recent: false,
        ..filter
    };
    let after = sse::last_event_id(&headers)?.or(cursor);
    let (tenant, reader) = (caller.tenant(), app.clone());
    let read = move |after, upto: Cursor| -> futures_util::future::BoxFuture<'static, _> {
        let (app, filter) = (reader.clone(), filter.clone());
        Box::pin(async move {
            let range = Range {
                after,
                before: upto.behind(),
            };
            let mut db = app.db.reader().await?;
            let rows = store::between(
                &mut db,
                tenant,
                range,
                Order::OldestFirst,
                &filter,
                sse::STRETCH,
            )
            .await?;
            drop(db);
            rows.into_iter()
                .map(|row| {
                    let id = Cursor::of_row(&row.xid, row.id)?;
                    let entry = wire::entry(tenant, row, detail)?;
                    Ok(Entry {
                        id,
                        name: "log".to_owned(),
                        data: serde_json::to_string(&entry)?,
                    })
                })
                .collect()
        })
    };
    sse::stream(
        &app,
        &FOLLOWED,
        caller,
        after,
        Beat::Message,
        Box::new(read),
    )
    .await
}
