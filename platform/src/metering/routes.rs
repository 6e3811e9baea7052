//! The routes of metering.

use axum::extract::State;
use http::StatusCode;
use protocol::Scope::{Admin, Agent};
use protocol::{Envelope, MeterUsage, MeteredUsage, TaskId};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{meter, store};
use crate::app::App;
use crate::error::Error;
use crate::http::Access::AtLeast;
use crate::http::{Caller, Command, Query, Reply, Routes};

/// Reports that one answer has at most.
const SHOWN_MAX: i64 = 1_000;

/// Who may call what. Agents and workers report of what they work on themselves.
pub fn routes() -> Routes {
    Routes::new("metering")
        .route(AtLeast(Agent), routes!(meter_usage))
        .route(AtLeast(Admin), routes!(list_usage))
}

/// Reports what work on a task has used since the last such report.
#[utoipa::path(post, path = "/api/v1/metering/events", request_body = MeterUsage,
               responses((status = 201, body = Envelope<MeteredUsage>)))]
async fn meter_usage(
    State(app): State<App>,
    command: Command<MeterUsage>,
) -> Result<Reply<MeteredUsage>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let metered = meter::meter_usage(&mut write, body).await?;
    write.commit(StatusCode::CREATED, metered).await
}

/// Which reports a list shows.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct UsageQuery {
    /// Only those of this run.
    workflow_id: Option<Uuid>,
    /// Only those of this task.
    task_id: Option<Uuid>,
    /// Only those of this worker.
    worker_id: Option<Uuid>,
    /// How many at most, 1 to 1000; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
}

/// Lists what was reported, the newest first.
#[utoipa::path(get, path = "/api/v1/metering/events", params(UsageQuery),
               responses((status = 200, body = Envelope<Vec<MeteredUsage>>)))]
async fn list_usage(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<UsageQuery>,
) -> Result<Reply<Vec<MeteredUsage>>, Error> {
    let limit = query.limit.unwrap_or(100);
    if !(1..=SHOWN_MAX).contains(&limit) {
        return Err(Error::invalid(format!(
            "limit must be between 1 and {SHOWN_MAX}"
        )));
    }
    let filter = store::Filter {
        id: None,
        run: query.workflow_id,
        task: query.task_id.map(TaskId::from),
        worker: query.worker_id,
        workspaces: caller.workspace_filter(),
        limit,
    };
    let mut db = app.db.reader().await?;
    Reply::ok(store::list(&mut db, caller.tenant(), &filter).await?)
}
