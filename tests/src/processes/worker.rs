//! A `stint-worker` as a process.

use std::fs;
use std::path::PathBuf;
use std::process::ExitStatus;

use nix::sys::signal::Signal;

use super::process::Process;
use crate::place::until;

/// A `stint-worker`.
///
/// Its handlers find the folder of the test in the variable GATE.
pub struct WorkerProcess {
    process: Process,
    gate: PathBuf,
    config: PathBuf,
    settings: String,
    handlers: String,
}

impl WorkerProcess {
    pub(super) fn new(process: Process, gate: PathBuf, config: PathBuf, settings: String) -> Self {
        Self {
            process,
            gate,
            config,
            settings,
            handlers: String::new(),
        }
    }

    /// Adds lines to the top of its configuration file.
    pub fn with(mut self, lines: &str) -> Self {
        self.settings += lines;
        self.settings += "\n";
        self
    }

    /// Adds a shell script as the handler of a role.
    pub fn handler(self, role: &str, script: &str) -> Self {
        let env = format!("env = {{ GATE = {:?} }}\n", self.gate);
        self.bare_handler(role, script, &env)
    }

    /// Adds a shell script as the handler of a role, with these settings and no others.
    pub fn bare_handler(mut self, role: &str, script: &str, lines: &str) -> Self {
        self.handlers += &format!(
            "[[handler]]\nrole = {role:?}\ncommand = [\"sh\", \"-c\", '''{script}''']\n{lines}\n"
        );
        self
    }

    /// Starts it again where it was, if it has ended. Tells whether it had.
    pub fn revive(&mut self) -> bool {
        let had_ended = self.process.has_ended();
        if had_ended {
            self.process.start();
        }
        had_ended
    }

    /// Starts it, again if it has run before.
    ///
    /// # Panics
    /// When it runs already, or its configuration cannot be written.
    pub fn start(mut self) -> Self {
        let text = format!("{}\n{}", self.settings, self.handlers);
        fs::write(&self.config, text).expect("our own folder");
        self.process.start();
        self
    }

    /// Kills it, and waits for its end.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Stops it in the middle of whatever it does.
    pub fn pause(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.signal(Signal::SIGCONT);
    }

    /// Sends SIGTERM.
    pub fn ask_to_stop(&self) {
        self.process.signal(Signal::SIGTERM);
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        self.process.end().await
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        !self.process.has_ended()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until its log says something.
    pub async fn says(&self, text: &str) {
        until(&format!("its log says {text:?}"), async || {
            self.log().contains(text)
        })
        .await;
    }
}
