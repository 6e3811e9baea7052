//! The processes of a test: platforms and workers, as an operator starts them.
//!
//! A [`Stage`] is the folder of one test. Every process writes its log there, and when the test
//! fails all of these logs are printed. A process that is dropped is ended.

mod example;
mod platform;
mod process;
mod tenant;
mod worker;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::place::Place;

pub use example::ExampleProcess;
pub use platform::PlatformProcess;
pub use process::program;
use process::{Process, free_port};
pub use tenant::Tenant;
pub use worker::WorkerProcess;

/// The admin key that every platform of a test is given.
pub const ADMIN_KEY: &str = "the-admin-key-of-the-e2e-tests";

/// How much of each log a failing test prints.
const LOG_BYTES_SHOWN: usize = 30_000;

/// The folder of one test, and the logs that tell what its processes did.
pub struct Stage {
    place: Place,
    logs: Mutex<Vec<PathBuf>>,
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

impl Stage {
    /// An empty folder.
    pub fn new() -> Self {
        Self {
            place: Place::new(),
            logs: Mutex::default(),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// A file that handlers and the test tell each other things by.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// What handlers have written into a file so far.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    /// Makes a file that handlers wait for.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn open(&self, name: &str) {
        fs::write(self.file(name), "").expect("our own folder");
    }

    /// A new log file.
    fn log(&self, name: &str) -> PathBuf {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.file(&format!("{:02}-{name}.log", logs.len()));
        logs.push(path.clone());
        path
    }

    /// A platform with a private database in this folder.
    pub async fn platform(&self) -> PlatformProcess {
        self.replica("platform", &[]).await
    }

    /// A platform with more settings.
    pub async fn replica(&self, name: &str, settings: &[(&str, &str)]) -> PlatformProcess {
        let mut command = program("stint-platform");
        let port = free_port();
        command
            .env("STINT_LISTEN", format!("127.0.0.1:{port}"))
            .env("STINT_DATA_DIR", self.path().join(name))
            .env("STINT_ADMIN_API_KEY", ADMIN_KEY)
            .envs(settings.iter().copied());
        let process = Process::new(name, command, self.log(name));
        PlatformProcess::start(process, port).await
    }

    /// The platform that the tests running at this moment share, when they only use its API.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn shared_platform(&self) -> Arc<SharedPlatform> {
        static SHARED: tokio::sync::Mutex<Weak<SharedPlatform>> =
            tokio::sync::Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        let platform = match shared.upgrade() {
            Some(platform) => platform,
            None => {
                let stage = Self::new();
                let platform = Arc::new(SharedPlatform {
                    platform: stage.platform().await,
                    stage,
                });
                *shared = Arc::downgrade(&platform);
                platform
            }
        };
        let logs = platform.stage.logs.lock().expect("no panic under the lock");
        let mut ours = self.logs.lock().expect("no panic under the lock");
        ours.extend(logs.iter().cloned());
        drop((logs, ours));
        platform
    }

    /// One of the examples, started with these settings.
    pub fn example(&self, name: &str, settings: &[(&str, &str)]) -> ExampleProcess {
        let mut command = program(&format!("examples/{name}"));
        command.envs(settings.iter().copied());
        let mut example = ExampleProcess::new(Process::new(name, command, self.log(name)));
        example.start();
        example
    }

    /// A worker that is configured, not started.
    ///
    /// # Panics
    /// When its folder cannot be made.
    pub fn worker(&self, name: &str, url: &str, api_key: &str) -> WorkerProcess {
        let folder = self.path().join(format!("worker-{name}"));
        fs::create_dir_all(&folder).expect("our own folder");
        let settings = format!(
            "url = {url:?}\nname = {name:?}\nwork_dir = \"work\"\nheartbeat_seconds = 5\n\
             kill_grace_seconds = 1\n",
        );
        let config = folder.join("worker.toml");
        let mut command = program("stint-worker");
        command
            .args(["--config".as_ref(), config.as_os_str()])
            .env("STINT_API_KEY", api_key);
        let process = Process::new(name, command, self.log(name));
        WorkerProcess::new(process, self.path().to_owned(), config, settings)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in self
                .logs
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
            {
                show(log);
            }
        }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "a failing test shows what its processes said"
)]
fn show(log: &Path) {
    let text = fs::read(log).unwrap_or_default();
    let from = text.len().saturating_sub(LOG_BYTES_SHOWN);
    let text = String::from_utf8_lossy(&text[from..]);
    println!("---- {}\n{text}", log.display());
}

/// A platform that several tests use, each with a tenant of its own.
pub struct SharedPlatform {
    platform: PlatformProcess,
    stage: Stage,
}

impl std::ops::Deref for SharedPlatform {
    type Target = PlatformProcess;

    fn deref(&self) -> &PlatformProcess {
        &self.platform
    }
}

/// Whether a process is there and could still do something.
pub fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}
