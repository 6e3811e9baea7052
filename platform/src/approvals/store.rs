//! The statements that find what waits for a person, wherever it lies. Nothing is written here.

use std::collections::HashMap;

use protocol::TenantId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;

/// Where something that waits for a person lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A task, by its id.
    Task,
    /// A step of a graph, by the id of its work item.
    Step,
    /// The gate of a stage, by its id.
    Gate,
}

impl Source {
    fn of(word: &str) -> Result<Self, Error> {
        match word {
            "task" => Ok(Self::Task),
            "step" => Ok(Self::Step),
            "gate" => Ok(Self::Gate),
            _ => Err(anyhow::anyhow!("nothing waits in {word:?}").into()),
        }
    }
}

/// Which of what waits is wanted.
pub(super) struct Wanted<'a> {
    /// Tasks in these states.
    pub(super) task_states: &'a [&'a str],
    /// Whether steps too.
    pub(super) with_steps: bool,
    /// Whether gates of stages too.
    pub(super) with_gates: bool,
    /// The workspaces that the key is restricted to, if it is.
    pub(super) reachable: Option<Vec<Uuid>>,
    pub(super) workspace: Option<Uuid>,
    pub(super) workflow: Option<Uuid>,
    pub(super) limit: i64,
    pub(super) offset: i64,
}

/// A page of what waits, the oldest first, and how much there is in all.
pub(super) async fn waiting(
    db: &mut PgConnection,
    tenant: TenantId,
    wanted: &Wanted<'_>,
) -> Result<(Vec<(Source, Uuid)>, i64), Error> {
    let rows = sqlx::query_file!(
        "src/approvals/waiting.sql",
        tenant.uuid(),
        wanted.task_states as &[&str],
        wanted.with_steps,
        wanted.reachable.as_deref() as Option<&[Uuid]>,
        wanted.workspace as Option<Uuid>,
        wanted.workflow as Option<Uuid>,
        wanted.limit,
        wanted.offset,
        wanted.with_gates,
    )
    .fetch_all(db)
    .await?;
    let total = rows.first().map_or(0, |row| row.total);
    let found = rows
        .into_iter()
        .filter_map(|row| Some((row.source?, row.id?)))
        .map(|(source, id)| Ok((Source::of(&source)?, id)))
        .collect::<Result<_, Error>>()?;
    Ok((found, total))
}

/// To what an id belongs, whether it waits for a person or not.
pub(super) async fn source_of(
    db: &mut PgConnection,
    tenant: TenantId,
    id: Uuid,
) -> Result<Option<Source>, Error> {
    let found = sqlx::query_scalar!(
        r#"select 'task' as "source!" from tasks where tenant_id = $1 and id = $2
           union all
           select 'step' from workflow_steps where tenant_id = $1 and work_item_id = $2 and kind = 'approval'
           union all
           select 'gate' from stage_gates where tenant_id = $1 and id = $2"#,
        tenant.uuid(),
        id,
    )
    .fetch_optional(db)
    .await?;
    found.as_deref().map(Source::of).transpose()
}

/// The names of runs.
pub(super) async fn names_of_runs(
    db: &mut PgConnection,
    tenant: TenantId,
    runs: &[Uuid],
) -> Result<HashMap<Uuid, String>, Error> {
    let rows = sqlx::query!(
        "select id, name from workflows where tenant_id = $1 and id = any($2)",
        tenant.uuid(),
        runs,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.name)).collect())
}
