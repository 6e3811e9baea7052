//! What a command finds in its environment: essentials, and only what is configured.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;
use stint_protocol::ClaimedTask;

use super::CommandHandler;
use super::folder::Folder;

/// Variables that begin like this are the worker's to set.
pub const RESERVED_PREFIX: &str = "STINT_";

/// What nearly every program needs.
const ESSENTIAL: [&str; 3] = ["PATH", "HOME", "LANG"];

impl CommandHandler {
    /// The whole environment of the command. `own` reads the worker's.
    pub(super) fn environment(
        &self,
        task: &ClaimedTask,
        folder: &Folder,
        own: impl Fn(&str) -> Option<OsString>,
    ) -> BTreeMap<OsString, OsString> {
        let mut environment = BTreeMap::new();
        let passed = self.pass_env.iter().map(String::as_str);
        for name in ESSENTIAL.into_iter().chain(passed) {
            if let Some(value) = own(name) {
                environment.insert(name.into(), value);
            }
        }
        for (name, value) in &self.env {
            environment.insert(name.into(), value.into());
        }
        for (name, value) in &self.secrets {
            environment.insert(name.into(), value.expose_secret().into());
        }
        for (name, value) in [
            ("STINT_TASK_ID", task.id.to_string()),
            ("STINT_ATTEMPT", task.attempt.to_string()),
            ("STINT_TASK_TITLE", task.title.clone()),
            ("STINT_TASK_ROLE", task.role.clone().unwrap_or_default()),
            ("STINT_TASK_TYPE", task.task_type.to_string()),
            ("STINT_WORKER_NAME", self.worker_name.clone()),
        ] {
            environment.insert(name.into(), value.into());
        }
        environment.insert("STINT_TASK_INPUT_FILE".into(), folder.input_file().into());
        environment.insert("STINT_OUTPUT_FILE".into(), folder.output_file().into());
        environment.insert("STINT_MESSAGES_FILE".into(), folder.messages_file().into());
        environment
    }
}

/// Where a program is: at its path, or the first of its name in `path`.
pub fn find_program(program: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    if program.contains('/') {
        let program = std::path::absolute(program).ok()?;
        return is_executable(&program).then_some(program);
    }
    std::env::split_paths(path?)
        .map(|folder| folder.join(program))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
}
