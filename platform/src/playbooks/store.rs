//! Every statement that writes `playbooks`.

use protocol::{
    FamilyCounts, JsonObject, Lifecycle, Playbook, PlaybookDeleteImpact, PlaybookId, RunCounts,
    TenantId,
};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use super::definition::Definition;
use crate::error::Error;
use crate::http::PageQuery;

/// What somebody writes of a version.
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) outcome: String,
    pub(super) lifecycle: Lifecycle,
    pub(super) changelog: Option<String>,
    pub(super) definition: JsonObject,
}

impl Facts {
    fn description(&self) -> Option<&str> {
        self.description.as_deref().filter(|text| !text.is_empty())
    }

    fn changelog(&self) -> Option<&str> {
        self.changelog.as_deref().filter(|text| !text.is_empty())
    }
}

/// Which versions are wanted; what is none is not asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    /// Part of the name or slug, in letters of any size.
    pub(super) q: Option<String>,
    pub(super) slug: Option<String>,
    pub(super) status: Option<&'static str>,
    pub(super) is_active: Option<bool>,
}

struct Row {
    id: Uuid,
    slug: String,
    version: i32,
    name: String,
    description: Option<String>,
    outcome: String,
    lifecycle: String,
    kind: String,
    status: String,
    is_active: bool,
    changelog: Option<String>,
    definition: String,
    published_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    fn into_playbook(self, tenant: TenantId) -> Result<Playbook, Error> {
        Ok(Playbook {
            id: self.id.into(),
            tenant_id: tenant,
            name: self.name,
            slug: self.slug,
            description: self.description,
            outcome: self.outcome,
            lifecycle: self.lifecycle.parse().map_err(anyhow::Error::from)?,
            kind: self.kind.parse().map_err(anyhow::Error::from)?,
            version: self.version,
            status: self.status.parse().map_err(anyhow::Error::from)?,
            is_active: self.is_active,
            changelog: self.changelog,
            definition: JsonObject::from_text(self.definition)?,
            published_at: self.published_at.map(Into::into),
            created_at: self.created_at.into(),
            updated_at: self.updated_at.into(),
        })
    }
}

/// The one projection of a version. `$tail` says which.
macro_rules! select_playbooks {
    ($tail:tt, $($argument:expr),* $(,)?) => {
        sqlx::query_as!(
            Row,
            "select id, slug, version, name, description, outcome, lifecycle, kind, status, is_active, changelog,
                    definition::text as \"definition!\", published_at, created_at, updated_at
             from playbooks "
                + $tail,
            $($argument),*
        )
    };
}

/// Lets everything about the versions of one playbook happen one after the other.
pub(super) async fn lock_family(
    db: &mut PgConnection,
    tenant: TenantId,
    slug: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended($2, hashtextextended($1::uuid::text, 5006)))",
        tenant.uuid(),
        slug,
    )
    .fetch_one(db)
    .await?;
    Ok(())
}

/// Reads a version.
pub(super) async fn read(
    db: &mut PgConnection,
    tenant: TenantId,
    id: PlaybookId,
) -> Result<Option<Playbook>, Error> {
    let row = select_playbooks!("where tenant_id = $1 and id = $2", tenant.uuid(), id.uuid())
        .fetch_optional(db)
        .await?;
    row.map(|row| row.into_playbook(tenant)).transpose()
}

/// Reads a page of versions, active ones first, then the latest changed, and counts them all.
pub(super) async fn list(
    db: &mut PgConnection,
    tenant: TenantId,
    filter: &Filter,
    page: PageQuery,
) -> Result<(Vec<Playbook>, i64), Error> {
    let total = sqlx::query_scalar!(
        r#"select count(*) as "count!"
           from playbooks
           where tenant_id = $1
             and ($2::text is null or strpos(lower(name), lower($2)) > 0 or strpos(slug, lower($2)) > 0)
             and ($3::text is null or slug = $3)
             and ($4::text is null or status = $4)
             and ($5::boolean is null or is_active = $5)"#,
        tenant.uuid(),
        filter.q.as_deref(),
        filter.slug.as_deref(),
        filter.status,
        filter.is_active,
    )
    .fetch_one(&mut *db)
    .await?;
    let rows = select_playbooks!(
        "where tenant_id = $1
           and ($2::text is null or strpos(lower(name), lower($2)) > 0 or strpos(slug, lower($2)) > 0)
           and ($3::text is null or slug = $3)
           and ($4::text is null or status = $4)
           and ($5::boolean is null or is_active = $5)
         order by is_active desc, updated_at desc, id desc
         limit $6 offset $7",
        tenant.uuid(),
        filter.q.as_deref(),
        filter.slug.as_deref(),
        filter.status,
        filter.is_active,
        page.per_page(),
        page.offset(),
    )
    .fetch_all(db)
    .await?;
    let listed = rows.into_iter().map(|row| row.into_playbook(tenant));
    Ok((listed.collect::<Result<_, Error>>()?, total))
}

/// Reads a page of the versions of one playbook, newest first, and counts them all.
pub(super) async fn versions(
    db: &mut PgConnection,
    tenant: TenantId,
    slug: &str,
    page: PageQuery,
) -> Result<(Vec<Playbook>, i64), Error> {
    let total = sqlx::query_scalar!(
        r#"select count(*) as "count!" from playbooks where tenant_id = $1 and slug = $2"#,
        tenant.uuid(),
        slug,
    )
    .fetch_one(&mut *db)
    .await?;
    let rows = select_playbooks!(
        "where tenant_id = $1 and slug = $2 order by version desc limit $3 offset $4",
        tenant.uuid(),
        slug,
        page.per_page(),
        page.offset(),
    )
    .fetch_all(db)
    .await?;
    let listed = rows.into_iter().map(|row| row.into_playbook(tenant));
    Ok((listed.collect::<Result<_, Error>>()?, total))
}

/// The number of the newest version of a playbook; 0 when there is none.
pub(super) async fn newest_version(
    db: &mut PgConnection,
    tenant: TenantId,
    slug: &str,
) -> sqlx::Result<i32> {
    sqlx::query_scalar!(
        r#"select coalesce(max(version), 0) as "version!" from playbooks where tenant_id = $1 and slug = $2"#,
        tenant.uuid(),
        slug,
    )
    .fetch_one(db)
    .await
}

/// Whether a playbook has a draft.
pub(super) async fn has_draft(
    db: &mut PgConnection,
    tenant: TenantId,
    slug: &str,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (
               select from playbooks where tenant_id = $1 and slug = $2 and status = 'draft') as "has_one!""#,
        tenant.uuid(),
        slug,
    )
    .fetch_one(db)
    .await
}

/// Stores a version.
pub(super) async fn insert(
    db: &mut PgConnection,
    tenant: TenantId,
    slug: &str,
    version: i32,
    facts: &Facts,
    is_draft: bool,
) -> Result<Playbook, Error> {
    let id = PlaybookId::new();
    sqlx::query!(
        "insert into playbooks (tenant_id, id, slug, version, name, description, outcome, lifecycle, kind, status,
                                is_active, changelog, definition, published_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, case when $10 then 'draft' else 'published' end,
                 not $10, $11, $12::text::json, case when $10 then null else clock_timestamp() end)",
        tenant.uuid(),
        id.uuid(),
        slug,
        version,
        facts.name.trim(),
        facts.description(),
        facts.outcome.trim(),
        facts.lifecycle.as_str(),
        Definition::kind_of(&facts.definition).as_str(),
        is_draft,
        facts.changelog(),
        facts.definition.text(),
    )
    .execute(&mut *db)
    .await?;
    written(db, tenant, id).await
}

/// Writes a draft anew.
pub(super) async fn edit(
    db: &mut PgConnection,
    tenant: TenantId,
    id: PlaybookId,
    facts: &Facts,
) -> Result<Playbook, Error> {
    sqlx::query!(
        "update playbooks
         set name = $3, description = $4, outcome = $5, lifecycle = $6, kind = $7, changelog = $8,
             definition = $9::text::json, updated_at = clock_timestamp()
         where tenant_id = $1 and id = $2 and status = 'draft'",
        tenant.uuid(),
        id.uuid(),
        facts.name.trim(),
        facts.description(),
        facts.outcome.trim(),
        facts.lifecycle.as_str(),
        Definition::kind_of(&facts.definition).as_str(),
        facts.changelog(),
        facts.definition.text(),
    )
    .execute(&mut *db)
    .await?;
    written(db, tenant, id).await
}

/// Publishes a draft under the next free number: versions may have been published beside it.
pub(super) async fn publish(
    db: &mut PgConnection,
    tenant: TenantId,
    id: PlaybookId,
    changelog: Option<&str>,
) -> Result<Playbook, Error> {
    sqlx::query!(
        "update playbooks d
         set status = 'published', is_active = true, changelog = $3, published_at = clock_timestamp(),
             updated_at = clock_timestamp(),
             version = (select coalesce(max(o.version), 0) + 1
                        from playbooks o
                        where o.tenant_id = d.tenant_id and o.slug = d.slug and o.id <> d.id)
         where d.tenant_id = $1 and d.id = $2 and d.status = 'draft'",
        tenant.uuid(),
        id.uuid(),
        changelog,
    )
    .execute(&mut *db)
    .await?;
    written(db, tenant, id).await
}

/// Lets no version of a playbook be the one that runs are launched from.
pub(super) async fn deactivate(
    db: &mut PgConnection,
    tenant: TenantId,
    slug: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update playbooks
         set is_active = false, updated_at = clock_timestamp()
         where tenant_id = $1 and slug = $2 and is_active",
        tenant.uuid(),
        slug,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Archives the published versions of a playbook.
pub(super) async fn archive(
    db: &mut PgConnection,
    tenant: TenantId,
    slug: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update playbooks
         set status = 'archived', is_active = false, updated_at = clock_timestamp()
         where tenant_id = $1 and slug = $2 and status = 'published'",
        tenant.uuid(),
        slug,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Makes a version that was published the one that runs are launched from.
pub(super) async fn restore(
    db: &mut PgConnection,
    tenant: TenantId,
    id: PlaybookId,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update playbooks
         set status = 'published', is_active = true, updated_at = clock_timestamp()
         where tenant_id = $1 and id = $2 and status <> 'draft'",
        tenant.uuid(),
        id.uuid(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes a version.
pub(super) async fn delete(
    db: &mut PgConnection,
    tenant: TenantId,
    id: PlaybookId,
) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from playbooks where tenant_id = $1 and id = $2",
        tenant.uuid(),
        id.uuid(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes all versions of a playbook.
pub(super) async fn delete_family(
    db: &mut PgConnection,
    tenant: TenantId,
    slug: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from playbooks where tenant_id = $1 and slug = $2",
        tenant.uuid(),
        slug,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What hangs on a version and on all versions of its playbook.
pub(super) async fn delete_impact(
    db: &mut PgConnection,
    tenant: TenantId,
    id: PlaybookId,
) -> sqlx::Result<Option<PlaybookDeleteImpact>> {
    let counts = sqlx::query!(
        r#"with family as materialized (
               select f.id
               from playbooks p
               join playbooks f on f.tenant_id = p.tenant_id and f.slug = p.slug
               where p.tenant_id = $1 and p.id = $2
           ),
           runs as materialized (
               select w.playbook_id = $2 as is_own, w.state not in ('completed', 'failed', 'cancelled') as is_active,
                      (select count(*) from tasks t where t.tenant_id = $1 and t.workflow_id = w.id) as tasks,
                      (select count(*) from task_results r where r.tenant_id = $1 and r.workflow_id = w.id) as ended,
                      (select count(*) from work_items i where i.tenant_id = $1 and i.workflow_id = w.id) as items
               from workflows w
               where w.tenant_id = $1 and w.playbook_id in (select id from family)
           )
           select (select count(*) from family) as "revisions!",
                  count(*) as "workflows!",
                  count(*) filter (where is_active) as "active_workflows!",
                  coalesce(sum(tasks), 0)::bigint as "tasks!",
                  coalesce(sum(tasks - ended), 0)::bigint as "active_tasks!",
                  coalesce(sum(items), 0)::bigint as "work_items!",
                  count(*) filter (where is_own) as "own_workflows!",
                  count(*) filter (where is_own and is_active) as "own_active_workflows!",
                  coalesce(sum(tasks) filter (where is_own), 0)::bigint as "own_tasks!",
                  coalesce(sum(tasks - ended) filter (where is_own), 0)::bigint as "own_active_tasks!",
                  coalesce(sum(items) filter (where is_own), 0)::bigint as "own_work_items!"
           from runs"#,
        tenant.uuid(),
        id.uuid(),
    )
    .fetch_one(db)
    .await?;
    Ok((counts.revisions > 0).then_some(PlaybookDeleteImpact {
        revision: RunCounts {
            workflows: counts.own_workflows,
            active_workflows: counts.own_active_workflows,
            tasks: counts.own_tasks,
            active_tasks: counts.own_active_tasks,
            work_items: counts.own_work_items,
        },
        family: FamilyCounts {
            revisions: counts.revisions,
            runs: RunCounts {
                workflows: counts.workflows,
                active_workflows: counts.active_workflows,
                tasks: counts.tasks,
                active_tasks: counts.active_tasks,
                work_items: counts.work_items,
            },
        },
    }))
}

/// What was just written.
async fn written(
    db: &mut PgConnection,
    tenant: TenantId,
    id: PlaybookId,
) -> Result<Playbook, Error> {
    let found = read(db, tenant, id).await?;
    found.ok_or_else(|| super::no_such_playbook(id))
}
