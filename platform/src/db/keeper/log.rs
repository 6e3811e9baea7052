//! The server's log: a file it appends to by itself, so that its last words are kept even when
//! we are dead, and which we keep from growing without end.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Size at which the log is moved to its older half. Two halves hold weeks of ordinary days.
const LOG_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Lines shown when the server ended by itself.
const TAIL_LINES: usize = 20;

/// Enough for the last lines, however long the file is.
const TAIL_BYTES_MAX: u64 = 16 * 1024;

#[derive(Clone, Debug)]
pub(super) struct LogFile {
    path: PathBuf,
}

impl LogFile {
    pub(super) fn in_folder(root: &Path) -> Self {
        Self {
            path: root.join("postgres.log"),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the log for the server to append to.
    pub(super) fn open(&self) -> anyhow::Result<File> {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
            .with_context(|| format!("opening {}", self.path.display()))
    }

    pub(super) fn len(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// Moves a log that has grown too long to its older half.
    ///
    /// Copied and emptied rather than renamed, because the server keeps the file open; since it
    /// appends, it goes on at the new end. A line written in between may be lost.
    pub(super) fn rotate(&self) -> anyhow::Result<()> {
        self.rotate_above(LOG_BYTES_MAX)
    }

    fn rotate_above(&self, bytes_max: u64) -> anyhow::Result<()> {
        if self.len() <= bytes_max {
            return Ok(());
        }
        let older = self.path.with_extension("log.1");
        let rotate = || {
            fs::copy(&self.path, &older)?;
            OpenOptions::new().write(true).open(&self.path)?.set_len(0)
        };
        rotate().with_context(|| format!("rotating {}", self.path.display()))
    }

    /// The last lines written since the file was `from` bytes long.
    pub(super) fn tail(&self, from: u64) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.path)?;
            let end = file.metadata()?.len();
            // A rotation since then has put everything of interest at the beginning.
            let from = if from > end { 0 } else { from };
            file.seek(SeekFrom::Start(
                from.max(end.saturating_sub(TAIL_BYTES_MAX)),
            ))?;
            let mut bytes = Vec::new();
            file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let lines: Vec<&str> = text.lines().collect();
                lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
            }
            Err(error) => format!("({} cannot be read: {error})", self.path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_the_last_lines_of_this_launch_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let log = LogFile::in_folder(folder.path());
        let mut file = log.open().unwrap();
        writeln!(file, "before").unwrap();
        let from = log.len();
        (0..30).for_each(|number| writeln!(file, "line {number}").unwrap());

        let tail = log.tail(from);
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(
            tail.starts_with("line 10\n") && tail.ends_with("line 29"),
            "{tail}"
        );
        assert_eq!(log.tail(log.len()), "");
    }

    #[test]
    fn a_writer_goes_on_in_the_emptied_file_after_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let log = LogFile::in_folder(folder.path());
        let mut file = log.open().unwrap();
        writeln!(file, "a long first part").unwrap();
        log.rotate_above(5).unwrap();
        writeln!(file, "then").unwrap();

        assert_eq!(fs::read_to_string(log.path()).unwrap(), "then\n");
        let older = fs::read_to_string(folder.path().join("postgres.log.1")).unwrap();
        assert_eq!(older, "a long first part\n");
        log.rotate_above(5).unwrap();
        assert_eq!(log.len(), 5, "a log within its bound stays");
    }
}
