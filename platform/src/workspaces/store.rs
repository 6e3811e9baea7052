//! Every statement that writes `workspaces` and `workspace_memory`.

use protocol::{
    JsonObject, TenantId, Workspace, WorkspaceDeleteImpact, WorkspaceId, WorkspaceSummary,
};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{MEMORY_BYTES_MAX, settings};
use crate::error::Error;
use crate::http::PageQuery;

/// What is stored of a workspace when it is made or changed.
pub(super) struct Facts<'f> {
    pub(super) name: &'f str,
    pub(super) slug: &'f str,
    pub(super) description: Option<&'f str>,
    pub(super) repository_url: Option<&'f str>,
    pub(super) settings: String,
    /// Sealed.
    pub(super) git_token: Option<Vec<u8>>,
    pub(super) is_active: bool,
}

/// What was stored of a workspace that is about to be changed.
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) slug: String,
    pub(super) description: Option<String>,
    pub(super) repository_url: Option<String>,
    pub(super) settings: String,
    pub(super) git_token: Option<Vec<u8>>,
    pub(super) is_active: bool,
}

/// Which workspaces are wanted; what is none is not asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    /// Part of the name or slug, in letters of any size.
    pub(super) q: Option<String>,
    pub(super) is_active: Option<bool>,
    /// Those that the key is restricted to.
    pub(super) visible: Option<Vec<Uuid>>,
}

/// Stores a workspace, unless its slug is taken.
pub(super) async fn insert(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkspaceId,
    facts: &Facts<'_>,
) -> sqlx::Result<bool> {
    let inserted = sqlx::query!(
        "insert into workspaces (tenant_id, id, name, slug, description, repository_url, settings, git_token, is_active)
         values ($1, $2, $3, $4, $5, $6, $7::text::json, $8, $9)
         on conflict on constraint workspaces_slug_key do nothing",
        tenant.uuid(),
        id.uuid(),
        facts.name,
        facts.slug,
        facts.description,
        facts.repository_url,
        facts.settings,
        facts.git_token,
        facts.is_active,
    )
    .execute(db)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Keeps others from changing a workspace meanwhile, and says what is stored of it.
pub(super) async fn lock(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkspaceId,
) -> sqlx::Result<Option<Stored>> {
    sqlx::query_as!(
        Stored,
        r#"select name, slug, description, repository_url, settings::text as "settings!", git_token, is_active
           from workspaces
           where tenant_id = $1 and id = $2
           for update"#,
        tenant.uuid(),
        id.uuid(),
    )
    .fetch_optional(db)
    .await
}

/// Writes what is stored of a workspace anew, unless its slug is another one's.
pub(super) async fn update(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkspaceId,
    facts: &Facts<'_>,
) -> sqlx::Result<bool> {
    let updated = sqlx::query!(
        "update workspaces
         set name = $3, slug = $4, description = $5, repository_url = $6, settings = $7::text::json,
             git_token = $8, is_active = $9, updated_at = clock_timestamp()
         where tenant_id = $1 and id = $2",
        tenant.uuid(),
        id.uuid(),
        facts.name,
        facts.slug,
        facts.description,
        facts.repository_url,
        facts.settings,
        facts.git_token,
        facts.is_active,
    )
    .execute(db)
    .await;
    match updated {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(cause)) if cause.constraint() == Some("workspaces_slug_key") => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

struct Row {
    id: Uuid,
    name: String,
    slug: String,
    description: Option<String>,
    repository_url: Option<String>,
    settings: String,
    has_token: bool,
    is_active: bool,
    memory: Option<String>,
    memory_bytes: i64,
    active: i64,
    completed: i64,
    attention: i64,
    total: i64,
    last_activity_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    fn into_workspace(self, tenant: TenantId) -> Result<Workspace, Error> {
        Ok(Workspace {
            id: self.id.into(),
            tenant_id: tenant,
            name: self.name,
            slug: self.slug,
            description: self.description,
            repository_url: self.repository_url,
            settings: settings::shown(&self.settings, self.has_token)?,
            memory: self.memory.map(JsonObject::from_text).transpose()?,
            memory_size_bytes: self.memory_bytes,
            memory_max_bytes: MEMORY_BYTES_MAX,
            is_active: self.is_active,
            summary: WorkspaceSummary {
                active_workflow_count: self.active,
                completed_workflow_count: self.completed,
                attention_workflow_count: self.attention,
                total_workflow_count: self.total,
                last_workflow_activity_at: self.last_activity_at.map(Into::into),
            },
            created_at: self.created_at.into(),
            updated_at: self.updated_at.into(),
        })
    }
}

/// Reads a workspace with what it remembers.
pub(super) async fn read(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkspaceId,
) -> Result<Option<Workspace>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select w.id, w.name, w.slug, w.description, w.repository_url, w.settings::text as "settings!",
                  w.git_token is not null as "has_token!", w.is_active,
                  coalesce(m.entries, '{}') as memory, coalesce(m.bytes, 0) as "memory_bytes!",
                  r.active as "active!", r.completed as "completed!", r.attention as "attention!", r.total as "total!",
                  r.last_activity_at as "last_activity_at?",
                  w.created_at, w.updated_at
           from workspaces w
           left join lateral (
               select json_object_agg(e.key, e.value order by e.key)::text as entries, sum(e.size_bytes) as bytes
               from workspace_memory e
               where e.tenant_id = w.tenant_id and e.workspace_id = w.id) m on true
           left join lateral (
               select count(*) filter (where f.state in ('pending', 'active')) as active,
                      count(*) filter (where f.state = 'completed') as completed,
                      count(*) filter (where f.state in ('failed', 'paused')) as attention,
                      count(*) as total, max(f.updated_at) as last_activity_at
               from workflows f
               where f.tenant_id = w.tenant_id and f.workspace_id = w.id) r on true
           where w.tenant_id = $1 and w.id = $2"#,
        tenant.uuid(),
        id.uuid(),
    )
    .fetch_optional(db)
    .await?;
    row.map(|row| row.into_workspace(tenant)).transpose()
}

/// Reads a page of workspaces, newest first, without what they remember, and counts them all.
pub(super) async fn list(
    db: &mut PgConnection,
    tenant: TenantId,
    filter: &Filter,
    page: PageQuery,
) -> Result<(Vec<Workspace>, i64), Error> {
    let total = sqlx::query_scalar!(
        r#"select count(*) as "count!"
           from workspaces w
           where w.tenant_id = $1
             and ($2::text is null or strpos(lower(w.name), lower($2)) > 0 or strpos(w.slug, lower($2)) > 0)
             and ($3::boolean is null or w.is_active = $3)
             and ($4::uuid[] is null or w.id = any($4))"#,
        tenant.uuid(),
        filter.q.as_deref(),
        filter.is_active,
        filter.visible.as_deref() as Option<&[Uuid]>,
    )
    .fetch_one(&mut *db)
    .await?;
    let rows = sqlx::query_as!(
        Row,
        r#"select w.id, w.name, w.slug, w.description, w.repository_url, w.settings::text as "settings!",
                  w.git_token is not null as "has_token!", w.is_active, null::text as memory,
                  coalesce((select sum(e.size_bytes) from workspace_memory e
                            where e.tenant_id = w.tenant_id and e.workspace_id = w.id), 0) as "memory_bytes!",
                  r.active as "active!", r.completed as "completed!", r.attention as "attention!", r.total as "total!",
                  r.last_activity_at as "last_activity_at?",
                  w.created_at, w.updated_at
           from workspaces w
           left join lateral (
               select count(*) filter (where f.state in ('pending', 'active')) as active,
                      count(*) filter (where f.state = 'completed') as completed,
                      count(*) filter (where f.state in ('failed', 'paused')) as attention,
                      count(*) as total, max(f.updated_at) as last_activity_at
               from workflows f
               where f.tenant_id = w.tenant_id and f.workspace_id = w.id) r on true
           where w.tenant_id = $1
             and ($2::text is null or strpos(lower(w.name), lower($2)) > 0 or strpos(w.slug, lower($2)) > 0)
             and ($3::boolean is null or w.is_active = $3)
             and ($4::uuid[] is null or w.id = any($4))
           order by w.id desc
           limit $5 offset $6"#,
        tenant.uuid(),
        filter.q.as_deref(),
        filter.is_active,
        filter.visible.as_deref() as Option<&[Uuid]>,
        page.per_page(),
        page.offset(),
    )
    .fetch_all(&mut *db)
    .await?;
    let listed = rows.into_iter().map(|row| row.into_workspace(tenant));
    Ok((listed.collect::<Result<_, Error>>()?, total))
}

/// Deletes a workspace with what it remembers.
pub(super) async fn delete(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkspaceId,
) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from workspaces where tenant_id = $1 and id = $2",
        tenant.uuid(),
        id.uuid(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What hangs on a workspace.
pub(super) async fn delete_impact(
    db: &mut PgConnection,
    tenant: TenantId,
    id: WorkspaceId,
) -> sqlx::Result<WorkspaceDeleteImpact> {
    let counts = sqlx::query!(
        r#"select
               (select count(*) from tasks t where t.tenant_id = $1 and t.workspace_id = $2) as "tasks!",
               (select count(*)
                from tasks t
                where t.tenant_id = $1 and t.workspace_id = $2
                  and not exists (select from task_results r where r.tenant_id = $1 and r.task_id = t.id)) as "active_tasks!",
               (select count(*) from workflows w where w.tenant_id = $1 and w.workspace_id = $2) as "workflows!",
               (select count(*)
                from workflows w
                where w.tenant_id = $1 and w.workspace_id = $2
                  and w.state not in ('completed', 'failed', 'cancelled')) as "active_workflows!",
               (select count(*)
                from work_items i
                join workflows w on w.tenant_id = $1 and w.id = i.workflow_id
                where i.tenant_id = $1 and w.workspace_id = $2) as "work_items!",
               (select count(*)
                from api_keys k
                where k.tenant_id = $1 and k.revoked_at is null and $2 = any(k.workspace_ids)) as "api_keys!""#,
        tenant.uuid(),
        id.uuid(),
    )
    .fetch_one(db)
    .await?;
    Ok(WorkspaceDeleteImpact {
        workflows: counts.workflows,
        active_workflows: counts.active_workflows,
        tasks: counts.tasks,
        active_tasks: counts.active_tasks,
        work_items: counts.work_items,
        api_keys: counts.api_keys,
    })
}
