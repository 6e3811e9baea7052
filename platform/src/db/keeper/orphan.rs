//! A server whose platform is gone.
//!
//! We hold the lock of the folder, so a server that still runs in it has lost its platform. It
//! is ending already, or is asked to, and is waited for: two servers on one cluster would
//! destroy it.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tracing::{info, warn};

use super::PORT;
use super::folder::Folder;

/// An orderly shutdown writes a checkpoint, which takes as long as the disk takes.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(60);

/// After that it is told to end at once, and to recover at the next start.
const QUIT_PATIENCE: Duration = Duration::from_secs(15);

const POLL: Duration = Duration::from_millis(50);

/// Returns when no server runs in the folder, with its traces out of the way of the next one.
pub(super) fn settle(folder: &Folder) -> anyhow::Result<()> {
    let pid_file = folder.cluster.join("postmaster.pid");
    if let Some(pid) = pid_of(&read(&pid_file)?).filter(|pid| is_server_of(*pid, &folder.cluster)) {
        info!("waiting for the PostgreSQL server of an earlier platform to end (process {pid})");
        end(pid)?;
    }
    // A server that was killed leaves its file, and its number may mean another program by now,
    // or a dead process that nobody has collected.
    let left = read(&pid_file)?;
    if pid_of(&left).is_some_and(exists) {
        disown(&pid_file, &left)?;
    }
    // With no server alive these are only names, but PostgreSQL would believe a process number
    // in them that some other program has been given since.
    for name in [format!(".s.PGSQL.{PORT}"), format!(".s.PGSQL.{PORT}.lock")] {
        match fs::remove_file(folder.socket_dir.join(&name)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("removing the old {name}")),
        }
    }
    Ok(())
}

fn end(pid: Pid) -> anyhow::Result<()> {
    // On Linux it has been told by the kernel; hearing it twice does no harm.
    for (signal, patience) in [
        (Signal::SIGINT, SHUTDOWN_PATIENCE),
        (Signal::SIGQUIT, QUIT_PATIENCE),
    ] {
        match kill(pid, signal) {
            Ok(()) => {}
            Err(Errno::ESRCH) => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("ending process {pid}")),
        }
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if !is_alive(pid) {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        warn!(
            "PostgreSQL (process {pid}) has not ended {} s after {signal}",
            patience.as_secs()
        );
    }
    bail!(
        "the PostgreSQL server of an earlier platform (process {pid}) does not end; look at what \
         keeps it, most likely the disk, and start again"
    )
}

/// Says in the file of a dead server that its process number means nothing.
///
/// PostgreSQL would refuse to start as long as the number exists. The file itself must stay: its last line leads to shared memory that processes of the
/// dead server may still use. A server takes the number of its own parent, us, for stale.
fn disown(pid_file: &Path, text: &str) -> anyhow::Result<()> {
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    let write = || {
        // The folder is the server user's, who must not make us write elsewhere through a link.
        let mut file = OpenOptions::new()
            .write(true)
            .truncate(true)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(pid_file)?;
        write!(file, "{}\n{rest}", std::process::id())
    };
    write().with_context(|| format!("writing {}", pid_file.display()))
}

fn pid_of(text: &str) -> Option<Pid> {
    let pid = text.lines().next()?.trim().parse::<i32>().ok()?;
    (pid > 0 && pid != Pid::this().as_raw()).then(|| Pid::from_raw(pid))
}

fn read(pid_file: &Path) -> anyhow::Result<String> {
    match fs::read_to_string(pid_file) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("reading {}", pid_file.display())),
    }
}

fn exists(pid: Pid) -> bool {
    kill(pid, None) != Err(Errno::ESRCH)
}

fn is_alive(pid: Pid) -> bool {
    exists(pid) && !is_zombie(pid)
}

/// A dead process that nobody has collected, as under a first process that is no init.
fn is_zombie(pid: Pid) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('Z'))
}

/// True if the process is a live server of this cluster, which its arguments name. Where they
/// cannot be read, a live process counts as one: waiting in vain is better than two servers.
fn is_server_of(pid: Pid, cluster: &Path) -> bool {
    if !is_alive(pid) {
        return false;
    }
    let Ok(arguments) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return is_alive(pid);
    };
    let cluster = cluster.as_os_str().as_encoded_bytes();
    arguments
        .split(|byte| *byte == 0)
        .any(|argument| argument == cluster)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_process_number_is_disowned_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("postmaster.pid");
        let text = "1\n/data\n17\n5432\n/run\n\n 123 456\nready\n";
        fs::write(&file, text).unwrap();

        assert!(!is_server_of(
            Pid::from_raw(1),
            Path::new("/data/of/nobody")
        ));
        disown(&file, text).unwrap();

        let left = fs::read_to_string(&file).unwrap();
        assert_eq!(pid_of(&left), None, "our own number is no server's");
        assert_eq!(
            left.split_once('\n').unwrap().1,
            text.split_once('\n').unwrap().1
        );
    }

    #[test]
    fn an_empty_or_odd_file_names_no_server() {
        assert_eq!(pid_of(""), None);
        assert_eq!(pid_of("-5\n"), None);
        assert_eq!(pid_of("soon\n"), None);
        assert_eq!(pid_of("1\n"), Some(Pid::from_raw(1)));
    }
}
