//! An example of the worker library as a process.

use super::process::Process;

/// One of the examples.
pub struct ExampleProcess(Process);

impl ExampleProcess {
    pub(super) fn new(process: Process) -> Self {
        Self(process)
    }

    /// Starts it, again after its end.
    pub fn start(&mut self) {
        self.0.start();
    }

    /// Ends it without a word.
    pub fn kill9(&mut self) {
        self.0.kill9();
    }
}
