//! The keeper runs a private PostgreSQL server for a platform that was given none.
//!
//! ```text
//! <data_dir>/
//!   lock            held by the one platform that may use this folder
//!   secret          password of the database user, 0600
//!   cluster/        the PostgreSQL data folder; it appears complete, by a rename, or not at all
//!   run/            the Unix socket, the only way in (or a temporary folder if the path is long)
//!   stint.conf      tuning, written anew at every start
//!   postgres.log    what the server says; postgres.log.1 is the older half
//! ```
//!
//! The server is our child and dies with us, even if we are killed: on Linux the kernel then
//! sends it the signal of an orderly shutdown. The next start waits until it has ended, so
//! that two servers never meet on one cluster. If the server dies while we live, it is
//! started again.
//!
//! PostgreSQL refuses to run as root. A platform that is root therefore runs it as `postgres`
//! or `nobody`, and checks first that this user can reach the folder.
//!
//! Nothing here is global: several keepers, each with a folder of its own, live in one process.

mod binaries;
mod cluster;
mod folder;
mod log;
mod orphan;
mod process;
mod server;
mod settings;
mod user;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection, PgConnection};
use tracing::{info, warn};

use folder::Folder;
use server::{Phase, Server};

/// User and database inside the private server. Both are ours alone.
const NAME: &str = "stint";

/// The port only names the socket file; nothing listens on the network.
const PORT: u16 = 5432;

/// Between two looks at a server that is starting. It needs about 0.1 s when nothing is wrong.
const READY_POLL: Duration = Duration::from_millis(50);

/// How often a long recovery is mentioned, so that nobody takes it for a hang.
const RECOVERY_REMINDER: Duration = Duration::from_secs(10);

/// Processes of a killed server end by themselves once they notice; a busy one takes a while.
const REMNANTS_PATIENCE: Duration = Duration::from_secs(30);

/// Where the private server lives, and with which binaries it runs.
#[derive(Clone, Debug)]
pub struct KeeperSettings {
    /// Made if absent. One platform at a time may use it.
    pub data_dir: PathBuf,
    /// The folder that holds `initdb` and `postgres`; looked for in the usual places if not set.
    pub pg_bin: Option<PathBuf>,
}

/// A running private PostgreSQL server.
///
/// Dropping the keeper asks the server to end without waiting for it; [`Keeper::stop`] waits.
pub struct Keeper {
    server: Server,
    socket_dir: PathBuf,
    password: SecretString,
}

impl Keeper {
    /// Starts the server of this folder, making the cluster first where there is none.
    ///
    /// Returns when the database answers. Crash recovery may take minutes and has no deadline:
    /// giving up would only make the next start begin it again.
    pub async fn start(settings: KeeperSettings) -> anyhow::Result<Self> {
        // The steps before the launch block: files, initdb, an old server that is still ending.
        let keeper = tokio::task::spawn_blocking(move || Self::launch(&settings))
            .await
            .context("preparing the private database panicked")??;
        match keeper.prepare_database().await {
            Ok(()) => Ok(keeper),
            Err(error) => {
                keeper.stop().await;
                Err(error)
            }
        }
    }

    /// How sqlx reaches the database.
    pub fn connect_options(&self) -> PgConnectOptions {
        self.options_for(NAME)
    }

    /// How `psql`, `pg_dump` and other programs reach the database; it contains the password.
    ///
    /// The socket folder is percent-encoded in the place of the host, which both libpq and
    /// sqlx understand.
    pub fn url(&self) -> SecretString {
        let folder = percent_encode(self.socket_dir.as_os_str().as_encoded_bytes());
        let password = self.password.expose_secret();
        SecretString::from(format!(
            "postgres://{NAME}:{password}@{folder}:{PORT}/{NAME}"
        ))
    }

    /// Ends the server in an orderly way and returns when it has ended.
    ///
    /// May be called more than once. Open connections are cut, so stop what uses them first.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    fn launch(settings: &KeeperSettings) -> anyhow::Result<Self> {
        let folder = Folder::open(&settings.data_dir)?;
        let cluster_major = folder.cluster_major()?;
        let binaries = binaries::find(settings.pg_bin.as_deref(), cluster_major)?;
        user::check_entry(&binaries.folder, &folder.user)?;

        let password = folder.password(cluster_major.is_some())?;
        if cluster_major.is_none() {
            cluster::make(&folder, &binaries, &password)?;
        }
        folder.write_tuning(&settings::tuning(
            settings::memory_bytes(),
            settings::has_stat_statements(&binaries.folder),
        ))?;

        info!(
            "starting PostgreSQL {} from {} in {} as user {}",
            binaries.version.text,
            binaries.folder.display(),
            folder.root.display(),
            folder.user.name,
        );
        let socket_dir = folder.socket_dir.clone();
        let server = Server::launch(folder, &binaries)?;
        Ok(Self {
            server,
            socket_dir,
            password,
        })
    }

    async fn prepare_database(&self) -> anyhow::Result<()> {
        let mut db = self.connect_when_ready().await?;
        let exists: bool =
            sqlx::query_scalar("select exists (select from pg_database where datname = 'stint')")
                .fetch_one(&mut db)
                .await
                .context("looking for the database")?;
        if !exists {
            sqlx::raw_sql("create database stint")
                .execute(&mut db)
                .await
                .context("creating the database")?;
        }
        db.close().await.context("closing the first connection")?;
        self.server.announce_ready();
        Ok(())
    }

    async fn connect_when_ready(&self) -> anyhow::Result<PgConnection> {
        let options = self.options_for("postgres");
        let began = Instant::now();
        let mut reminder = RECOVERY_REMINDER;
        loop {
            if let Phase::Down { reason, log_tail } = self.server.phase() {
                // The server itself is dead, but one of its processes still holds the shared
                // memory. The launch is repeated meanwhile.
                let remnants = log_tail.contains("pre-existing shared memory block");
                if !remnants || began.elapsed() > REMNANTS_PATIENCE {
                    bail!(
                        "the private PostgreSQL server did not start: {reason}\n\
                         The last lines of {}:\n{log_tail}",
                        self.server.log_path().display(),
                    );
                }
            }
            match PgConnection::connect_with(&options).await {
                Ok(db) => return Ok(db),
                Err(error) if is_not_ready_yet(&error) => {}
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!(
                            "the private PostgreSQL server runs but refuses us; its log is {}",
                            self.server.log_path().display(),
                        )
                    });
                }
            }
            if began.elapsed() > reminder {
                warn!(
                    "PostgreSQL is still starting after {} s, most likely recovering from a crash",
                    began.elapsed().as_secs(),
                );
                reminder += RECOVERY_REMINDER;
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    fn options_for(&self, database: &str) -> PgConnectOptions {
        // Every field is set: what is not would come from PGHOST and its like, or from ~/.pgpass.
        PgConnectOptions::new_without_pgpass()
            .socket(&self.socket_dir)
            .port(PORT)
            .username(NAME)
            .password(self.password.expose_secret())
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }
}

/// True while a server that has just been launched may still come up.
fn is_not_ready_yet(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() != std::io::ErrorKind::PermissionDenied,
        // cannot_connect_now: starting up, recovering or shutting down.
        sqlx::Error::Database(error) => error.code().as_deref() == Some("57P03"),
        _ => false,
    }
}

fn percent_encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::percent_encode;

    #[test]
    fn a_socket_folder_is_encoded_as_a_host() {
        assert_eq!(percent_encode(b"/var/lib/a b"), "%2Fvar%2Flib%2Fa%20b");
    }
}
