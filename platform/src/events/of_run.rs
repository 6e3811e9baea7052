//! The events of a run, and of one work item of it.

use protocol::{EntityType, Event, Stretch, TenantId, WorkItemId, WorkflowId};
use serde::Deserialize;
use sqlx::PgConnection;
use utoipa::IntoParams;
use uuid::Uuid;

use super::{store, wire};
use crate::error::Error;
use crate::http::{Cursor, Reply, csv, csv_words};

/// Events in one answer at most.
const LIMIT_MAX: i64 = 100;

/// Which events of a run are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RunEventQuery {
    /// Go on after this event: an `id` or `next_after` of an earlier answer.
    after: Option<String>,
    /// Kinds of events, separated by commas.
    types: Option<String>,
    /// The same as `types`.
    event_type: Option<String>,
    /// Kinds of things, separated by commas.
    entity_type: Option<String>,
    /// The thing it happened to.
    entity_id: Option<Uuid>,
    /// The work item, or the work item of the task, it happened to.
    work_item_id: Option<Uuid>,
    /// The stage of what it happened to.
    stage_name: Option<String>,
    /// How many events, 1 to 100; 100 unless given.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
    /// The same as `limit`.
    #[param(minimum = 1, maximum = 100)]
    per_page: Option<i64>,
}

/// Lists the events of a run, oldest first, from a place on.
///
/// # Errors
/// 400 for a parameter that does not fit.
pub async fn list_of_run(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    query: &RunEventQuery,
) -> Result<Reply<Stretch<Event>>, Error> {
    let limit = query.limit.or(query.per_page).unwrap_or(LIMIT_MAX);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Error::invalid(format!(
            "limit must be between 1 and {LIMIT_MAX}"
        )));
    }
    let entity_types = csv_words::<EntityType>("entity_type", query.entity_type.as_deref())?;
    let filter = store::RunFilter {
        event_types: csv(query.types.as_deref().or(query.event_type.as_deref())),
        entity_types: entity_types.map(|types| types.iter().map(ToString::to_string).collect()),
        entity: query.entity_id,
        work_item: query.work_item_id,
        stage_name: query.stage_name.clone(),
    };
    let after = match &query.after {
        Some(text) => Cursor::parse("after", text)?,
        None => Cursor::START,
    };
    let newest = store::newest(db, tenant).await?;
    let mut rows = store::of_run(db, tenant, run, (after, newest), &filter, limit + 1).await?;
    let wanted = usize::try_from(limit).map_err(anyhow::Error::from)?;
    let has_more = rows.len() > wanted;
    rows.truncate(wanted);
    let events = rows
        .into_iter()
        .map(|row| wire::event(tenant, row))
        .collect::<Result<Vec<_>, _>>()?;
    let next = match events.last() {
        Some(last) if has_more => last.id.clone(),
        _ => newest.max(after).to_string(),
    };
    Reply::stretch(events, has_more, Some(next))
}

/// The last events of a work item and its tasks, newest first.
///
/// # Errors
/// Those of the database.
pub async fn last_of_item(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    item: WorkItemId,
    limit: i64,
) -> Result<Vec<Event>, Error> {
    let rows = store::last_of_item(db, tenant, run, item.uuid(), limit).await?;
    rows.into_iter()
        .map(|row| wire::event(tenant, row))
        .collect()
}
