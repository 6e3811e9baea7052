//! What waits for a person, as it is shown.

use std::collections::HashMap;

use protocol::{Approval, ApprovalAction, TenantId, WorkflowId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::store::Source;
use super::{gates, steps, store, tasks};
use crate::error::Error;

/// Things that wait, in the order in which they are named. What was decided in this moment is left out.
pub(super) async fn approvals(
    db: &mut PgConnection,
    tenant: TenantId,
    found: &[(Source, Uuid)],
) -> Result<Vec<Approval>, Error> {
    let of = |wanted: Source| -> Vec<Uuid> {
        let named = found.iter().filter(|(source, _)| *source == wanted);
        named.map(|(_, id)| *id).collect()
    };
    let mut shown: HashMap<Uuid, Approval> = HashMap::new();
    let tasks = tasks::approvals(db, tenant, &of(Source::Task)).await?;
    let steps = steps::approvals(db, tenant, &of(Source::Step)).await?;
    let gates = gates::approvals(db, tenant, &of(Source::Gate)).await?;
    let all = tasks.into_iter().chain(steps).chain(gates);
    shown.extend(all.map(|one| (one.id, one)));
    let runs = shown.values().filter_map(|one| one.workflow_id);
    let runs: Vec<Uuid> = runs.map(WorkflowId::uuid).collect();
    let names = store::names_of_runs(db, tenant, &runs).await?;
    let mut list: Vec<Approval> = found
        .iter()
        .filter_map(|(_, id)| shown.remove(id))
        .collect();
    for approval in &mut list {
        let run = approval.workflow_id.map(WorkflowId::uuid);
        approval.workflow_name = run.and_then(|run| names.get(&run).cloned());
    }
    Ok(list)
}

/// One thing that waits, for a key that may be restricted to workspaces.
pub(super) async fn approval(
    db: &mut PgConnection,
    tenant: TenantId,
    id: Uuid,
    workspaces: Option<&[Uuid]>,
) -> Result<Approval, Error> {
    let absent = || Error::not_found("approval", id);
    let source = store::source_of(db, tenant, id).await?.ok_or_else(absent)?;
    let found = approvals(db, tenant, &[(source, id)]).await?;
    let is_reachable = |one: &Approval| {
        let workspace = one.workspace_id.map(protocol::WorkspaceId::uuid);
        workspaces.is_none_or(|allowed| workspace.is_some_and(|id| allowed.contains(&id)))
    };
    found.into_iter().find(is_reachable).ok_or_else(absent)
}

/// Where a decision about something is sent.
pub(super) fn decision_path(id: Uuid) -> String {
    format!("/api/v1/approvals/{id}")
}

/// The decisions that need words.
pub(super) fn with_feedback(actions: &[ApprovalAction]) -> Vec<ApprovalAction> {
    let needs = |action: &ApprovalAction| *action != ApprovalAction::Approve;
    actions.iter().copied().filter(needs).collect()
}
