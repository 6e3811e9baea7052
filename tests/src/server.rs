//! One PostgreSQL server for all tests of this process, and the migrated database they clone.
//!
//! The server is a private one in a temporary folder, or the one that `STINT_TEST_DATABASE_URL` names.
//! It dies with this process; a small shell outlives both and sweeps the folder away. Folders of
//! processes whose shell was killed too are swept by the next one.

use std::fs::{self, File, Permissions};
use std::hash::{DefaultHasher, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::Url;
use secrecy::ExposeSecret;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};
use stint_platform::db::keeper::{Keeper, KeeperSettings};
use stint_platform::db::migrate;
use stint_platform::start::raise_open_files;

/// How the folders of test servers begin.
const FOLDER_PREFIX: &str = "stint-tests-";
/// Held, as a file in the folder, by the process whose server it is.
const OWNER_FILE: &str = "owner";
/// A folder this young may belong to a process that has not locked it yet.
const YOUNG: Duration = Duration::from_secs(60);
/// Room in memory that one test process needs at most.
const MEMORY_MIN: u64 = 3 * 1024 * 1024 * 1024;
/// Two replicas for each of several tests at once.
const CONNECTIONS: u32 = 400;
/// Taken while the template is made. Any number that nobody else uses on the server.
const TEMPLATE_LOCK: i64 = 7_303_014;

/// The server, once it runs.
pub(crate) struct Server {
    url: Url,
    template: String,
    _private: Option<Private>,
}

/// What keeps a private server alive.
struct Private {
    _keeper: Keeper,
    _owner: File,
    _sweeper: ChildStdin,
}

impl Server {
    /// The address of a database.
    pub(crate) fn url_of(&self, database: &str) -> String {
        let mut url = self.url.clone();
        url.set_path(&format!("/{database}"));
        url.into()
    }

    /// The database that tests clone.
    pub(crate) fn template(&self) -> &str {
        &self.template
    }

    /// A connection from which databases are made and dropped.
    pub(crate) async fn connect(&self) -> PgConnection {
        let options =
            PgConnectOptions::from_str(self.url.as_str()).expect("the URL was read before");
        PgConnection::connect_with(&options)
            .await
            .expect("the test server answers")
    }
}

/// The server of this process; the first caller starts it.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        raise_open_files().expect("a process may raise its limit");
        // A thread of its own, because the caller may be inside a runtime.
        std::thread::spawn(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(start())
        })
        .join()
        .expect("the test server starts")
    })
}

/// Makes an empty, migrated database for a process that a test starts, and returns its address. It stays
/// until the server goes.
pub async fn database_url() -> String {
    crate::database::Database::clone_template().await.keep()
}

async fn start() -> Server {
    let (url, private) = match std::env::var("STINT_TEST_DATABASE_URL") {
        Ok(url) => (url, None),
        Err(_) => {
            let (url, private) = start_private().await;
            (url, Some(private))
        }
    };
    let mut server = Server {
        url: Url::parse(&url).expect("STINT_TEST_DATABASE_URL is a URL"),
        template: String::new(),
        _private: private,
    };
    server.template = make_template(&server).await;
    server
}

async fn start_private() -> (String, Private) {
    sweep_leftovers();
    let folder = tempfile::Builder::new()
        .prefix(FOLDER_PREFIX)
        .tempdir_in(place())
        .expect("a temporary folder")
        .keep();
    let owner = File::create(folder.join(OWNER_FILE)).expect("our own folder");
    owner.lock().expect("our own file");
    // The server runs as another user when we are root.
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).expect("our own folder");
    let sweeper = start_sweeper(&folder);
    let settings = || KeeperSettings {
        data_dir: folder.join("data"),
        pg_bin: None,
    };
    let keeper = Keeper::start(settings()).await.expect("PostgreSQL starts");
    let mut db = PgConnection::connect_with(&keeper.connect_options())
        .await
        .expect("PostgreSQL answers");
    let wanted = format!("alter system set max_connections = {CONNECTIONS}");
    db.execute(sqlx::AssertSqlSafe(wanted))
        .await
        .expect("the setting is known");
    drop(db);
    keeper.stop().await;
    let keeper = Keeper::start(settings())
        .await
        .expect("PostgreSQL starts again");
    let url = keeper.url().expose_secret().to_owned();
    let private = Private {
        _keeper: keeper,
        _owner: owner,
        _sweeper: sweeper,
    };
    (url, private)
}

/// Where the server lies: in memory where there is enough, because making and dropping a database waits for
/// the disk, else with other temporary files.
fn place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let has_room = nix::sys::statvfs::statvfs(memory)
        .is_ok_and(|room| room.blocks_available() * room.fragment_size() > MEMORY_MIN);
    if has_room {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

/// Starts the shell that removes the folder after our death. It hears of it by the end of its input.
#[expect(
    clippy::zombie_processes,
    reason = "it outlives this process on purpose, and ends by itself"
)]
fn start_sweeper(folder: &Path) -> ChildStdin {
    const SCRIPT: &str = r#"cat > /dev/null
        tries=0
        while [ -e "$0/data/cluster/postmaster.pid" ] && [ $tries -lt 300 ]; do sleep 0.1; tries=$((tries + 1)); done
        rm -rf "$0""#;
    let mut shell = Command::new("sh")
        .arg("-c")
        .arg(SCRIPT)
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("a shell");
    shell.stdin.take().expect("a pipe was asked for")
}

fn sweep_leftovers() {
    for folder in leftovers() {
        // Somebody else's, or swept by somebody else at this moment.
        drop(fs::remove_dir_all(folder));
    }
}

fn leftovers() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(place()) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with(FOLDER_PREFIX)
        })
        .filter(|entry| {
            let age = entry
                .metadata()
                .and_then(|data| data.modified())
                .map(|modified| modified.elapsed().unwrap_or_default());
            age.is_ok_and(|age| age > YOUNG)
        })
        .map(|entry| entry.path())
        .filter(|folder| match File::open(folder.join(OWNER_FILE)) {
            Ok(owner) => owner.try_lock().is_ok(),
            Err(_) => true,
        })
        .collect()
}

/// Makes the template, unless a process before us made it on this server. It appears complete or not at all.
async fn make_template(server: &Server) -> String {
    let name = format!("stint_test_template_{:016x}", migrations_hash());
    let making = format!("{name}_making");
    let mut db = server.connect().await;
    sqlx::query("select pg_advisory_lock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut db)
        .await
        .expect("the lock is free in the end");
    let exists: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(&name)
            .fetch_one(&mut db)
            .await
            .expect("the server answers");
    if !exists {
        for statement in [
            format!("drop database if exists {making} with (force)"),
            format!("create database {making}"),
        ] {
            db.execute(sqlx::AssertSqlSafe(statement))
                .await
                .expect("a database can be made");
        }
        let options =
            PgConnectOptions::from_str(&server.url_of(&making)).expect("the URL was read before");
        migrate::migrate(&options)
            .await
            .expect("an empty database can be migrated");
        let rename = format!("alter database {making} rename to {name}");
        db.execute(sqlx::AssertSqlSafe(rename))
            .await
            .expect("nobody is connected to it any more");
    }
    db.close().await.expect("the lock is let go");
    name
}

/// Tells apart the databases of different migrations.
fn migrations_hash() -> u64 {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the migrations are in the workspace")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        hasher.write(&fs::read(file).expect("a migration can be read"));
    }
    hasher.finish()
}
