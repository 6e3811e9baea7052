//! The statements that look at the runs a run belongs with.

use protocol::{
    ChildStatusCounts, RelatedWorkflow, TenantId, UnknownWord, WorkflowId, WorkflowRelations,
    WorkflowState,
};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::Error;

struct Row {
    id: Uuid,
    name: String,
    state: String,
    playbook_id: Uuid,
    playbook_name: Option<String>,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    completed_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for RelatedWorkflow {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let parsed: Result<WorkflowState, UnknownWord> = row.state.parse();
        let state = parsed.map_err(anyhow::Error::from)?;
        Ok(Self {
            workflow_id: row.id.into(),
            name: row.name,
            state,
            is_terminal: state.is_final(),
            playbook_id: row.playbook_id.into(),
            playbook_name: row.playbook_name,
            created_at: row.created_at.into(),
            started_at: row.started_at.map(Into::into),
            completed_at: row.completed_at.map(Into::into),
            link: format!("/api/v1/workflows/{}", row.id),
        })
    }
}

/// The run that launched a run, and those that it launched, as far as a key restricted to these workspaces may
/// see them.
pub(in crate::workflows) async fn relations(
    db: &mut PgConnection,
    tenant: TenantId,
    run: WorkflowId,
    parent: Option<WorkflowId>,
    workspaces: Option<&[Uuid]>,
    children_max: i64,
) -> Result<WorkflowRelations, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select w.id, w.name, w.state, w.playbook_id, p.name as "playbook_name?", w.created_at, w.started_at, w.completed_at
           from workflows w
           left join playbooks p on p.tenant_id = $1 and p.id = w.playbook_id
           where w.tenant_id = $1
             and w.id = any(array(
                 (select $3::uuid)
                 union all
                 (select id from workflows where tenant_id = $1 and parent_workflow_id = $2 order by id desc limit $5)
             ))
             and ($4::uuid[] is null or w.workspace_id = any($4))
           order by w.id desc"#,
        tenant.uuid(),
        run.uuid(),
        parent.map(WorkflowId::uuid) as Option<Uuid>,
        workspaces as Option<&[Uuid]>,
        children_max,
    )
    .fetch_all(&mut *db)
    .await?;
    let counts = sqlx::query_as!(
        ChildStatusCounts,
        r#"select count(*) as "total!", count(*) filter (where state = 'completed') as "completed!",
                  count(*) filter (where state = 'failed') as "failed!", count(*) filter (where state = 'cancelled') as "cancelled!",
                  count(*) filter (where state not in ('completed', 'failed', 'cancelled')) as "active!"
           from workflows where tenant_id = $1 and parent_workflow_id = $2"#,
        tenant.uuid(),
        run.uuid(),
    )
    .fetch_one(db)
    .await?;
    let related = rows.into_iter().map(RelatedWorkflow::try_from);
    let related = related.collect::<Result<Vec<_>, _>>()?;
    let (above, children): (Vec<_>, Vec<_>) = related
        .into_iter()
        .partition(|related| Some(related.workflow_id) == parent);
    Ok(WorkflowRelations {
        parent: above.into_iter().next(),
        latest_child_workflow_id: children.first().map(|child| child.workflow_id),
        children,
        child_status_counts: counts,
    })
}
