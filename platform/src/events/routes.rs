//! Reading events: in stretches, or as a live stream.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use protocol::{EntityType, Event, Scope, Stretch};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{FOLLOWED, store, wire};
use crate::app::App;
use crate::error::Error;
use crate::http::sse::{self, Beat, Entry};
use crate::http::{Access, Caller, Cursor, Query, Reply, Routes, csv, csv_words};

/// Reading events.
pub fn routes() -> Routes {
    Routes::new("events")
        .route(Access::AtLeast(Scope::Agent), routes!(list_events))
        .route(Access::AtLeast(Scope::Agent), routes!(stream_events))
}

/// Events in one answer at most.
const LIMIT_MAX: i64 = 100;
/// Where to begin when only what happens from now on is wanted.
const LATEST: &str = "latest";

/// Which events are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct EventQuery {
    /// Go on after this event: an `id` or `next_after` of an earlier answer. `latest`: only what happens
    /// from now on. Absent: a list begins with the oldest event that is kept, a stream with the next one.
    after: Option<String>,
    /// Kinds of events, separated by commas.
    types: Option<String>,
    /// The same as `types`.
    event_type: Option<String>,
    /// Kinds of things, separated by commas.
    entity_type: Option<String>,
    /// The thing it happened to.
    entity_id: Option<Uuid>,
    /// The workspace, or the workspace of the task, it happened to.
    workspace_id: Option<Uuid>,
    /// How many events a list has, 1 to 100; 100 unless given. A stream does not end.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
    /// The same as `limit`.
    #[param(minimum = 1, maximum = 100)]
    per_page: Option<i64>,
}

/// Where to begin.
enum Begin {
    After(Cursor),
    Now,
    NotSaid,
}

impl EventQuery {
    fn begin(&self) -> Result<Begin, Error> {
        match self.after.as_deref() {
            None => Ok(Begin::NotSaid),
            Some(LATEST) => Ok(Begin::Now),
            Some(text) => Cursor::parse("after", text).map(Begin::After),
        }
    }

    fn limit(&self) -> Result<i64, Error> {
        let limit = self.limit.or(self.per_page).unwrap_or(LIMIT_MAX);
        if (1..=LIMIT_MAX).contains(&limit) {
            return Ok(limit);
        }
        Err(Error::invalid(format!(
            "limit must be between 1 and {LIMIT_MAX}"
        )))
    }

    fn filter(&self, caller: &Caller) -> Result<store::Filter, Error> {
        let entity_types = csv_words::<EntityType>("entity_type", self.entity_type.as_deref())?;
        let asked = self.workspace_id.map(|workspace| vec![workspace]);
        Ok(store::Filter {
            event_types: csv(self.types.as_deref().or(self.event_type.as_deref())),
            entity_types: entity_types.map(|types| types.iter().map(ToString::to_string).collect()),
            entity: self.entity_id,
            workspaces: match (caller.workspace_filter(), asked) {
                (Some(allowed), Some(asked)) => Some(
                    asked
                        .into_iter()
                        .filter(|id| allowed.contains(id))
                        .collect(),
                ),
                (allowed, asked) => allowed.or(asked),
            },
        })
    }
}

/// Lists events, oldest first, from a place on.
///
/// Nothing is ever skipped: an event is listed once every transaction that began before it has ended.
#[utoipa::path(get, path = "/api/v1/events", params(EventQuery),
               responses((status = 200, body = Stretch<Event>)))]
async fn list_events(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<EventQuery>,
) -> Result<Reply<Stretch<Event>>, Error> {
    let (limit, filter, begin) = (query.limit()?, query.filter(&caller)?, query.begin()?);
    let tenant = caller.tenant();
    let mut db = app.db.reader().await?;
    let newest = store::newest(&mut db, tenant).await?;
    let after = match begin {
        Begin::After(cursor) => cursor,
        Begin::Now => return Reply::stretch(vec![], false, Some(newest.to_string())),
        Begin::NotSaid => Cursor::START,
    };
    let mut rows = store::between(&mut db, tenant, after, newest, &filter, limit + 1).await?;
    drop(db);
    let wanted = usize::try_from(limit).map_err(anyhow::Error::from)?;
    let has_more = rows.len() > wanted;
    rows.truncate(wanted);
    let events = rows
        .into_iter()
        .map(|row| wire::event(tenant, row))
        .collect::<Result<Vec<_>, _>>()?;
    let next = match events.last() {
        Some(last) if has_more => last.id.clone(),
        // What the filters passed over need not be looked at again.
        _ => newest.max(after).to_string(),
    };
    Reply::stretch(events, has_more, Some(next))
}

/// Streams events as they happen, as server-sent events named by their type.
///
/// `Last-Event-ID` resumes a stream where it broke off, without a gap.
#[utoipa::path(get, path = "/api/v1/events/stream", params(EventQuery),
               responses((status = 200, body = Event, content_type = "text/event-stream")))]
async fn stream_events(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<EventQuery>,
) -> Result<Response, Error> {
    let (filter, begin) = (query.filter(&caller)?, query.begin()?);
    // A stream does not end, but nonsense is refused here too.
    query.limit()?;
    let after = match (sse::last_event_id(&headers)?, begin) {
        (Some(last), _) => Some(last),
        (None, Begin::After(cursor)) => Some(cursor),
        (None, Begin::Now | Begin::NotSaid) => None,
    };
    let (tenant, reader) = (caller.tenant(), app.clone());
    let read = move |after, upto| -> futures_util::future::BoxFuture<'static, _> {
        let (app, filter) = (reader.clone(), filter.clone());
        Box::pin(async move {
            let mut db = app.db.reader().await?;
            let rows = store::between(&mut db, tenant, after, upto, &filter, sse::STRETCH).await?;
            drop(db);
            rows.into_iter()
                .map(|row| {
                    let id = Cursor::of_row(&row.xid, row.id)?;
                    let event = wire::event(tenant, row)?;
                    Ok(Entry {
                        id,
                        name: event.event_type.clone(),
                        data: serde_json::to_string(&event)?,
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
        Beat::Comment,
        Box::new(read),
    )
    .await
}
