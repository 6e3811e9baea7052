//! The processes of a test: platforms and workers, as an operator starts them.
//!
//! A [`Stage`] is the folder of one test. Every process writes its log there, and when the test
//! fails all of these logs are printed. A process that is dropped is ended.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stint_protocol::client::Client;
use stint_protocol::{CreateTask, CreateTenant, Task, TaskId, TaskState};
use stint_tests::new_task;

use crate::place::{Place, until};

/// The admin key that every platform of a test is given.
pub(crate) const ADMIN_KEY: &str = "the-admin-key-of-the-e2e-tests";

/// How much of each log a failing test prints.
const LOG_BYTES_SHOWN: usize = 30_000;

/// How long a dropped platform may take to stop its database.
const LAST_STOP: Duration = Duration::from_secs(10);

/// The folder of one test, and the logs that tell what its processes did.
pub(crate) struct Stage {
    place: Place,
    logs: Mutex<Vec<PathBuf>>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self {
            place: Place::new(),
            logs: Mutex::default(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.place.path()
    }

    /// A file that handlers and the test tell each other things by.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// What handlers have written into a file so far.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    /// Makes a file that handlers wait for.
    pub(crate) fn open(&self, name: &str) {
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
    pub(crate) async fn platform(&self) -> PlatformProcess {
        self.replica("platform", &[]).await
    }

    /// A platform with more settings.
    pub(crate) async fn replica(&self, name: &str, settings: &[(&str, &str)]) -> PlatformProcess {
        let mut command = program("stint-platform");
        let port = free_port();
        command
            .env("STINT_LISTEN", format!("127.0.0.1:{port}"))
            .env("STINT_DATA_DIR", self.path().join(name))
            .env("STINT_ADMIN_API_KEY", ADMIN_KEY)
            .envs(settings.iter().copied());
        let mut platform = PlatformProcess {
            process: Process::new(name, command, self.log(name)),
            url: format!("http://127.0.0.1:{port}"),
        };
        platform.restart().await;
        platform
    }

    /// The platform that the tests running at this moment share, when they only use its API.
    pub(crate) async fn shared_platform(&self) -> Arc<SharedPlatform> {
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
    pub(crate) fn example(&self, name: &str, settings: &[(&str, &str)]) -> ExampleProcess {
        let mut command = program(&format!("examples/{name}"));
        command.envs(settings.iter().copied());
        let mut example = ExampleProcess(Process::new(name, command, self.log(name)));
        example.start();
        example
    }

    /// A worker that is configured, not started.
    pub(crate) fn worker(&self, name: &str, url: &str, api_key: &str) -> WorkerProcess {
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
        WorkerProcess {
            process: Process::new(name, command, self.log(name)),
            gate: self.path().to_owned(),
            config,
            settings,
            handlers: String::new(),
        }
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
pub(crate) struct SharedPlatform {
    platform: PlatformProcess,
    stage: Stage,
}

impl std::ops::Deref for SharedPlatform {
    type Target = PlatformProcess;

    fn deref(&self) -> &PlatformProcess {
        &self.platform
    }
}

/// A program of this workspace, with nothing of our own environment but what every program needs.
pub(crate) fn program(name: &str) -> Command {
    let test = std::env::current_exe().expect("our own path");
    let folder = test.ancestors().nth(2).expect("target/<profile>/deps/e2e");
    let path = folder.join(name);
    assert!(
        is_fresh(&path),
        "{} is not there or older than its sources: run `cargo build --workspace --bins --examples` first, with the same profile",
        path.display()
    );
    let mut command = Command::new(path);
    command.env_clear().env("NO_COLOR", "1");
    for name in ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Whether a program was built after the last change of its sources: `cargo test` does not build it.
/// Cargo lists what went into it beside it; sources of its tests alone are not among them.
fn is_fresh(program: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|facts| facts.modified());
    let (Ok(built), Ok(list)) = (
        modified(program),
        fs::read_to_string(program.with_extension("d")),
    ) else {
        return false;
    };
    let sources = list.split_once(": ").map_or("", |(_, sources)| sources);
    sources
        .replace("\\ ", "\0")
        .split_whitespace()
        .all(|source| {
            modified(Path::new(&source.replace('\0', " "))).is_ok_and(|changed| changed <= built)
        })
}

/// A free port below those that the system gives to connections, so that it stays free while the
/// platform that had it is down.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 10_000).expect("below 10000");
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// One program, run by one process at a time.
struct Process {
    name: String,
    command: Command,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    fn new(name: &str, command: Command, log: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            command,
            log,
            child: None,
        }
    }

    fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = File::options().append(true).create(true).open(&self.log);
        let log = log.expect("our own folder");
        let child = self
            .command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("an open file"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("the program starts"));
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        let id = i32::try_from(child.id()).expect("a process number");
        kill(Pid::from_raw(id), signal).expect("our own child");
    }

    /// How it ended, if it has.
    fn ended(&mut self) -> Option<ExitStatus> {
        let ended = self.child.as_mut()?.try_wait().expect("our own child");
        if ended.is_some() {
            self.child = None;
        }
        ended
    }

    async fn end(&mut self) -> ExitStatus {
        let mut status = None;
        let what = format!("{} has ended", self.name);
        until(&what, async || {
            status = self.ended();
            status.is_some()
        })
        .await;
        status.expect("it was waited for")
    }

    fn kill9(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("our own child");
        let status = child.wait().expect("our own child");
        assert_eq!(status.signal(), Some(9), "it had ended before: {status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// A `stint-platform`.
pub(crate) struct PlatformProcess {
    process: Process,
    pub(crate) url: String,
}

impl PlatformProcess {
    /// Starts it again where it was, and waits until it is ready.
    pub(crate) async fn restart(&mut self) {
        self.process.start();
        let client = Client::without_key(&self.url).expect("a url");
        until("the platform is ready", async || {
            assert_eq!(
                self.process.ended(),
                None,
                "the platform ended:\n{}",
                self.process.log()
            );
            let readiness = client.get_readiness().await;
            readiness.is_ok_and(|readiness| readiness.database && readiness.migrations)
        })
        .await;
    }

    pub(crate) fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Sends SIGTERM.
    pub(crate) fn ask_to_stop(&self) {
        self.process.signal(Signal::SIGTERM);
    }

    /// Waits for the end after [`Self::ask_to_stop`].
    pub(crate) async fn stopped(&mut self) -> ExitStatus {
        self.process.end().await
    }

    pub(crate) async fn terminate(&mut self) {
        self.ask_to_stop();
        let status = self.stopped().await;
        assert!(status.success(), "the platform ended with {status}");
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    pub(crate) fn admin(&self) -> Client {
        Client::new(&self.url, ADMIN_KEY).expect("a url and a key")
    }

    /// A tenant of its own for one test.
    pub(crate) async fn tenant(&self) -> Tenant {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let slug = format!("tenant-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let tenant = CreateTenant {
            name: slug.clone(),
            slug,
            request_id: None,
        };
        let made = self.admin().create_tenant(&tenant).await.expect("a tenant");
        Tenant {
            client: Client::new(&self.url, &made.admin_api_key).expect("a url and a key"),
            url: self.url.clone(),
            key: made.admin_api_key,
        }
    }
}

impl Drop for PlatformProcess {
    /// In order, because a database that is killed leaves files behind for a while.
    fn drop(&mut self) {
        if self.process.child.is_some() {
            self.process.signal(Signal::SIGTERM);
            let deadline = Instant::now() + LAST_STOP;
            while self.process.ended().is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// A tenant, seen by its admin.
pub(crate) struct Tenant {
    pub(crate) client: Client,
    pub(crate) url: String,
    pub(crate) key: String,
}

impl Tenant {
    /// The tenant that every platform begins with.
    pub(crate) fn first_of(platform: &PlatformProcess) -> Self {
        Self {
            client: platform.admin(),
            url: platform.url.clone(),
            key: ADMIN_KEY.to_owned(),
        }
    }

    /// Creates a task for a role.
    pub(crate) async fn create(&self, role: &str) -> TaskId {
        let task = CreateTask {
            role: Some(role.to_owned()),
            ..new_task(role)
        };
        self.client.create_task(&task).await.expect("a task").id
    }

    pub(crate) async fn task(&self, id: TaskId) -> Task {
        self.client.get_task(id).await.expect("the task")
    }

    /// Waits until a task has ended well, and returns it.
    pub(crate) async fn completed(&self, id: TaskId) -> Task {
        until("the task is completed", async || {
            self.is_in(id, TaskState::Completed).await
        })
        .await;
        self.task(id).await
    }

    /// Whether a task is in a state; not so while the platform is away.
    pub(crate) async fn is_in(&self, id: TaskId, state: TaskState) -> bool {
        let task = self.client.get_task(id).await;
        task.is_ok_and(|task| task.state == state)
    }

    /// Why a task moved, from the first move to the last.
    pub(crate) async fn moves(&self, id: TaskId) -> Vec<String> {
        let id = id.to_string();
        let events = self.client.list_events(&[("entity_id", id.as_str())]).await;
        let events = events.expect("the events").data;
        let reason = |data: serde_json::Map<String, serde_json::Value>| data.get("reason").cloned();
        events
            .iter()
            .filter_map(|event| reason(event.data.members())?.as_str().map(str::to_owned))
            .collect()
    }
}

/// One of the examples.
pub(crate) struct ExampleProcess(Process);

impl ExampleProcess {
    /// Starts it again.
    pub(crate) fn start(&mut self) {
        self.0.start();
    }

    pub(crate) fn kill9(&mut self) {
        self.0.kill9();
    }
}

/// A `stint-worker`.
///
/// Its handlers find the folder of the test in the variable GATE.
pub(crate) struct WorkerProcess {
    process: Process,
    gate: PathBuf,
    config: PathBuf,
    settings: String,
    handlers: String,
}

impl WorkerProcess {
    /// Adds lines to the top of its configuration file.
    pub(crate) fn with(mut self, lines: &str) -> Self {
        self.settings += lines;
        self.settings += "\n";
        self
    }

    /// Adds a shell script as the handler of a role.
    pub(crate) fn handler(self, role: &str, script: &str) -> Self {
        let env = format!("env = {{ GATE = {:?} }}\n", self.gate);
        self.bare_handler(role, script, &env)
    }

    /// Adds a shell script as the handler of a role, with these settings and no others.
    pub(crate) fn bare_handler(mut self, role: &str, script: &str, lines: &str) -> Self {
        self.handlers += &format!(
            "[[handler]]\nrole = {role:?}\ncommand = [\"sh\", \"-c\", '''{script}''']\n{lines}\n"
        );
        self
    }

    /// Starts it, again if it has run before.
    pub(crate) fn start(mut self) -> Self {
        let text = format!("{}\n{}", self.settings, self.handlers);
        fs::write(&self.config, text).expect("our own folder");
        self.process.start();
        self
    }

    pub(crate) fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Stops it in the middle of whatever it does.
    pub(crate) fn pause(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.process.signal(Signal::SIGCONT);
    }

    /// Sends SIGTERM.
    pub(crate) fn ask_to_stop(&self) {
        self.process.signal(Signal::SIGTERM);
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        self.process.end().await
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.ended().is_none() && self.process.child.is_some()
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until its log says something.
    pub(crate) async fn says(&self, text: &str) {
        until(&format!("its log says {text:?}"), async || {
            self.log().contains(text)
        })
        .await;
    }
}

/// Whether a process is there and could still do something.
pub(crate) fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}
