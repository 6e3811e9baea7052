//! From settings to a replica that is ready to serve.
//!
//! ```text
//! DATABASE_URL, or the keeper's private server ─► admit ─► migrate ─► sealing key ─► first keys ─► Platform
//! ```

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use secrecy::ExposeSecret;
use sqlx::postgres::PgConnectOptions;

use crate::app::Platform;
use crate::config::Config;
use crate::db::keeper::{Keeper, KeeperSettings};
use crate::db::{Pools, admit, migrate};
use crate::history;
use crate::keys::{self, Secret};
use crate::seal::{self, Seal};

/// A replica that is ready to serve, and what stands behind it.
pub struct Started {
    /// The replica.
    pub platform: Platform,
    /// The private server, when there is one. It is stopped last.
    pub keeper: Option<Keeper>,
    /// The admin key, if it was made now: shown once.
    pub new_admin_key: Option<Secret>,
}

/// Gets everything ready.
///
/// # Errors
/// A sentence that says what is wrong and what to do about it.
pub async fn start(config: Config) -> anyhow::Result<Started> {
    config.check()?;
    let data_dir = data_dir(&config);
    let (options, keeper) = match &config.database.database_url {
        Some(url) => {
            let options = PgConnectOptions::from_str(url.expose_secret())
                .context("DATABASE_URL is not a PostgreSQL URL such as postgres://user:password@host:5432/name")?;
            (options, None)
        }
        None => {
            let settings = KeeperSettings {
                data_dir: data_dir.clone(),
                pg_bin: config.database.pg_bin.clone(),
            };
            let keeper = Keeper::start(settings)
                .await
                .context("the private PostgreSQL could not be started")?;
            (keeper.connect_options(), Some(keeper))
        }
    };
    let prepared = prepare(config, options, data_dir).await;
    match prepared {
        Ok((platform, new_admin_key)) => Ok(Started {
            platform,
            keeper,
            new_admin_key,
        }),
        Err(error) => {
            if let Some(keeper) = keeper {
                keeper.stop().await;
            }
            Err(error)
        }
    }
}

async fn prepare(
    config: Config,
    options: PgConnectOptions,
    data_dir: PathBuf,
) -> anyhow::Result<(Platform, Option<Secret>)> {
    let server = admit::admit(&options).await?;
    let wanted = Pools::connections(&config.database);
    anyhow::ensure!(
        wanted <= server.connections_max,
        "this replica wants up to {wanted} connections, and the server allows {}: raise max_connections there, \
         or lower STINT_WRITE_CONNECTIONS and STINT_READ_CONNECTIONS",
        server.connections_max
    );
    migrate::migrate(&options).await?;
    let seal = Seal::load(config.auth.seal_key.as_ref(), &data_dir)?;
    let db = Pools::new(options, &config.database);
    seal::check(&db, &seal).await?;
    history::adopt_restored(&db)
        .await
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let new_admin_key = keys::bootstrap(&db, &config).await?;
    Ok((Platform::new(config, db, seal), new_admin_key))
}

/// Where the private server and the sealing key lie.
fn data_dir(config: &Config) -> PathBuf {
    config.database.data_dir.clone().unwrap_or_else(|| {
        let home = std::env::home_dir().filter(|_| !nix::unistd::geteuid().is_root());
        match home {
            Some(home) => home.join(".local/share/stint"),
            None => PathBuf::from("/var/lib/stint"),
        }
    })
}

/// Lets this process open as many files as it may: every connection of a waiting worker is one, and the
/// customary soft limit of 1,024 is there for programs that still use `select`.
///
/// # Errors
/// Those of the operating system.
pub fn raise_open_files() -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(())
}
