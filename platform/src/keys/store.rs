//! Every statement that writes `api_keys` and `key_lookups`, and the look-up.

use protocol::{ApiKey, KeyId, Scope, TenantId, Timestamp, WorkspaceId};
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Expiry, Mint, Secret};
use crate::error::Error;
use crate::http::Identity;

/// What names a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Named<'a> {
    /// The hash of its secret.
    Hash(&'a [u8]),
    /// Its id, as a token holds it.
    Id(TenantId, KeyId),
}

/// A key that is valid now, and for how long it stays so by the database clock.
pub struct Valid {
    /// Who it stands for.
    pub identity: Identity,
    /// When it was looked up.
    pub now: Timestamp,
    /// For how long it stays valid; none means until it is revoked.
    pub seconds_left: Option<f64>,
}

struct Row {
    tenant_id: Uuid,
    id: Uuid,
    scope: String,
    owner_type: String,
    owner_id: Option<Uuid>,
    expires_at: Option<DateTime<Utc>>,
    workspace_ids: Vec<Uuid>,
    routing_tags: Vec<String>,
    now: DateTime<Utc>,
    seconds_left: Option<f64>,
}

/// Finds a key, unless it is revoked, expired, or its tenant inactive.
pub(super) async fn find_valid(
    db: &mut PgConnection,
    named: Named<'_>,
) -> Result<Option<Valid>, Error> {
    let (hash, tenant, key) = match named {
        Named::Hash(hash) => (Some(hash), None, None),
        Named::Id(tenant, key) => (None, Some(tenant.uuid()), Some(key.uuid())),
    };
    let row = sqlx::query_as!(
        Row,
        r#"select k.tenant_id, k.id, k.scope, k.owner_type, k.owner_id, k.expires_at, k.workspace_ids, k.routing_tags,
                  clock_timestamp() as "now!",
                  extract(epoch from k.expires_at - clock_timestamp())::float8 as seconds_left
           from (select l.tenant_id, l.key_id from key_lookups l where l.key_hash = $1
                 union all
                 select $2::uuid, $3::uuid) named
           join api_keys k on k.tenant_id = named.tenant_id and k.id = named.key_id
           join tenants t on t.id = k.tenant_id
           where t.is_active
             and k.revoked_at is null
             and (k.expires_at is null or k.expires_at > clock_timestamp())"#,
        hash,
        tenant,
        key,
    )
    .fetch_optional(db)
    .await?;
    row.map(|row| {
        Ok(Valid {
            identity: Identity {
                tenant: TenantId::from(row.tenant_id),
                key: KeyId::from(row.id),
                scope: scope_of(&row.scope)?,
                owner_type: row.owner_type,
                owner: row.owner_id,
                expires_at: row.expires_at.map(Into::into),
                workspaces: workspaces_of(row.workspace_ids),
                routing_tags: row.routing_tags,
            },
            now: row.now.into(),
            seconds_left: row.seconds_left,
        })
    })
    .transpose()
}

fn scope_of(word: &str) -> Result<Scope, Error> {
    Ok(word.parse::<Scope>().map_err(anyhow::Error::from)?)
}

fn workspaces_of(ids: Vec<Uuid>) -> Vec<WorkspaceId> {
    ids.into_iter().map(WorkspaceId::from).collect()
}

/// Stores a key. Returns false when it would have ended already.
pub(super) async fn insert(
    db: &mut PgConnection,
    tenant: TenantId,
    id: KeyId,
    key: &Mint<'_>,
    secret: &Secret,
) -> sqlx::Result<bool> {
    let workspaces: Vec<Uuid> = key.workspaces.iter().map(|id| id.uuid()).collect();
    let (expires_at, days) = match key.expiry {
        Expiry::Never => (None, None),
        Expiry::At(moment) => (Some(moment.utc()), None),
        Expiry::InDays(days) => (None, Some(i32::try_from(days).unwrap_or(i32::MAX / 1000))),
    };
    let hash = secret.hash();
    let stored = sqlx::query!(
        "with made as (
             insert into api_keys (tenant_id, id, scope, owner_type, owner_id, label, key_prefix, key_hash,
                                   workspace_ids, routing_tags, expires_at)
             select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, e.expires_at
             from (select coalesce($11::timestamptz, clock_timestamp() + make_interval(days => $12::int)) as expires_at) e
             where e.expires_at is null or e.expires_at > clock_timestamp()
             returning tenant_id, id, key_hash)
         insert into key_lookups (key_hash, tenant_id, key_id)
         select key_hash, tenant_id, id from made",
        tenant.uuid(),
        id.uuid(),
        key.scope.as_str(),
        key.owner_type,
        key.owner,
        key.label,
        secret.prefix(),
        &hash,
        &workspaces,
        key.routing_tags,
        expires_at,
        days,
    )
    .execute(db)
    .await?;
    Ok(stored.rows_affected() == 1)
}

/// Lists the keys of a tenant, newest first; old revoked admin and service keys are left out.
pub(super) async fn list(db: &mut PgConnection, tenant: TenantId) -> Result<Vec<ApiKey>, Error> {
    let rows = sqlx::query!(
        "select id, scope, owner_type, owner_id, label, key_prefix, workspace_ids, routing_tags,
                last_used_at, expires_at, revoked_at, created_at
         from api_keys
         where tenant_id = $1
           and not (scope in ('admin', 'service') and revoked_at is not null
                    and revoked_at < clock_timestamp() - interval '1 hour')
         order by created_at desc, id desc
         limit 10000",
        tenant.uuid(),
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(ApiKey {
                id: row.id.into(),
                tenant_id: tenant,
                scope: scope_of(&row.scope)?,
                owner_type: row.owner_type,
                owner_id: row.owner_id,
                label: row.label,
                key_prefix: row.key_prefix,
                workspace_ids: workspaces_of(row.workspace_ids),
                routing_tags: row.routing_tags,
                last_used_at: row.last_used_at.map(Into::into),
                expires_at: row.expires_at.map(Into::into),
                is_revoked: row.revoked_at.is_some(),
                revoked_at: row.revoked_at.map(Into::into),
                created_at: row.created_at.into(),
            })
        })
        .collect()
}

/// A key that is about to be rotated.
pub(super) struct Locked {
    pub(super) scope: Scope,
    pub(super) owner_type: String,
    pub(super) owner: Option<Uuid>,
    pub(super) label: Option<String>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) workspaces: Vec<WorkspaceId>,
    pub(super) routing_tags: Vec<String>,
    /// Why it is not valid any more, if so.
    pub(super) ended: Option<String>,
}

/// Reads a key and keeps others from changing it meanwhile.
pub(super) async fn lock(
    db: &mut PgConnection,
    tenant: TenantId,
    key: KeyId,
) -> Result<Option<Locked>, Error> {
    let row = sqlx::query!(
        "select scope, owner_type, owner_id, label, expires_at, workspace_ids, routing_tags,
                case when revoked_at is not null then 'revoked'
                     when replaced_by is not null then 'rotated'
                     when expires_at <= clock_timestamp() then 'expired'
                end as ended
         from api_keys
         where tenant_id = $1 and id = $2
         for no key update",
        tenant.uuid(),
        key.uuid(),
    )
    .fetch_optional(db)
    .await?;
    row.map(|row| {
        Ok(Locked {
            scope: scope_of(&row.scope)?,
            owner_type: row.owner_type,
            owner: row.owner_id,
            label: row.label,
            expires_at: row.expires_at.map(Into::into),
            workspaces: workspaces_of(row.workspace_ids),
            routing_tags: row.routing_tags,
            ended: row.ended,
        })
    })
    .transpose()
}

/// Ends a key that was replaced: at once, or after the overlap.
pub(super) async fn replace(
    db: &mut PgConnection,
    tenant: TenantId,
    old: KeyId,
    new: KeyId,
    overlap_seconds: i32,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update api_keys
         set replaced_by = $3,
             revoked_at = case when $4::int = 0 then clock_timestamp() end,
             expires_at = least(expires_at, clock_timestamp() + make_interval(secs => $4::int))
         where tenant_id = $1 and id = $2",
        tenant.uuid(),
        old.uuid(),
        new.uuid(),
        overlap_seconds,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Revokes a key. Returns false when there is none; one that was revoked before stays as it was.
pub(super) async fn revoke(
    db: &mut PgConnection,
    tenant: TenantId,
    key: KeyId,
) -> sqlx::Result<bool> {
    let revoked = sqlx::query!(
        "update api_keys
         set revoked_at = coalesce(revoked_at, clock_timestamp())
         where tenant_id = $1 and id = $2",
        tenant.uuid(),
        key.uuid(),
    )
    .execute(db)
    .await?;
    Ok(revoked.rows_affected() == 1)
}

/// Revokes the keys of agents and workers, and returns which they were.
pub(super) async fn revoke_of_owners(
    db: &mut PgConnection,
    tenant: TenantId,
    owners: &[Uuid],
) -> sqlx::Result<Vec<KeyId>> {
    let keys = sqlx::query_scalar!(
        "update api_keys
         set revoked_at = clock_timestamp()
         where tenant_id = $1
           and owner_id = any($2)
           and scope in ('agent', 'worker')
           and revoked_at is null
         returning id",
        tenant.uuid(),
        owners,
    )
    .fetch_all(db)
    .await?;
    Ok(keys.into_iter().map(KeyId::from).collect())
}

/// Whether an agent or a worker has registered in the tenant.
pub(super) async fn owner_exists(
    db: &mut PgConnection,
    tenant: TenantId,
    scope: Scope,
    owner: Uuid,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select case $2
                      when 'agent' then exists (select from agents where tenant_id = $1 and id = $3)
                      when 'worker' then exists (select from workers where tenant_id = $1 and id = $3)
                      else false
                  end as "exists!""#,
        tenant.uuid(),
        scope.as_str(),
        owner,
    )
    .fetch_one(db)
    .await
}

/// Writes when keys were last used, unless that was written less than a minute ago.
pub(super) async fn note_use(
    db: &mut PgConnection,
    tenants: &[Uuid],
    keys: &[Uuid],
) -> sqlx::Result<u64> {
    let noted = sqlx::query!(
        "update api_keys k
         set last_used_at = clock_timestamp()
         from (select k.tenant_id, k.id
               from api_keys k
               join unnest($1::uuid[], $2::uuid[]) as used (tenant_id, id)
                    on used.tenant_id = k.tenant_id and used.id = k.id
               where k.last_used_at is null or k.last_used_at < clock_timestamp() - interval '50 seconds'
               order by k.tenant_id, k.id
               for no key update of k skip locked) used
         where k.tenant_id = used.tenant_id and k.id = used.id",
        tenants,
        keys,
    )
    .execute(db)
    .await?;
    Ok(noted.rows_affected())
}

/// Forgets keys of agents and workers that ended long ago, a bounded number a turn.
pub(super) async fn forget(db: &mut PgConnection, keep_days: i32) -> sqlx::Result<u64> {
    let forgotten = sqlx::query!(
        "with old as (
             delete from api_keys k
             using (select tenant_id, id
                    from api_keys
                    where scope in ('agent', 'worker')
                      and least(revoked_at, expires_at) < clock_timestamp() - make_interval(days => $1)
                    order by tenant_id, id
                    limit 1000
                    for update skip locked) old
             where k.tenant_id = old.tenant_id and k.id = old.id
             returning k.key_hash)
         delete from key_lookups l
         using old
         where l.key_hash = old.key_hash",
        keep_days,
    )
    .execute(db)
    .await?;
    Ok(forgotten.rows_affected())
}

/// Lets replicas that start together prepare one after the other.
pub(super) async fn take_turns(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("select pg_advisory_xact_lock(hashtext('stint bootstrap'))")
        .fetch_one(db)
        .await?;
    Ok(())
}

/// What is known about a key whose secret the configuration names.
pub(super) struct Standing {
    /// Whether it is a valid admin key of the default tenant.
    pub(super) is_usable_admin: bool,
}

/// Looks up a key by its hash, whether it is valid or not.
pub(super) async fn standing(db: &mut PgConnection, hash: &[u8]) -> sqlx::Result<Option<Standing>> {
    sqlx::query_as!(
        Standing,
        r#"select (k.tenant_id = $2 and k.scope = 'admin' and k.revoked_at is null and k.replaced_by is null
                   and (k.expires_at is null or k.expires_at > clock_timestamp())) as "is_usable_admin!"
           from key_lookups l
           join api_keys k on k.tenant_id = l.tenant_id and k.id = l.key_id
           where l.key_hash = $1"#,
        hash,
        crate::tenants::DEFAULT_TENANT.uuid(),
    )
    .fetch_optional(db)
    .await
}

/// Revokes the keys that earlier starts made.
pub(super) async fn revoke_bootstrap(
    db: &mut PgConnection,
    tenant: TenantId,
    owner_type: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update api_keys
         set revoked_at = clock_timestamp()
         where tenant_id = $1 and owner_type = $2 and revoked_at is null",
        tenant.uuid(),
        owner_type,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whether a tenant has an admin key that is valid and restricted to nothing.
pub(super) async fn has_admin(db: &mut PgConnection, tenant: TenantId) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (
               select from api_keys
               where tenant_id = $1 and scope = 'admin' and revoked_at is null
                 and (expires_at is null or expires_at > clock_timestamp())
                 and workspace_ids = '{}' and routing_tags = '{}') as "has_one!""#,
        tenant.uuid(),
    )
    .fetch_one(db)
    .await
}
