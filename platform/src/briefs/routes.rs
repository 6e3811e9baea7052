//! The routes of briefs and updates.

use axum::extract::State;
use http::StatusCode;
use protocol::Scope::Agent;
use protocol::{
    BriefRecorded, Envelope, OperatorBrief, OperatorUpdate, RecordBrief, RecordUpdate,
    UpdateRecorded, WorkflowId,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{record, store};
use crate::app::App;
use crate::error::Error;
use crate::http::Access::AtLeast;
use crate::http::{Caller, Command, Path, Query, Reply, Routes};
use crate::workflows;

/// Who may call what. Agents and workers tell of what they work on themselves.
pub fn routes() -> Routes {
    Routes::new("briefs")
        .route(AtLeast(Agent), routes!(record_brief))
        .route(AtLeast(Agent), routes!(list_briefs))
        .route(AtLeast(Agent), routes!(record_update))
        .route(AtLeast(Agent), routes!(list_updates))
}

/// Which briefs, or updates, of a run are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ToldQuery {
    /// Only those about this work item.
    work_item_id: Option<Uuid>,
    /// Only those about this task.
    task_id: Option<Uuid>,
    /// How many at most, 1 to 1000; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
}

impl ToldQuery {
    fn filter(&self) -> Result<store::Filter<'static>, Error> {
        let limit = self.limit.unwrap_or(100);
        if !(1..=record::KEPT_MAX).contains(&limit) {
            return Err(Error::invalid("limit must be between 1 and 1000"));
        }
        Ok(store::Filter {
            item: self.work_item_id,
            task: self.task_id,
            limit,
            ..store::Filter::default()
        })
    }
}

/// Tells people what came of a piece of work. Its author holds the task that it tells of, or was the last to.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/operator-briefs", request_body = RecordBrief,
               responses((status = 201, body = Envelope<BriefRecorded>)))]
async fn record_brief(
    State(app): State<App>,
    Path(run): Path<WorkflowId>,
    command: Command<RecordBrief>,
) -> Result<Reply<BriefRecorded>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let recorded = record::record_brief(&mut write, run, body).await?;
    write.commit(StatusCode::CREATED, recorded).await
}

/// Lists the briefs of a run, the newest first. The last 1000 are kept.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/operator-briefs", params(ToldQuery),
               responses((status = 200, body = Envelope<Vec<OperatorBrief>>)))]
async fn list_briefs(
    State(app): State<App>,
    caller: Caller,
    Path(run): Path<WorkflowId>,
    Query(query): Query<ToldQuery>,
) -> Result<Reply<Vec<OperatorBrief>>, Error> {
    let filter = query.filter()?;
    let mut db = app.db.reader().await?;
    let (tenant, workspaces) = (caller.tenant(), caller.workspace_filter());
    workflows::must_reach(&mut db, tenant, run, workspaces.as_deref()).await?;
    Reply::ok(store::briefs(&mut db, tenant, run, filter).await?)
}

/// Tells people who look on what an agent is doing. Its author holds the task that it tells of, or was the last to.
#[utoipa::path(post, path = "/api/v1/workflows/{workflow_id}/operator-updates", request_body = RecordUpdate,
               responses((status = 201, body = Envelope<UpdateRecorded>)))]
async fn record_update(
    State(app): State<App>,
    Path(run): Path<WorkflowId>,
    command: Command<RecordUpdate>,
) -> Result<Reply<UpdateRecorded>, Error> {
    let (mut write, body) = command.begin(&app).await?;
    let recorded = record::record_update(&mut write, run, body).await?;
    write.commit(StatusCode::CREATED, recorded).await
}

/// Lists the updates that a run shows as it is set, the newest first. The last 1000 are kept.
#[utoipa::path(get, path = "/api/v1/workflows/{workflow_id}/operator-updates", params(ToldQuery),
               responses((status = 200, body = Envelope<Vec<OperatorUpdate>>)))]
async fn list_updates(
    State(app): State<App>,
    caller: Caller,
    Path(run): Path<WorkflowId>,
    Query(query): Query<ToldQuery>,
) -> Result<Reply<Vec<OperatorUpdate>>, Error> {
    let filter = query.filter()?;
    let mut db = app.db.reader().await?;
    let (tenant, workspaces) = (caller.tenant(), caller.workspace_filter());
    workflows::must_reach(&mut db, tenant, run, workspaces.as_deref()).await?;
    Reply::ok(store::updates(&mut db, tenant, run, filter, true).await?)
}
