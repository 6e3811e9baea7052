//! The settings of the private server, each with its reason.
//!
//! Those on which correctness rests are arguments of the server, which no file and no ALTER
//! SYSTEM can override. Tuning is a file, which ALTER SYSTEM can.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

use super::PORT;

const MB: u64 = 1024 * 1024;

/// Bounds of `shared_buffers`. Under the lower one checkpoints and evictions dominate; above the
/// upper one the system's own cache does as well, and crash recovery gets longer.
const SHARED_BUFFERS_MIN: u64 = 128 * MB;
const SHARED_BUFFERS_MAX: u64 = 2048 * MB;

/// The arguments of `postgres`.
pub(super) fn arguments(cluster: &Path, socket_dir: &Path) -> Vec<OsString> {
    let fixed = [
        // An acknowledged commit is on disk, and a torn page is repaired.
        "fsync=on".to_owned(),
        "synchronous_commit=on".to_owned(),
        "full_page_writes=on".to_owned(),
        // No network: whoever can enter the socket folder, and nobody else.
        "listen_addresses=".to_owned(),
        format!("port={PORT}"),
        "unix_socket_permissions=0700".to_owned(),
        "password_encryption=scram-sha-256".to_owned(),
        // The log is our file, which we bound; the server just writes to its error output.
        "logging_collector=off".to_owned(),
        "log_destination=stderr".to_owned(),
    ];
    let mut arguments = vec![OsString::from("-D"), cluster.into()];
    let mut set = |setting: OsString| arguments.extend(["-c".into(), setting]);
    fixed.into_iter().for_each(|setting| set(setting.into()));
    let mut socket = OsString::from("unix_socket_directories=");
    socket.push(quoted(socket_dir.as_os_str()));
    set(socket);
    arguments
}

/// The setting is a list, so a folder whose name has a comma must stand in quotes.
fn quoted(folder: &OsStr) -> OsString {
    let mut quoted = OsString::from("\"");
    match folder.to_str() {
        Some(text) => quoted.push(text.replace('"', "\"\"")),
        None => quoted.push(folder),
    }
    quoted.push("\"");
    quoted
}

/// The text of the tuning file, for a machine or container with this much memory.
pub(super) fn tuning(memory_bytes: Option<u64>, has_stat_statements: bool) -> String {
    let memory = memory_bytes.unwrap_or(0);
    let shared_buffers_mb = (memory / 8).clamp(SHARED_BUFFERS_MIN, SHARED_BUFFERS_MAX) / MB;
    let cache_mb = (memory / 2 / MB).max(2 * shared_buffers_mb);
    let preload = if has_stat_statements {
        "pg_stat_statements"
    } else {
        ""
    };
    format!(
        "\
# Written by the platform at every start; changes made here are lost. To change a setting, use
# ALTER SYSTEM, which wins over this file.

# An eighth of the memory: the platform and its workers often share the machine.
shared_buffers = {shared_buffers_mb}MB
# Tells the planner what the system most likely caches; allocates nothing.
effective_cache_size = {cache_mb}MB
# One platform uses a few dozen; each costs memory only while it is open.
max_connections = 100

# Checkpoints by time rather than by volume: fewer full pages written to the log.
max_wal_size = 4GB

# Queue tables turn over completely within seconds, so dead rows must go as quickly.
autovacuum_naptime = 5s
# Statements here are short; compiling them takes longer than running them.
jit = off
# Parallel helpers would take cores from other requests, and need more of /dev/shm than the 64 MB
# that containers have.
max_parallel_workers_per_gather = 0
max_parallel_maintenance_workers = 0
# An abandoned transaction would hold its locks, and keep dead rows from being removed.
idle_in_transaction_session_timeout = 60s

# Shows which statements cost most.
shared_preload_libraries = '{preload}'
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
# Details of an error quote rows, which belong to our users and not into a log.
log_error_verbosity = terse
"
    )
}

/// Preloading a library that is not installed would keep the server from starting.
pub(super) fn has_stat_statements(bin: &Path) -> bool {
    ["lib", "lib/postgresql"].iter().any(|folder| {
        let folder = bin.join("..").join(folder);
        ["so", "dylib"]
            .iter()
            .any(|end| folder.join(format!("pg_stat_statements.{end}")).is_file())
    })
}

/// The memory this process may use: the machine's, or less if a container limits it.
pub(super) fn memory_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total_memory(&text));
    let limits = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let limit = limits
        .iter()
        // Without a limit the file says "max", or a number larger than any machine.
        .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok())
        .min();
    [machine, limit].into_iter().flatten().min()
}

fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_buffers_are_an_eighth_of_memory_within_bounds() {
        let buffers = |memory: Option<u64>| {
            let text = tuning(memory, false);
            let line = text
                .lines()
                .find(|line| line.starts_with("shared_buffers"))
                .unwrap();
            line.to_owned()
        };
        assert_eq!(buffers(None), "shared_buffers = 128MB");
        assert_eq!(buffers(Some(512 * MB)), "shared_buffers = 128MB");
        assert_eq!(buffers(Some(4096 * MB)), "shared_buffers = 512MB");
        assert_eq!(buffers(Some(65536 * MB)), "shared_buffers = 2048MB");
    }

    #[test]
    fn statistics_are_preloaded_only_where_they_exist() {
        assert!(tuning(None, true).contains("shared_preload_libraries = 'pg_stat_statements'\n"));
        assert!(tuning(None, false).contains("shared_preload_libraries = ''\n"));
    }

    #[test]
    fn memory_is_read_in_kilobytes() {
        assert_eq!(
            total_memory("MemTotal:       2048 kB\nMemFree: 1 kB\n"),
            Some(2 * MB)
        );
        assert_eq!(total_memory("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn a_socket_folder_with_a_comma_stays_one_folder() {
        assert_eq!(quoted(OsStr::new("/a,b")), OsString::from("\"/a,b\""));
    }
}
