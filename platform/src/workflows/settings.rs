//! The settings of a run.

use protocol::{
    ErrorCode, LiveVisibilityMode, ReasonCode, TenantId, UpdateWorkflowSettings, VisibilitySource,
    WorkflowId, WorkflowSettings,
};
use sqlx::PgConnection;

use super::store;
use crate::error::{Error, Refused};
use crate::http::Write;

/// What the settings of a run are.
pub(super) async fn get(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkflowId,
) -> Result<WorkflowSettings, Error> {
    let found = store::settings(db, tenant, id).await?;
    let own: Option<LiveVisibilityMode> = found
        .mode
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(anyhow::Error::from)?;
    Ok(WorkflowSettings {
        workflow_id: id,
        effective_live_visibility_mode: own.unwrap_or(LiveVisibilityMode::Enhanced),
        workflow_live_visibility_mode_override: own,
        source: match own {
            Some(_) => VisibilitySource::WorkflowOverride,
            None => VisibilitySource::AgenticSettings,
        },
        revision: found.revision,
        updated_by_operator_id: found.updated_by,
        updated_at: found.updated_at.map(Into::into),
    })
}

/// Changes the settings of a run, if they are still what the caller has seen.
pub(super) async fn update(
    write: &mut Write,
    id: WorkflowId,
    body: UpdateWorkflowSettings,
) -> Result<WorkflowSettings, Error> {
    let tenant = write.caller().tenant();
    let workspaces = write.caller().workspace_filter();
    let run = store::lock_open_run(write.conn(), tenant, id, workspaces.as_deref()).await?;
    if run.settings_revision != body.settings_revision {
        return Err(Refused::new(
            ErrorCode::Conflict,
            format!(
                "the settings have changed since revision {}: they are at revision {}",
                body.settings_revision, run.settings_revision
            ),
        )
        .reason(ReasonCode::StateChanged)
        .hint("read the settings again, and send the change with their revision")
        .into());
    }
    let by = write.caller().actor();
    let mode = body.live_visibility_mode.map(LiveVisibilityMode::as_str);
    store::set_settings(write.conn(), tenant, id, mode, by).await?;
    get(write.conn(), tenant, id).await
}
