//! The configuration file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use secrecy::SecretString;
use serde::Deserialize;
use stint_protocol::TaskType;

use super::flags::LogFormat;
use crate::handler::Match;

/// The file as it is written. Unknown keys are errors, so that a typing mistake is one too.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) url: Option<String>,
    pub(super) api_key: Option<String>,
    pub(super) api_key_file: Option<PathBuf>,
    pub(super) name: Option<String>,
    pub(super) capacity: Option<u32>,
    pub(super) heartbeat_seconds: Option<u64>,
    pub(super) lease_seconds: Option<u64>,
    pub(super) work_dir: Option<PathBuf>,
    pub(super) keep_folders: Option<bool>,
    pub(super) drain_grace_seconds: Option<u64>,
    pub(super) kill_grace_seconds: Option<u64>,
    pub(super) log_format: Option<LogFormat>,
    pub(super) log: Option<String>,
    #[serde(default)]
    pub(super) handler: Vec<HandlerTable>,
}

/// One `[[handler]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HandlerTable {
    pub(super) role: Option<String>,
    #[serde(rename = "type")]
    pub(super) task_type: Option<TaskType>,
    pub(super) command: Vec<String>,
    pub(super) timeout_seconds: Option<u64>,
    pub(super) kill_grace_seconds: Option<u64>,
    pub(super) max_memory_bytes: Option<u64>,
    pub(super) max_open_files: Option<u64>,
    pub(super) max_cpu_seconds: Option<u64>,
    pub(super) max_file_bytes: Option<u64>,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) pass_env: Vec<String>,
    #[serde(default)]
    pub(super) secrets: BTreeMap<String, SecretSource>,
}

/// Where a secret comes from.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a secret is text, { file = \"path\" } or { env = \"NAME\" }"
)]
pub(super) enum SecretSource {
    /// From the file itself.
    Value(SecretString),
    /// From a file of its own.
    File { file: PathBuf },
    /// From the worker's environment.
    Env { env: String },
}

impl File {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the configuration file {} cannot be read", path.display()))?;
        Self::parse(&text)
            .with_context(|| format!("the configuration file {} is not valid", path.display()))
    }

    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        toml::from_str(text).map_err(|error| {
            // The error's own text quotes the line, which may hold a secret.
            let at = error.span().map_or(0, |span| span.start);
            let line = text[..at.min(text.len())].matches('\n').count() + 1;
            anyhow!("line {line}: {}", error.message())
        })
    }
}

impl HandlerTable {
    pub(super) fn serves(&self) -> Match {
        match (self.role.clone(), self.task_type) {
            (Some(role), Some(task_type)) => Match::RoleAndType(role, task_type),
            (Some(role), None) => Match::Role(role),
            (None, Some(task_type)) => Match::Type(task_type),
            (None, None) => Match::NoRole,
        }
    }
}
