//! The first tenant and the first key, made before anyone can ask for them.

use anyhow::{Context, ensure};
use protocol::Scope;
use secrecy::ExposeSecret;
use sqlx::PgConnection;

use super::create::BOOTSTRAP_OWNER;
use super::mint::store_secret;
use super::{Expiry, Mint, Secret, store};
use crate::config::Config;
use crate::db::Pools;
use crate::error::Error;
use crate::tenants::{self, DEFAULT_TENANT};

/// Shortest admin key of the configuration.
const SETTING_LENGTH_MIN: usize = 16;

/// Makes the default tenant and its admin key, and returns the key if it was made up here.
///
/// With `STINT_ADMIN_API_KEY` that is the key, and changing the setting revokes the one before. Without
/// it, a key is made when the tenant has no valid admin key. Replicas that start together take turns.
///
/// Other replicas believe in a key that the setting replaced for half a minute at most.
///
/// # Errors
/// A setting that cannot be a key, or names a key that was revoked; the database.
pub async fn bootstrap(db: &Pools, config: &Config) -> anyhow::Result<Option<Secret>> {
    let setting = config
        .auth
        .admin_api_key
        .as_ref()
        .map(|key| key.expose_secret().trim())
        .filter(|key| !key.is_empty());
    if let Some(key) = setting {
        check_setting(key)?;
    }
    let mut tx = db.internal_pool().begin().await.context("the database")?;
    store::take_turns(&mut tx).await?;
    let made = prepare(&mut tx, setting)
        .await
        .map_err(|error| match error {
            Error::Internal(cause) => cause,
            other => anyhow::anyhow!("{other}"),
        })?;
    tx.commit().await?;
    Ok(made)
}

fn check_setting(key: &str) -> anyhow::Result<()> {
    ensure!(
        key.len() >= SETTING_LENGTH_MIN && key.bytes().all(|byte| byte.is_ascii_graphic()),
        "STINT_ADMIN_API_KEY must have at least {SETTING_LENGTH_MIN} characters, all of them visible ASCII"
    );
    ensure!(
        !crate::auth::is_token(key),
        "STINT_ADMIN_API_KEY must be a key, not a token"
    );
    Ok(())
}

async fn prepare(db: &mut PgConnection, setting: Option<&str>) -> Result<Option<Secret>, Error> {
    tenants::ensure_default(db).await?;
    let (secret, is_made_up) = match setting {
        Some(key) => {
            let secret = Secret::of(key);
            match store::standing(db, &secret.hash()).await? {
                Some(known) if known.is_usable_admin => return Ok(None),
                Some(_) => {
                    return Err(anyhow::anyhow!(
                        "STINT_ADMIN_API_KEY names a key that was revoked, has expired, or is no admin key \
                         of the default tenant; set another one"
                    )
                    .into());
                }
                None => {}
            }
            store::revoke_bootstrap(db, DEFAULT_TENANT, BOOTSTRAP_OWNER).await?;
            (secret, false)
        }
        None if store::has_admin(db, DEFAULT_TENANT).await? => return Ok(None),
        None => (Secret::new(Scope::Admin), true),
    };
    let wanted = Mint {
        scope: Scope::Admin,
        owner_type: BOOTSTRAP_OWNER,
        owner: None,
        label: Some("bootstrap"),
        expiry: Expiry::Never,
        workspaces: &[],
        routing_tags: &[],
    };
    store_secret(db, DEFAULT_TENANT, &wanted, &secret).await?;
    Ok(is_made_up.then_some(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_must_fit_into_a_header_and_be_long_enough() {
        check_setting("my-own-admin-key").unwrap();
        assert!(check_setting("too-short").is_err());
        assert!(check_setting("has a space inside").is_err());
    }
}
