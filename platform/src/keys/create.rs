//! Making a key by hand: what may be asked, and what the maker may give.

use protocol::{CreateKey, KeyId, ReasonCode, Scope, Timestamp, WorkspaceId};
use sqlx::PgConnection;

use super::{Expiry, Mint, Secret, mint, store};
use crate::error::Error;
use crate::holders;
use crate::http::{Caller, Identity, check_length};

/// Workspaces that one key can be restricted to.
const WORKSPACES_MAX: usize = 100;
/// What the key of the configuration belongs to. Nobody else makes such keys.
pub(super) const BOOTSTRAP_OWNER: &str = "bootstrap";

/// Makes a key for a person, a service, or an agent or worker that has registered.
///
/// # Errors
/// 403 for rights the maker does not have; 404 for an owner that does not exist; 422 for bad fields.
pub(super) async fn create_key(
    db: &mut PgConnection,
    caller: &Caller,
    wanted: &CreateKey,
) -> Result<(KeyId, Secret), Error> {
    let owner_type = check(wanted)?;
    may_grant(
        caller.identity(),
        &wanted.workspace_ids,
        &wanted.routing_tags,
        wanted.expires_at,
    )?;
    let tenant = caller.tenant();
    if let (Scope::Agent | Scope::Worker, Some(owner)) = (wanted.scope, wanted.owner_id)
        && !store::owner_exists(db, tenant, wanted.scope, owner).await?
    {
        return Err(Error::not_found(wanted.scope.as_str(), owner));
    }
    let key = Mint {
        scope: wanted.scope,
        owner_type,
        owner: wanted.owner_id,
        label: wanted.label.as_deref(),
        expiry: wanted.expires_at.map_or(Expiry::Never, Expiry::At),
        workspaces: &wanted.workspace_ids,
        routing_tags: &wanted.routing_tags,
    };
    mint(db, tenant, &key).await
}

/// Refuses what no key can have, and says what the key belongs to.
fn check(wanted: &CreateKey) -> Result<&str, Error> {
    if let Some(label) = &wanted.label {
        check_length("label", label, 0..=255)?;
    }
    let workspaces = wanted.workspace_ids.len();
    if workspaces > WORKSPACES_MAX {
        return Err(Error::field(
            "workspace_ids",
            format!("must have at most {WORKSPACES_MAX} entries, has {workspaces}"),
        ));
    }
    holders::check_routing_tags("routing_tags", &wanted.routing_tags)?;
    if wanted.expires_at.is_some_and(|end| !is_storable(end)) {
        return Err(Error::field(
            "expires_at",
            "must be in the future, and before the year 10000",
        ));
    }
    match wanted.scope {
        Scope::Agent | Scope::Worker => {
            let kind = wanted.scope.as_str();
            if wanted.owner_id.is_none() {
                return Err(Error::field(
                    "owner_id",
                    format!("a key of scope {kind} acts for one {kind}: name it here"),
                ));
            }
            match wanted.owner_type.as_deref() {
                None => Ok(kind),
                Some(given) if given == kind => Ok(kind),
                Some(_) => Err(Error::field(
                    "owner_type",
                    format!("a key of scope {kind} belongs to an {kind}; leave this out"),
                )),
            }
        }
        Scope::Admin | Scope::Service => {
            let fallback = if wanted.scope == Scope::Service {
                "service"
            } else {
                "user"
            };
            let owner_type = wanted.owner_type.as_deref().unwrap_or(fallback);
            check_length("owner_type", owner_type, 1..=120)?;
            if ["agent", "worker", BOOTSTRAP_OWNER].contains(&owner_type) {
                return Err(Error::field(
                    "owner_type",
                    format!("{owner_type:?} is taken for keys that the platform makes itself"),
                ));
            }
            Ok(owner_type)
        }
    }
}

/// Whether PostgreSQL, and people, can read the moment.
fn is_storable(moment: Timestamp) -> bool {
    // From 1970 to the end of the year 9999.
    (0..253_402_300_800).contains(&moment.utc().timestamp())
}

/// Refuses to make, or to reveal anew, a key that reaches further than the one that asks.
///
/// # Errors
/// 403 that names the restriction.
pub(super) fn may_grant(
    maker: &Identity,
    workspaces: &[WorkspaceId],
    routing_tags: &[String],
    expires_at: Option<Timestamp>,
) -> Result<(), Error> {
    if exceeds(&maker.workspaces, workspaces) {
        return Err(Error::forbidden(
            ReasonCode::OutsideWorkspaces,
            "this key is restricted to some workspaces, so a key it makes must be restricted to some of them: name them in workspace_ids",
        ));
    }
    if exceeds(&maker.routing_tags, routing_tags) {
        return Err(Error::forbidden(
            ReasonCode::OutsideRoutingTags,
            "this key is restricted to some routing tags, so a key it makes must be restricted to some of them: name them in routing_tags",
        ));
    }
    if let Some(end) = maker.expires_at
        && expires_at.is_none_or(|wanted| wanted > end)
    {
        return Err(Error::refused(
            protocol::ErrorCode::Forbidden,
            format!(
                "this key ends at {end}, so a key it makes must end by then: give an earlier expires_at"
            ),
        ));
    }
    Ok(())
}

/// Whether a list of restrictions allows something that the maker's does not. Empty means everything.
/// Refuses to end a key that reaches further than the one that asks.
///
/// # Errors
/// 403 that names the restriction.
pub(super) fn may_end(
    asks: &Identity,
    workspaces: &[WorkspaceId],
    routing_tags: &[String],
) -> Result<(), Error> {
    if exceeds(&asks.workspaces, workspaces) {
        return Err(Error::forbidden(
            ReasonCode::OutsideWorkspaces,
            "this key is restricted to some workspaces, and that key reaches others: use one that reaches them too",
        ));
    }
    if exceeds(&asks.routing_tags, routing_tags) {
        return Err(Error::forbidden(
            ReasonCode::OutsideRoutingTags,
            "this key is restricted to some routing tags, and that key reaches others: use one that reaches them too",
        ));
    }
    Ok(())
}

fn exceeds<T: PartialEq>(allowed: &[T], wanted: &[T]) -> bool {
    !allowed.is_empty() && (wanted.is_empty() || wanted.iter().any(|item| !allowed.contains(item)))
}

#[cfg(test)]
mod tests {
    use protocol::TenantId;
    use uuid::Uuid;

    use super::*;

    fn maker() -> Identity {
        Identity {
            tenant: TenantId::new(),
            key: KeyId::new(),
            scope: Scope::Admin,
            owner_type: "user".to_owned(),
            owner: None,
            expires_at: None,
            workspaces: vec![],
            routing_tags: vec![],
        }
    }

    fn wanted(scope: Scope) -> CreateKey {
        serde_json::from_value(serde_json::json!({ "scope": scope })).unwrap()
    }

    #[test]
    fn an_unrestricted_key_makes_any_key() {
        may_grant(&maker(), &[], &["role:a".to_owned()], None).unwrap();
    }

    #[test]
    fn a_restricted_key_makes_no_key_that_reaches_further() {
        let workspace = WorkspaceId::from(Uuid::now_v7());
        let mut maker = maker();
        maker.workspaces = vec![workspace];
        may_grant(&maker, &[workspace], &[], None).unwrap();
        assert!(may_grant(&maker, &[], &[], None).is_err());
        assert!(may_grant(&maker, &[workspace, WorkspaceId::new()], &[], None).is_err());
        maker.workspaces = vec![];
        maker.routing_tags = vec!["role:a".to_owned()];
        assert!(may_grant(&maker, &[], &["role:b".to_owned()], None).is_err());
    }

    #[test]
    fn a_key_that_ends_makes_none_that_ends_later() {
        let moment = |text: &str| serde_json::from_value::<Timestamp>(text.into()).unwrap();
        let mut maker = maker();
        maker.expires_at = Some(moment("2030-01-01T00:00:00Z"));
        may_grant(&maker, &[], &[], Some(moment("2029-01-01T00:00:00Z"))).unwrap();
        assert!(may_grant(&maker, &[], &[], Some(moment("2031-01-01T00:00:00Z"))).is_err());
        assert!(may_grant(&maker, &[], &[], None).is_err());
    }

    #[test]
    fn a_key_for_an_agent_names_the_agent() {
        let mut body = wanted(Scope::Agent);
        assert!(check(&body).is_err());
        body.owner_id = Some(Uuid::now_v7());
        assert_eq!(check(&body).unwrap(), "agent");
    }

    #[test]
    fn nobody_makes_a_key_that_passes_for_one_of_the_platform() {
        let mut body = wanted(Scope::Admin);
        assert_eq!(check(&body).unwrap(), "user");
        body.owner_type = Some("bootstrap".to_owned());
        assert!(check(&body).is_err());
    }
}
