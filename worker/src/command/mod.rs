//! A handler that runs a command for each attempt.
//!
//! The command is given the claimed task as JSON on stdin and some of it in its environment, and
//! works in a clean folder of its own. What it prints becomes log lines; its output is the file
//! named by `STINT_OUTPUT_FILE`, or else the last line of stdout that is JSON. Its exit code tells
//! how it ended. What orchestrators and operators say to it meanwhile is added to the file named by
//! `STINT_MESSAGES_FILE`, a line of JSON each. Nothing of its process group outlives the attempt.

mod environment;
mod folder;
mod limits;
mod lines;
mod output;
mod process;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use secrecy::SecretString;
use stint_protocol::{Json, PendingMessage};
use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;
use tokio::time::timeout;
use tracing::warn;

use crate::handler::{Failure, Handler, HandlerFuture, HandlerResult, TaskRun};

pub use environment::{RESERVED_PREFIX, find_program};
pub use limits::Limits;

use folder::Folder;
use lines::{StderrTail, StdoutLines, read_lines};
use output::Output;
use process::Process;

/// How long the processes of a command have between TERM and KILL, unless another time is given.
pub const KILL_GRACE_DEFAULT: Duration = Duration::from_secs(5);

/// How long output is still read after the command has ended: only a process that has left the
/// group can keep the pipe open any longer.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// The exit code that says: try again later (`EX_TEMPFAIL` of sysexits).
const EXIT_TRY_AGAIN: i32 = 75;

/// Runs a command for each attempt.
#[derive(Clone, Debug)]
pub struct CommandHandler {
    /// The program, by its path or found in PATH.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables it is given.
    pub env: BTreeMap<String, String>,
    /// Variables of the worker that it is given too.
    pub pass_env: Vec<String>,
    /// Variables it is given whose values are masked in logs and messages.
    pub secrets: BTreeMap<String, SecretString>,
    /// How long an attempt may take, if less than the task allows.
    pub timeout: Option<Duration>,
    /// How long its processes have between TERM and KILL.
    pub kill_grace: Duration,
    /// What its processes may use.
    pub limits: Limits,
    /// Where the folders of the attempts are made.
    pub work_dir: PathBuf,
    /// Whether those folders stay.
    pub keep_folders: bool,
    /// The name of the worker, for the command to know.
    pub worker_name: String,
}

impl Handler for CommandHandler {
    fn run(self: Arc<Self>, run: TaskRun) -> HandlerFuture {
        Box::pin(async move { self.run_command(&run).await })
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    fn stop_grace(&self) -> Duration {
        // TERM, KILL, and what is left to read.
        self.kill_grace + LAST_OUTPUT + Duration::from_secs(1)
    }
}

impl CommandHandler {
    async fn run_command(&self, run: &TaskRun) -> HandlerResult {
        let folder = Folder::make(&self.work_dir, run.task(), self.keep_folders)
            .await
            .map_err(|error| unavailable(format!("no folder for the attempt: {error}")))?;
        let result = self.run_in(run, &folder).await;
        folder.remove().await;
        result
    }

    async fn run_in(&self, run: &TaskRun, folder: &Folder) -> HandlerResult {
        let environment = self.environment(run.task(), folder, |name| std::env::var_os(name));
        let mut process = self.spawn(folder, environment)?;
        let task = serde_json::to_vec(run.task())?;
        let mut stdout = StdoutLines::new(run.logs());
        let mut stderr = StderrTail::new(run.logs());

        let status = {
            let (input, output, errors) = process.take_pipes();
            let talk = async {
                tokio::join!(
                    give(input, &task),
                    read_lines(output, stdout.line_bytes_max(), |line, was_cut| {
                        stdout.line(line, was_cut);
                    }),
                    read_lines(errors, stderr.line_bytes_max(), |line, _| stderr.line(line)),
                );
            };
            tokio::pin!(talk);
            let mut has_talked = false;
            let mut is_told = true;
            let status = loop {
                tokio::select! {
                    status = process.wait() => break Some(status?),
                    () = &mut talk, if !has_talked => has_talked = true,
                    message = run.next_message(), if is_told => match message {
                        Some(message) => write_message(folder, &message).await,
                        None => is_told = false,
                    },
                    () = run.stopped() => break None,
                }
            };
            match status {
                Some(_) => process.kill(),
                None => {
                    let ending = process.terminate(self.kill_grace);
                    tokio::pin!(ending);
                    loop {
                        tokio::select! {
                            () = &mut ending => break,
                            () = &mut talk, if !has_talked => has_talked = true,
                        }
                    }
                }
            }
            // An error only means that time is over for those who have left the group.
            if !has_talked {
                drop(timeout(LAST_OUTPUT, talk).await);
            }
            status
        };

        let Some(status) = status else {
            stdout.give_up_candidate();
            return Err(Failure::new("stopped").category("cancelled"));
        };
        if !status.success() {
            stdout.give_up_candidate();
            return Err(failure_of(status, &stderr.text()));
        }
        self.output(folder, stdout).await
    }

    fn spawn(
        &self,
        folder: &Folder,
        environment: BTreeMap<OsString, OsString>,
    ) -> Result<Process, Failure> {
        let path = environment.get(&OsString::from("PATH"));
        let program = find_program(&self.program, path.map(OsString::as_os_str))
            .ok_or_else(|| unavailable(format!("the program {:?} is not there", self.program)))?;
        Process::spawn(
            &program,
            &self.arguments,
            &folder.cwd(),
            environment,
            self.limits,
        )
        .map_err(|error| unavailable(format!("{:?} could not be started: {error}", self.program)))
    }

    async fn output(&self, folder: &Folder, mut stdout: StdoutLines<'_>) -> HandlerResult {
        match output::from_file(&folder.output_file()).await? {
            Some(output) => {
                stdout.give_up_candidate();
                Ok(output)
            }
            None => match stdout.into_candidate() {
                Some(Output::Json(output)) => Ok(output),
                Some(Output::TooLarge) => Err(output::too_large()),
                None => Ok(Json::of(&())?),
            },
        }
    }
}

/// Writes a message for the command to find. One that cannot be written is in the log of the worker alone.
async fn write_message(folder: &Folder, message: &PendingMessage) {
    if let Err(error) = folder.add_message(message).await {
        warn!(%error, task.id = %message.task_id, "a message could not be written to the file of the attempt");
    }
}

/// Writes the task to stdin. A command that does not read it is free to do so.
async fn give(stdin: Option<ChildStdin>, task: &[u8]) {
    if let Some(mut stdin) = stdin
        && stdin.write_all(task).await.is_ok()
    {
        // The pipe is closed by dropping it, whatever the flush says.
        drop(stdin.flush().await);
    }
}

/// A failure of the machine rather than of the task.
fn unavailable(message: String) -> Failure {
    Failure::new(message).category("resource_unavailable")
}

fn failure_of(status: ExitStatus, stderr: &str) -> Failure {
    use std::os::unix::process::ExitStatusExt as _;
    let (ended, category, recoverable) = match (status.code(), status.signal()) {
        (Some(EXIT_TRY_AGAIN), _) => (
            format!("the command ended with exit code {EXIT_TRY_AGAIN} (try again)"),
            "transient_error",
            Some(true),
        ),
        (Some(code), _) => (
            format!("the command ended with exit code {code}"),
            "handler_error",
            None,
        ),
        (None, signal) => {
            let name = signal
                .and_then(|signal| Signal::try_from(signal).ok())
                .map_or_else(
                    || "a signal".to_owned(),
                    |signal| signal.as_str().to_owned(),
                );
            (format!("the command was killed by {name}"), "crashed", None)
        }
    };
    let message = match stderr.trim() {
        "" => ended,
        stderr => format!("{ended}: {stderr}"),
    };
    Failure {
        category: Some(category.to_owned()),
        message,
        recoverable,
        retry_after: None,
    }
}

#[cfg(test)]
mod tests;
