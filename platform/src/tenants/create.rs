//! Making and changing tenants, and who may.

use protocol::{
    CreateTenant, ErrorCode, NewTenant, ReasonCode, Scope, Tenant, TenantId, UpdateTenant,
};

use super::{DEFAULT_TENANT, store};
use crate::db::{Note, Tx};
use crate::error::{Error, Refused};
use crate::http::{Caller, check_length};
use crate::keys::{Expiry, Mint, mint};

/// Refuses everyone but the platform's own admins.
///
/// # Errors
/// 403.
pub(super) fn must_be_platform_admin(caller: &Caller) -> Result<(), Error> {
    let identity = caller.identity();
    let is_restricted = !identity.workspaces.is_empty() || !identity.routing_tags.is_empty();
    if identity.tenant == DEFAULT_TENANT && !is_restricted {
        return Ok(());
    }
    Err(Refused::new(
        ErrorCode::Forbidden,
        "tenants are managed by the platform's own admins",
    )
    .hint("use an unrestricted admin key of the default tenant")
    .required_scope(Scope::Admin.as_str())
    .into())
}

/// Makes a tenant with its first admin key.
///
/// # Errors
/// 409 `name_taken`; 422 for bad fields.
pub(super) async fn create_tenant(tx: &mut Tx, wanted: &CreateTenant) -> Result<NewTenant, Error> {
    check_name(&wanted.name)?;
    check_slug(&wanted.slug)?;
    let tenant = store::insert(tx.conn(), TenantId::new(), &wanted.name, &wanted.slug)
        .await?
        .ok_or_else(|| {
            Error::conflict(
                ReasonCode::NameTaken,
                format!(
                    "there is a tenant {:?} already; choose another slug",
                    wanted.slug
                ),
            )
        })?;
    let first = Mint {
        scope: Scope::Admin,
        owner_type: "user",
        owner: None,
        label: Some("first admin key"),
        expiry: Expiry::Never,
        workspaces: &[],
        routing_tags: &[],
    };
    let (_, secret) = mint(tx.conn(), tenant.id, &first).await?;
    Ok(NewTenant {
        tenant,
        admin_api_key: secret.reveal().to_owned(),
    })
}

/// Renames, activates or deactivates a tenant.
///
/// # Errors
/// 404; 409 for deactivating the default tenant; 422 for bad fields.
pub(super) async fn update_tenant(
    tx: &mut Tx,
    tenant: TenantId,
    wanted: &UpdateTenant,
) -> Result<Tenant, Error> {
    if let Some(name) = &wanted.name {
        check_name(name)?;
    }
    if tenant == DEFAULT_TENANT && wanted.is_active == Some(false) {
        return Err(Error::conflict(
            ReasonCode::InUse,
            "the default tenant cannot be deactivated: nobody could activate it again",
        ));
    }
    let changed = store::update(tx.conn(), tenant, wanted.name.as_deref(), wanted.is_active)
        .await?
        .ok_or_else(|| no_such_tenant(tenant))?;
    if wanted.is_active.is_some() {
        tx.note(Note::TenantChanged { tenant });
    }
    Ok(changed)
}

/// 404 for a tenant.
pub(super) fn no_such_tenant(tenant: TenantId) -> Error {
    Refused::new(ErrorCode::NotFound, format!("there is no tenant {tenant}"))
        .hint("GET /api/v1/tenants lists them")
        .into()
}

fn check_name(name: &str) -> Result<(), Error> {
    check_length("name", name.trim(), 1..=200)
}

fn check_slug(slug: &str) -> Result<(), Error> {
    check_length("slug", slug, 1..=63)?;
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = slug.bytes().all(|byte| is_plain(byte) || byte == b'-')
        && !slug.starts_with('-')
        && !slug.ends_with('-');
    if fits {
        return Ok(());
    }
    Err(Error::field(
        "slug",
        "must be lower case letters, digits and hyphens, and begin and end with a letter or digit",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_fits_into_addresses() {
        for slug in ["a", "team-7", "7"] {
            check_slug(slug).unwrap();
        }
        for slug in ["", "-a", "a-", "A", "a_b", "ä", &"a".repeat(64)] {
            assert!(check_slug(slug).is_err(), "{slug}");
        }
    }
}
