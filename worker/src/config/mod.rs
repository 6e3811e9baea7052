//! The settings of the binary: flags win over the environment, which wins over the file.
//!
//! Everything is read and checked here, once; what is wrong is refused with a sentence.

mod file;
mod flags;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use secrecy::{ExposeSecret as _, SecretString};

use crate::command::{CommandHandler, KILL_GRACE_DEFAULT, Limits, RESERVED_PREFIX, find_program};
use crate::handler::Match;
use crate::mask::{Mask, SECRET_CHARACTERS_MIN};
use crate::worker::{DRAIN_GRACE_DEFAULT, HEARTBEAT_DEFAULT, Worker, WorkerError};

pub use flags::{Action, Flags, LogFormat};

use file::{File, HandlerTable, SecretSource};

/// The settings, checked.
#[derive(Debug)]
pub struct Config {
    /// Where the platform is.
    pub url: String,
    /// The key to register with.
    pub api_key: SecretString,
    /// The name to register under.
    pub name: String,
    /// How many tasks run at once.
    pub capacity: u32,
    /// How often to beat.
    pub heartbeat: Duration,
    /// How long leases are to last, if not for as long as the platform decides.
    pub lease: Option<Duration>,
    /// How long running tasks may go on after the word to drain.
    pub drain_grace: Duration,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Which log lines are written.
    pub log_filter: String,
    /// What runs the tasks.
    pub handlers: Vec<(Match, CommandHandler)>,
    /// Hides the key and every secret of a handler.
    pub mask: Mask,
}

/// Reads the worker's own environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl Config {
    /// Reads the file that the flags name and puts everything together.
    ///
    /// # Errors
    /// When something is missing, unknown, or contradicts something else.
    pub fn load(flags: &Flags, environment: Environment<'_>) -> anyhow::Result<Self> {
        let (file, beside) = match &flags.config {
            Some(path) => (File::read(path)?, path.parent().map(Path::to_owned)),
            None => (File::default(), None),
        };
        let paths = Paths(beside.unwrap_or_default());
        let mask = Mask::default();

        let url = flags.url.clone().or(file.url);
        let url = url.context(
            "no platform is named: give --url, set STINT_URL, or write url in the configuration file",
        )?;
        let api_key = api_key(
            flags,
            file.api_key.as_deref(),
            file.api_key_file.as_deref(),
            &paths,
        )?;
        mask.add(api_key.expose_secret())
            .context("the API key is too short to be one")?;

        let name = match flags.name.clone().or(file.name) {
            Some(name) => name,
            None => hostname()?,
        };
        let work_dir = flags
            .work_dir
            .clone()
            .or(file.work_dir.map(|path| paths.resolve(&path)))
            .unwrap_or_else(|| std::env::temp_dir().join("stint-worker"));
        let shelf = Shelf {
            work_dir,
            keep_folders: flags.keep_folders || file.keep_folders.unwrap_or(false),
            worker_name: name.clone(),
            kill_grace: file
                .kill_grace_seconds
                .map_or(KILL_GRACE_DEFAULT, Duration::from_secs),
        };
        let mut handlers = Vec::with_capacity(file.handler.len());
        for (number, table) in file.handler.into_iter().enumerate() {
            let serves = table.serves();
            let handler = handler(table, &shelf, &paths, environment, &mask)
                .with_context(|| format!("handler {} ({serves})", number + 1))?;
            handlers.push((serves, handler));
        }
        let seconds =
            |given: Option<u64>, unless: Duration| given.map_or(unless, Duration::from_secs);
        Ok(Self {
            url,
            api_key,
            name,
            capacity: flags.capacity.or(file.capacity).unwrap_or(1),
            heartbeat: seconds(
                flags.heartbeat_seconds.or(file.heartbeat_seconds),
                HEARTBEAT_DEFAULT,
            ),
            lease: flags
                .lease_seconds
                .or(file.lease_seconds)
                .map(Duration::from_secs),
            drain_grace: seconds(
                flags.drain_grace_seconds.or(file.drain_grace_seconds),
                DRAIN_GRACE_DEFAULT,
            ),
            log_format: flags.log_format.or(file.log_format).unwrap_or_default(),
            log_filter: flags
                .log
                .clone()
                .or(file.log)
                .unwrap_or_else(|| "info".to_owned()),
            handlers,
            mask,
        })
    }

    /// Makes the worker.
    ///
    /// # Errors
    /// When the settings cannot work or contradict each other.
    pub fn worker(&self) -> Result<Worker, WorkerError> {
        let mut builder = Worker::builder(&self.url, self.api_key.expose_secret())
            .name(&self.name)
            .capacity(self.capacity)
            .heartbeat(self.heartbeat)
            .drain_grace(self.drain_grace)
            .mask(self.mask.clone());
        if let Some(lease) = self.lease {
            builder = builder.lease(lease);
        }
        for (serves, handler) in &self.handlers {
            builder = builder.shared_handler(serves.clone(), Arc::new(handler.clone()));
        }
        builder.build()
    }
}

/// What all handlers have in common.
struct Shelf {
    work_dir: PathBuf,
    keep_folders: bool,
    worker_name: String,
    kill_grace: Duration,
}

/// Paths in the file are meant from where the file is.
struct Paths(PathBuf);

impl Paths {
    fn resolve(&self, path: &Path) -> PathBuf {
        self.0.join(path)
    }

    fn read_secret(&self, path: &Path) -> anyhow::Result<SecretString> {
        let path = self.resolve(path);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("the file {} cannot be read", path.display()))?;
        Ok(text.trim_end_matches(['\r', '\n']).into())
    }
}

fn api_key(
    flags: &Flags,
    in_file: Option<&str>,
    in_file_by_path: Option<&Path>,
    paths: &Paths,
) -> anyhow::Result<SecretString> {
    let here = Paths(PathBuf::new());
    match (&flags.api_key, &flags.api_key_file) {
        (Some(_), Some(_)) => bail!(
            "the API key is given twice, by --api-key (or STINT_API_KEY) and by --api-key-file; give one"
        ),
        (Some(key), None) => return Ok(key.clone()),
        (None, Some(path)) => return here.read_secret(path),
        (None, None) => {}
    }
    match (in_file, in_file_by_path) {
        (Some(_), Some(_)) => {
            bail!("the configuration file has both api_key and api_key_file; keep one")
        }
        (Some(key), None) => Ok(key.into()),
        (None, Some(path)) => paths.read_secret(path),
        (None, None) => bail!(
            "no API key is given: set STINT_API_KEY, give --api-key-file, \
             or write api_key_file in the configuration file"
        ),
    }
}

fn hostname() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    ensure!(
        !name.is_empty(),
        "this machine has no host name: give --name, or write name in the configuration file"
    );
    Ok(name.to_owned())
}

fn handler(
    table: HandlerTable,
    shelf: &Shelf,
    paths: &Paths,
    environment: Environment<'_>,
    mask: &Mask,
) -> anyhow::Result<CommandHandler> {
    let mut command = table.command.into_iter();
    let program = command
        .next()
        .filter(|program| !program.trim().is_empty())
        .context("command is empty; write it as a list, such as [\"python3\", \"work.py\"]")?;
    // A program beside the file is meant from there, one without a slash is found in PATH.
    let program = if program.contains('/') {
        let program = std::path::absolute(paths.resolve(Path::new(&program)))?;
        program
            .to_str()
            .context("the path of the program is not UTF-8")?
            .to_owned()
    } else {
        program
    };
    check_names(&table.env, &table.pass_env, &table.secrets)?;
    let path = table.env.get("PATH").map(OsString::from);
    let path = path.or_else(|| environment("PATH"));
    ensure!(
        find_program(&program, path.as_deref()).is_some(),
        "the program {program:?} is not there, or may not be executed"
    );
    for (name, seconds) in [
        ("timeout_seconds", table.timeout_seconds),
        ("max_cpu_seconds", table.max_cpu_seconds),
    ] {
        ensure!(seconds != Some(0), "{name} must be at least 1");
    }
    let mut secrets = BTreeMap::new();
    for (name, source) in table.secrets {
        let value = secret(&name, source, paths, environment)?;
        mask.add(value.expose_secret()).with_context(|| {
            format!("the secret {name} has fewer than {SECRET_CHARACTERS_MIN} characters")
        })?;
        secrets.insert(name, value);
    }
    Ok(CommandHandler {
        program,
        arguments: command.collect(),
        env: table.env,
        pass_env: table.pass_env,
        secrets,
        timeout: table.timeout_seconds.map(Duration::from_secs),
        kill_grace: table
            .kill_grace_seconds
            .map_or(shelf.kill_grace, Duration::from_secs),
        limits: Limits {
            memory_bytes: table.max_memory_bytes,
            open_files: table.max_open_files,
            cpu_seconds: table.max_cpu_seconds,
            file_bytes: table.max_file_bytes,
        },
        work_dir: shelf.work_dir.clone(),
        keep_folders: shelf.keep_folders,
        worker_name: shelf.worker_name.clone(),
    })
}

/// Each variable comes from one place, and none takes the place of one that the worker sets.
fn check_names(
    env: &BTreeMap<String, String>,
    pass_env: &[String],
    secrets: &BTreeMap<String, SecretSource>,
) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    let names = env.keys().chain(pass_env).chain(secrets.keys());
    for name in names {
        ensure!(
            !name.is_empty() && !name.contains(['=', '\0']),
            "{name:?} cannot be the name of a variable"
        );
        ensure!(
            !name.starts_with(RESERVED_PREFIX),
            "{name} cannot be given to a command: names that begin with {RESERVED_PREFIX} are set \
             by the worker, and its own key stays its own"
        );
        ensure!(
            seen.insert(name),
            "{name} is given twice, among env, pass_env and secrets; keep one"
        );
    }
    Ok(())
}

fn secret(
    name: &str,
    source: SecretSource,
    paths: &Paths,
    environment: Environment<'_>,
) -> anyhow::Result<SecretString> {
    match source {
        SecretSource::Value(value) => Ok(value),
        SecretSource::File { file } => paths
            .read_secret(&file)
            .with_context(|| format!("the secret {name}")),
        SecretSource::Env { env } => {
            let value = environment(&env)
                .with_context(|| format!("the secret {name}: the variable {env} is not set"))?;
            let value = value
                .into_string()
                .map_err(|_| anyhow::anyhow!("the secret {name}: {env} is not UTF-8"))?;
            Ok(value.into())
        }
    }
}

#[cfg(test)]
mod tests;
