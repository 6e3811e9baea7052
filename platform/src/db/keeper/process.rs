//! How the programs of PostgreSQL are run: as the right user, knowing little of us, and not
//! outliving us.

use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use std::os::unix::process::CommandExt;

use super::user::ServerUser;

/// What the programs may see of our environment, which may hold secrets and settings named PG*
/// that are meant for other servers.
const KEPT_VARIABLES: [&str; 4] = ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ"];

/// A UTF-8 locale that sorts by bytes and needs no locale package.
pub(super) const LOCALE: &str = if cfg!(target_os = "linux") {
    "C.UTF-8"
} else {
    "C"
};

/// Prepares a program to run as `user`; it gets `at_our_death` if this process dies first.
///
/// The signal is sent when the *thread* that starts the program ends, so that thread must also
/// be the one that waits for it.
pub(super) fn command(program: &Path, user: &ServerUser, at_our_death: Signal) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(
            std::env::vars_os().filter(|(name, _)| KEPT_VARIABLES.iter().any(|kept| name == kept)),
        )
        .env("LC_ALL", LOCALE)
        // A folder every user may enter, and that keeps no file system busy.
        .current_dir("/")
        .stdin(Stdio::null())
        // Ctrl-C in a terminal goes to the whole group. It must reach only us, who then stop
        // the server after everything that uses it.
        .process_group(0);
    if user.is_another {
        command.uid(user.uid).gid(user.gid);
    }
    end_with_us(&mut command, at_our_death);
    command
}

#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "only the child itself can ask to be told of its parent's death"
)]
fn end_with_us(command: &mut Command, signal: Signal) {
    let us = nix::unistd::Pid::this();
    let ask = move || {
        nix::sys::prctl::set_pdeathsig(signal)?;
        // If we died before the child asked, it would never be told.
        if nix::unistd::getppid() != us {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls, both safe in a signal
    // handler, and allocates nothing. It runs after the change of user, which would undo it.
    unsafe { command.pre_exec(ask) };
}

/// Elsewhere a killed platform leaves its server running; the next start ends it.
#[cfg(not(target_os = "linux"))]
fn end_with_us(_command: &mut Command, _signal: Signal) {}
