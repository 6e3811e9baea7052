//! A folder for one attempt.
//!
//! ```text
//! <work_dir>/<task>-<attempt>/
//!   input.json   the task's input
//!   output.json  where the command may write its output
//!   messages.jsonl  what is said to the attempt, a line each
//!   work/        where the command runs; empty at first
//! ```

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stint_protocol::{ClaimedTask, PendingMessage};
use tokio::task::spawn_blocking;
use tracing::warn;

/// The name of the file with the messages.
const MESSAGES: &str = "messages.jsonl";

/// A folder for one attempt. Removed at the end, also when the attempt is dropped.
pub(super) struct Folder {
    path: PathBuf,
    stays: bool,
    /// Kept open: whatever the command puts in its place is not written to.
    messages: Option<Arc<File>>,
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
        let mut folder = Self {
            path,
            stays,
            messages: None,
        };
        let path = folder.path.clone();
        let messages = in_background(move || {
            if path.exists() {
                std::fs::remove_dir_all(&path)?;
            }
            // Tasks may work on what is not for every user's eyes.
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(path.join("work"))?;
            std::fs::write(path.join("input.json"), input)?;
            File::create(path.join(MESSAGES))
        })
        .await?;
        folder.messages = Some(Arc::new(messages));
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

    pub(super) fn messages_file(&self) -> PathBuf {
        self.path.join(MESSAGES)
    }

    /// Writes a message where the command looks for it.
    pub(super) async fn add_message(&self, message: &PendingMessage) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        let file = self.messages.clone();
        in_background(move || match file.as_deref() {
            Some(mut file) => file.write_all(&line),
            None => Ok(()),
        })
        .await
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

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    spawn_blocking(work).await.map_err(std::io::Error::other)?
}
