//! The private PostgreSQL server when something dies: itself, its platform, or both.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Uid, User};
use secrecy::ExposeSecret;
use sqlx::postgres::PgConnectOptions;
use stint_platform::db::keeper::{Keeper, KeeperSettings};

use stint_tests::place::{Place, rows, until, write_row};

/// Tells the child process of a test which folder to keep a database in.
const CHILD_FOLDER: &str = "STINT_TEST_KEEPER_FOLDER";

#[tokio::test]
async fn a_killed_server_is_started_again() {
    let place = Place::new();
    let keeper = place.start().await;
    let options = keeper.connect_options();
    write_row(&options).await;
    for _ in 0..2 {
        let killed = place.server().expect("a server runs");
        kill(killed, Signal::SIGKILL).unwrap();
        until("another server runs", async || {
            place.server() != Some(killed)
        })
        .await;
        until("the row is there", async || {
            rows(&options).await.is_ok_and(|rows| rows == 1)
        })
        .await;
    }
    keeper.stop().await;
    assert_eq!(place.server(), None);
}

#[tokio::test]
async fn a_dropped_keeper_ends_its_server() {
    let place = Place::new();
    let keeper = place.start().await;
    drop(keeper);
    until("the server has ended", async || place.server().is_none()).await;
}

#[tokio::test]
async fn a_process_number_given_to_another_program_does_not_block_the_start() {
    let place = Place::new();
    let keeper = place.start().await;
    let (uid, gid) = {
        let cluster = fs::metadata(place.file("cluster")).unwrap();
        (cluster.uid(), cluster.gid())
    };
    let old = fs::read_to_string(place.file("cluster/postmaster.pid")).unwrap();
    keeper.stop().await;

    // PostgreSQL only looks whether a process of this number and user is alive.
    let mut other = Command::new("sleep")
        .arg("600")
        .uid(uid)
        .gid(gid)
        .spawn()
        .unwrap();
    let rest = old.split_once('\n').unwrap().1;
    let pid_file = place.file("cluster/postmaster.pid");
    fs::write(&pid_file, format!("{}\n{rest}", other.id())).unwrap();
    std::os::unix::fs::chown(&pid_file, Some(uid), Some(gid)).unwrap();

    let keeper = place.start().await;
    assert!(
        other.try_wait().unwrap().is_none(),
        "the other program is left alone"
    );
    keeper.stop().await;
    other.kill().unwrap();
    other.wait().unwrap();
}

#[tokio::test]
async fn half_a_cluster_of_an_interrupted_start_is_made_anew() {
    let place = Place::new();
    let half = place.file("cluster.new-0badcafe");
    fs::create_dir_all(&half).unwrap();
    fs::set_permissions(place.path().join("data"), Permissions::from_mode(0o711)).unwrap();
    fs::write(half.join("PG_VERSION"), "15\n").unwrap();
    let keeper = place.start().await;
    assert!(!half.exists());
    keeper.stop().await;
}

#[tokio::test]
async fn a_killed_platform_takes_its_server_along_and_the_next_one_has_its_rows() {
    let place = Place::new();
    let mut platform = ChildPlatform::start(&place, None).await;
    write_row(&platform.options).await;
    let server = place.server().unwrap();
    platform.kill9();

    // Started at once: it must wait for the old server rather than meet it.
    let keeper = place.start().await;
    assert_ne!(place.server(), Some(server));
    assert_eq!(rows(&keeper.connect_options()).await.unwrap(), 1);
    let log = fs::read_to_string(place.file("postgres.log")).unwrap();
    assert!(
        log.contains("database system is shut down"),
        "the old server ended in order:\n{log}"
    );
    keeper.stop().await;
}

#[tokio::test]
async fn platform_and_server_killed_together_recover() {
    let place = Place::new();
    let mut platform = ChildPlatform::start(&place, None).await;
    write_row(&platform.options).await;
    kill(place.server().unwrap(), Signal::SIGKILL).unwrap();
    platform.kill9();

    let keeper = place.start().await;
    assert_eq!(rows(&keeper.connect_options()).await.unwrap(), 1);
    keeper.stop().await;
}

#[tokio::test]
async fn an_ordinary_user_can_keep_a_database() {
    let place = Place::new();
    // As an ordinary user every other test shows this; root looks for one to become.
    let user = if Uid::effective().is_root() {
        let user = ["www-data", "nobody"]
            .iter()
            .find_map(|name| User::from_name(name).unwrap());
        let user = user.expect("every machine has a user nobody");
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        std::os::unix::fs::chown(place.path(), Some(uid), Some(gid)).unwrap();
        Some((uid, gid))
    } else {
        None
    };
    let mut platform = ChildPlatform::start(&place, user).await;
    write_row(&platform.options).await;
    let owner = fs::metadata(place.file("cluster")).unwrap().uid();
    assert_eq!(
        owner,
        user.map_or(Uid::effective().as_raw(), |(uid, _)| uid)
    );
    platform.kill9();
    until("its server has ended", async || place.server().is_none()).await;

    // Whoever starts it next, the server runs as the owner of the cluster.
    let keeper = place.start().await;
    assert_eq!(rows(&keeper.connect_options()).await.unwrap(), 1);
    keeper.stop().await;
}

#[tokio::test]
#[ignore = "the body of a child process, started by other tests"]
async fn a_process_that_keeps_a_database() {
    let data_dir = PathBuf::from(std::env::var_os(CHILD_FOLDER).unwrap()).join("data");
    let settings = KeeperSettings {
        data_dir: data_dir.clone(),
        pg_bin: None,
    };
    let keeper = Keeper::start(settings).await.unwrap();
    fs::write(data_dir.join("ready.new"), keeper.url().expose_secret()).unwrap();
    fs::rename(data_dir.join("ready.new"), data_dir.join("ready")).unwrap();
    std::future::pending::<()>().await;
}

/// A process of its own that keeps a database until it is killed.
struct ChildPlatform {
    process: Child,
    options: PgConnectOptions,
}

impl ChildPlatform {
    /// Runs this test binary again, with `a_process_that_keeps_a_database` as its only test.
    async fn start(place: &Place, user: Option<(u32, u32)>) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("our own path"));
        command
            .args([
                "--ignored",
                "--exact",
                "crash::a_process_that_keeps_a_database",
            ])
            .env(CHILD_FOLDER, place.path())
            .stdout(Stdio::null());
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        let mut process = command.spawn().expect("the test binary starts");
        let ready = place.path().join("data/ready");
        until("the child's database is up", async || {
            assert_eq!(
                process.try_wait().expect("our own child"),
                None,
                "the child has failed"
            );
            ready.exists()
        })
        .await;
        let url = fs::read_to_string(ready).expect("written before it got this name");
        Self {
            process,
            options: url.parse().expect("a url"),
        }
    }

    fn kill9(&mut self) {
        self.process.kill().expect("our own child");
        self.process.wait().expect("our own child");
    }
}

impl Drop for ChildPlatform {
    fn drop(&mut self) {
        self.kill9();
    }
}
