//! A child process that leads a process group of its own, and dies with it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep};

use super::limits::Limits;

/// How often it is looked whether a group that was told to end has done so.
const GROUP_PAUSE: Duration = Duration::from_millis(20);

/// A process group. Whatever of it is left is killed when this is dropped.
pub(super) struct Process {
    child: Child,
    group: Pid,
    is_over: bool,
}

impl Process {
    pub(super) fn spawn(
        program: &Path,
        arguments: &[String],
        cwd: &Path,
        environment: BTreeMap<OsString, OsString>,
        limits: Limits,
    ) -> std::io::Result<Self> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(cwd)
            .env_clear()
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        limits.apply_to(&mut command)?;
        let child = command.spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let group = Pid::from_raw(id.expect("a child that was just started has an id"));
        Ok(Self {
            child,
            group,
            is_over: false,
        })
    }

    pub(super) fn take_pipes(
        &mut self,
    ) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        (
            self.child.stdin.take(),
            self.child.stdout.take(),
            self.child.stderr.take(),
        )
    }

    /// Waits until the leader of the group has ended.
    pub(super) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends the whole group: asks it, and after `grace` kills it.
    pub(super) async fn terminate(&mut self, grace: Duration) {
        let deadline = Instant::now() + grace;
        if self.signal(Signal::SIGTERM) {
            while Instant::now() < deadline && self.is_alive() {
                sleep(GROUP_PAUSE).await;
            }
        }
        self.kill();
        // Only a zombie is left, so this does not take long.
        drop(self.child.wait().await);
    }

    /// Kills whatever is left of the group.
    pub(super) fn kill(&mut self) {
        if !self.is_over {
            self.signal(Signal::SIGKILL);
            self.is_over = true;
        }
    }

    /// Whether someone in the group is left who could still do something.
    fn is_alive(&mut self) -> bool {
        let has_leader = matches!(self.child.try_wait(), Ok(None));
        has_leader || (killpg(self.group, None) != Err(Errno::ESRCH) && has_living(self.group))
    }

    fn signal(&self, signal: Signal) -> bool {
        killpg(self.group, signal).is_ok()
    }
}

/// Whether the group has a member that is not a zombie. In a container without an init nobody
/// takes care of orphaned zombies, and they would count as members for ever.
fn has_living(group: Pid) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return true;
    };
    processes.flatten().any(|process| {
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // The name, in parentheses, may hold anything; behind it: state, parent, group.
        let mut facts = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let state = facts.next();
        let its_group = facts.nth(1).and_then(|id| id.parse().ok());
        its_group == Some(group.as_raw()) && !matches!(state, Some("Z" | "X"))
    })
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
