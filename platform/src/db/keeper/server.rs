//! The server process, from its launch to its end.
//!
//! ```text
//!            ┌────────── died by itself: say why, pause, again ─────────┐
//!            ▼                                                          │
//! launch ─► Running ────────────────────────────────────────────────► Down
//!            │ stop: SIGINT, later SIGQUIT                              │ stop
//!            └───────────────────────────► Ended ◄──────────────────────┘
//! ```
//!
//! One thread does all of this. It must be a thread of its own that lives as long as the server:
//! the kernel tells the server of our death when the thread that launched it ends.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::binaries::Binaries;
use super::folder::Folder;
use super::log::LogFile;
use super::{orphan, process, settings};

/// Pause before a server that died is launched again: short the first time, since every request
/// fails meanwhile, and longer if it dies again and again.
const RELAUNCH_PAUSE_MIN: Duration = Duration::from_millis(200);
const RELAUNCH_PAUSE_MAX: Duration = Duration::from_secs(30);

/// A server that lived this long has recovered; its next death counts as the first.
const LIVED_WELL: Duration = Duration::from_secs(60);

/// An orderly shutdown ends sessions and writes a checkpoint.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(30);

/// An immediate one has nothing to write, and kills its own processes after 5 s.
const QUIT_PATIENCE: Duration = Duration::from_secs(15);

/// How often the size of the log is looked at.
const LOG_LOOK: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub(super) enum Phase {
    Running,
    /// Died by itself, or could not be launched; another launch follows.
    Down {
        reason: String,
        log_tail: String,
    },
    /// Stopped, with nothing left behind.
    Ended,
}

/// The server of one folder. It ends when this is dropped.
pub(super) struct Server {
    control: Arc<Control>,
    phase: watch::Receiver<Phase>,
    log: LogFile,
}

impl Server {
    /// Launches the server without waiting until it answers.
    pub(super) fn launch(folder: Folder, binaries: &Binaries) -> anyhow::Result<Self> {
        let log = LogFile::in_folder(&folder.root);
        log.rotate()?;
        let plan = Plan {
            program: binaries.folder.join("postgres"),
            arguments: settings::arguments(&folder.cluster, &folder.socket_dir),
            folder,
            log: log.clone(),
        };
        let control = Arc::new(Control::default());
        let (report, phase) = watch::channel(Phase::Running);
        let for_thread = Arc::clone(&control);
        std::thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || {
                for_thread.supervise(&plan, &report);
                // Whoever sees the end may use the folder at once.
                drop(plan);
                report.send_replace(Phase::Ended);
            })
            .context("starting the thread that keeps PostgreSQL")?;
        let (for_thread, its_log) = (Arc::clone(&control), log.clone());
        // Made before the next thing that can fail, so that the server ends if it does.
        let server = Self {
            control,
            phase,
            log,
        };
        std::thread::Builder::new()
            .name("postgres-log".to_owned())
            .spawn(move || for_thread.bound_log(&its_log))
            .context("starting the thread that bounds the log of PostgreSQL")?;
        Ok(server)
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    pub(super) fn log_path(&self) -> &Path {
        self.log.path()
    }

    /// From now on a death is an incident, and no longer just the answer to a failed start.
    pub(super) fn announce_ready(&self) {
        self.control.state().was_ready = true;
    }

    pub(super) async fn stop(&self) {
        self.control.ask_to_stop();
        if self.ends_within(SHUTDOWN_PATIENCE).await {
            info!("PostgreSQL has ended");
            return;
        }
        warn!(
            "PostgreSQL has not ended within {} s; ending it at once, it will recover at the next start",
            SHUTDOWN_PATIENCE.as_secs()
        );
        self.control.signal(Signal::SIGQUIT);
        if !self.ends_within(QUIT_PATIENCE).await {
            error!(
                "PostgreSQL does not end; its log is {}, and the next start waits for it",
                self.log.path().display()
            );
        }
    }

    async fn ends_within(&self, patience: Duration) -> bool {
        let mut phase = self.phase.clone();
        let ended = phase.wait_for(|phase| matches!(phase, Phase::Ended));
        // A closed channel means that the thread is gone, and with it the server.
        tokio::time::timeout(patience, ended).await.is_ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.control.ask_to_stop();
    }
}

/// What the thread needs for every launch. It holds the folder, and so the lock, to the end.
struct Plan {
    program: PathBuf,
    arguments: Vec<OsString>,
    folder: Folder,
    log: LogFile,
}

#[derive(Default)]
struct Control {
    state: Mutex<State>,
    stop_asked: Condvar,
}

#[derive(Default)]
struct State {
    is_stopping: bool,
    was_ready: bool,
    /// Present while the server lives or waits to be collected, so that its process number
    /// cannot have been given to another program when we send a signal.
    child: Option<Child>,
}

impl Control {
    fn supervise(&self, plan: &Plan, report: &watch::Sender<Phase>) {
        let mut pause = RELAUNCH_PAUSE_MIN;
        loop {
            let (began, log_from) = (Instant::now(), plan.log.len());
            let reason = match self.launch(plan) {
                Ok(Some(pid)) => {
                    report.send_replace(Phase::Running);
                    match self.collect(pid) {
                        Ok(status) => format!("PostgreSQL ended by itself ({status})"),
                        Err(error) => format!("PostgreSQL cannot be waited for: {error}"),
                    }
                }
                Ok(None) => return,
                Err(error) => format!("PostgreSQL could not be launched: {error:#}"),
            };
            if began.elapsed() > LIVED_WELL {
                pause = RELAUNCH_PAUSE_MIN;
            }
            let log_tail = plan.log.tail(log_from);
            let (is_stopping, was_ready) = {
                let state = self.state();
                (state.is_stopping, state.was_ready)
            };
            if is_stopping {
                return;
            }
            if was_ready {
                error!(
                    "{reason}; launching it again in {} ms. The last lines of {}:\n{log_tail}",
                    pause.as_millis(),
                    plan.log.path().display(),
                );
            }
            report.send_replace(Phase::Down { reason, log_tail });
            if self.is_stopped_within(pause) {
                return;
            }
            pause = (pause * 2).min(RELAUNCH_PAUSE_MAX);
        }
    }

    /// Launches the server, or does nothing if it is to stop.
    fn launch(&self, plan: &Plan) -> anyhow::Result<Option<Pid>> {
        orphan::settle(&plan.folder)?;
        let (output, errors) = (plan.log.open()?, plan.log.open()?);
        let mut command = process::command(&plan.program, &plan.folder.user, Signal::SIGINT);
        command.args(&plan.arguments).stdout(output).stderr(errors);
        let mut state = self.state();
        if state.is_stopping {
            return Ok(None);
        }
        let child = command
            .spawn()
            .with_context(|| format!("running {}", plan.program.display()))?;
        let pid = Pid::from_raw(i32::try_from(child.id()).context("an odd process number")?);
        state.child = Some(child);
        Ok(Some(pid))
    }

    /// Waits until the server has ended, and collects it.
    fn collect(&self, pid: Pid) -> std::io::Result<ExitStatus> {
        loop {
            wait_for_end(pid);
            let mut state = self.state();
            let child = state
                .child
                .as_mut()
                .expect("only this thread takes the child away");
            let status = child.try_wait();
            if let Some(ended) = status.transpose() {
                state.child = None;
                return ended;
            }
        }
    }

    /// Keeps the log within its size until the server is to stop.
    fn bound_log(&self, log: &LogFile) {
        while !self.is_stopped_within(LOG_LOOK) {
            if let Err(error) = log.rotate() {
                warn!("the log of PostgreSQL grows on: {error:#}");
            }
        }
    }

    fn ask_to_stop(&self) {
        self.state().is_stopping = true;
        self.stop_asked.notify_all();
        self.signal(Signal::SIGINT);
    }

    fn signal(&self, signal: Signal) {
        let state = self.state();
        let Some(child) = &state.child else { return };
        let pid = i32::try_from(child.id()).expect("process numbers are positive and small");
        match kill(Pid::from_raw(pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => error!("cannot send {signal} to PostgreSQL (process {pid}): {error}"),
        }
    }

    fn is_stopped_within(&self, pause: Duration) -> bool {
        let waited = self
            .stop_asked
            .wait_timeout_while(self.state(), pause, |state| !state.is_stopping);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_stopping
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a single assignment, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns when the process may have ended, leaving it to be collected under the lock.
#[cfg(target_os = "linux")]
fn wait_for_end(pid: Pid) {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    let waited = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
    if let Err(error) = waited
        && error != Errno::EINTR
    {
        warn!("waiting for PostgreSQL failed: {error}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Where a process cannot be awaited without collecting it, the caller looks now and then.
#[cfg(not(target_os = "linux"))]
fn wait_for_end(_pid: Pid) {
    std::thread::sleep(Duration::from_millis(100));
}
