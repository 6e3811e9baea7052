//! What the processes of a command may use.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};
use tokio::process::Command;

/// What the processes of a command may use. Each process counts for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Address space. Some runtimes reserve far more than they use and fail below some gigabytes.
    pub memory_bytes: Option<u64>,
    /// Open files.
    pub open_files: Option<u64>,
    /// Processor time; beyond it the process is killed.
    pub cpu_seconds: Option<u64>,
    /// The size of a file it writes.
    pub file_bytes: Option<u64>,
}

impl Limits {
    /// Sets the limits of a command that is about to be started. Core dumps are always off.
    pub(super) fn apply_to(self, command: &mut Command) -> std::io::Result<()> {
        let mut wanted = vec![bounded(Resource::RLIMIT_CORE, Some(0))?];
        for (resource, limit) in [
            (Resource::RLIMIT_AS, self.memory_bytes),
            (Resource::RLIMIT_NOFILE, self.open_files),
            (Resource::RLIMIT_CPU, self.cpu_seconds),
            (Resource::RLIMIT_FSIZE, self.file_bytes),
        ] {
            if limit.is_some() {
                wanted.push(bounded(resource, limit)?);
            }
        }
        let set = move || {
            for (resource, soft, hard) in &wanted {
                setrlimit(*resource, *soft, *hard)?;
            }
            Ok(())
        };
        #[expect(
            unsafe_code,
            reason = "between fork and exec only setrlimit is called, on values made before; \
                      it neither allocates nor locks"
        )]
        // SAFETY: see the reason above.
        unsafe {
            command.pre_exec(set);
        }
        Ok(())
    }
}

/// The soft and the hard limit. One may lower one's own limits, not raise them.
fn bounded(resource: Resource, limit: Option<u64>) -> std::io::Result<(Resource, rlim_t, rlim_t)> {
    let (_, hard) = getrlimit(resource)?;
    let soft = limit.unwrap_or(RLIM_INFINITY).min(hard);
    // The signal of the soft limit says what was wrong; the hard one kills who ignores it.
    let hard = if resource == Resource::RLIMIT_CPU {
        soft.saturating_add(1).min(hard)
    } else {
        soft
    };
    Ok((resource, soft, hard))
}
