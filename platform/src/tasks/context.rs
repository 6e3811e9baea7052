//! What an agent should know to work on a task.

use protocol::{AgentId, ContextAgent, ContextTask, Json, TaskContext, TaskId, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{record, store};
use crate::error::Error;
use crate::handoffs;

/// Puts the context of a task together.
pub(super) async fn get_task_context(
    db: &mut PgConnection,
    tenant: TenantId,
    id: TaskId,
    agent: Option<AgentId>,
    workspaces: Option<&[Uuid]>,
) -> Result<TaskContext, Error> {
    let task = store::record(db, tenant, id, workspaces).await?;
    let agent = match agent {
        Some(agent) => {
            let found = store::context_agent(db, tenant, agent.uuid()).await?;
            let (name, routing_tags, metadata) =
                found.ok_or_else(|| Error::not_found("agent", agent))?;
            Some(ContextAgent {
                id: agent,
                name,
                routing_tags,
                metadata: record::object(metadata)?,
            })
        }
        None => None,
    };
    let needed: Vec<Uuid> = task.depends_on.iter().map(|id| id.uuid()).collect();
    let upstream_outputs = store::outputs(db, tenant, &needed)
        .await?
        .into_iter()
        .map(|(id, output)| Ok((id, Json::from_text(output)?)))
        .collect::<Result<_, Error>>()?;
    let predecessor_handoff = handoffs::predecessor_of(db, tenant, &task).await?;
    Ok(TaskContext {
        agent,
        task: ContextTask {
            id: task.id,
            input: task.input,
            context: task.context,
            role_config: task.role_config,
            progress: task.progress,
            predecessor_handoff,
            upstream_outputs,
        },
    })
}
