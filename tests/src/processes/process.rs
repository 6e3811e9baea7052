//! A program of this workspace as a process.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::place::until;

/// A program of this workspace, with nothing of our own environment but what every program needs.
///
/// # Panics
/// When it was not built since its sources changed.
pub fn program(name: &str) -> Command {
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
pub(super) fn free_port() -> u16 {
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
pub(super) struct Process {
    name: String,
    command: Command,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    pub(super) fn new(name: &str, command: Command, log: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            command,
            log,
            child: None,
        }
    }

    pub(super) fn start(&mut self) {
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

    pub(super) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Whether it was started and has not been seen to end.
    pub(super) fn is_started(&self) -> bool {
        self.child.is_some()
    }

    pub(super) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        let id = i32::try_from(child.id()).expect("a process number");
        kill(Pid::from_raw(id), signal).expect("our own child");
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        let ended = self.child.as_mut()?.try_wait().expect("our own child");
        if ended.is_some() {
            self.child = None;
        }
        ended
    }

    /// Whether no process runs it.
    pub(super) fn has_ended(&mut self) -> bool {
        self.ended().is_some() || self.child.is_none()
    }

    pub(super) async fn end(&mut self) -> ExitStatus {
        let mut status = None;
        let what = format!("{} has ended", self.name);
        until(&what, async || {
            status = self.ended();
            status.is_some()
        })
        .await;
        status.expect("it was waited for")
    }

    pub(super) fn kill9(&mut self) {
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
