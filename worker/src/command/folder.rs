//! A folder for one attempt.
//!
//! ```text
//! <work_dir>/<task>-<attempt>/
//!   input.json   the task's input
//!   output.json  where the command may write its output
//!   work/        where the command runs; empty at first
//! ```

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use stint_protocol::ClaimedTask;
use tokio::task::spawn_blocking;
use tracing::warn;

/// A folder for one attempt. Removed at the end, also when the attempt is dropped.
pub(super) struct Folder {
    path: PathBuf,
    stays: bool,
}

impl Folder {
    /// Makes the folder anew, whatever an earlier process may have left there.
    pub(super) async fn make(
        work_dir: &Path,
        task: &ClaimedTask,
        stays: bool,
    ) -> std::io::Result<Self> {
        let work_dir = std::path::absolute(work_dir)?;
        let path = work_dir.join(format!("{}-{}", task.id, task.attempt));
        let input = task.input.text().to_owned();
        let folder = Self { path, stays };
        let path = folder.path.clone();
        in_background(move || {
            if path.exists() {
                std::fs::remove_dir_all(&path)?;
            }
            // Tasks may work on what is not for every user's eyes.
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(path.join("work"))?;
            std::fs::write(path.join("input.json"), input)
        })
        .await?;
        Ok(folder)
    }

    pub(super) fn cwd(&self) -> PathBuf {
        self.path.join("work")
    }

    pub(super) fn input_file(&self) -> PathBuf {
        self.path.join("input.json")
    }

    pub(super) fn output_file(&self) -> PathBuf {
        self.path.join("output.json")
    }

    /// Removes the folder, unless it is to stay.
    pub(super) async fn remove(mut self) {
        if std::mem::replace(&mut self.stays, true) {
            return;
        }
        let path = self.path.clone();
        if let Err(error) = in_background(move || std::fs::remove_dir_all(path)).await {
            warn!(%error, folder = %self.path.display(), "the folder of an attempt could not be removed");
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.stays
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            warn!(%error, folder = %self.path.display(), "the folder of an attempt could not be removed");
        }
    }
}

async fn in_background(
    work: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) -> std::io::Result<()> {
    spawn_blocking(work).await.map_err(std::io::Error::other)?
}
