//! The program's own log, with secrets masked.

use std::io::Write;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{Config, LogFormat};
use crate::mask::Mask;

/// Begins to write the log to stderr.
///
/// # Errors
/// When the filter cannot be read, or something else writes the log already.
pub fn open(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log_filter)
        .with_context(|| format!("the log filter {:?} cannot be read", config.log_filter))?;
    let journal = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Masked(config.mask.clone()));
    let opened = match config.log_format {
        LogFormat::Human => journal.try_init(),
        LogFormat::Json => journal.json().flatten_event(true).try_init(),
    };
    opened.map_err(|error| anyhow::anyhow!("the log cannot be opened: {error}"))
}

/// Writes to stderr what the mask leaves.
struct Masked(Mask);

impl<'a> MakeWriter<'a> for Masked {
    type Writer = MaskedLine<'a, std::io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        MaskedLine {
            mask: &self.0,
            to: std::io::stderr(),
        }
    }
}

/// Takes a whole line with each write, as the subscriber hands it over.
struct MaskedLine<'a, W> {
    mask: &'a Mask,
    to: W,
}

impl<W: Write> Write for MaskedLine<'_, W> {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let shown = self.mask.hide(&String::from_utf8_lossy(line));
        self.to.write_all(shown.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_reach_the_log() {
        let mask = Mask::default();
        mask.add("st_worker_secret").unwrap();
        let mut written = Vec::new();
        let mut line = MaskedLine {
            mask: &mask,
            to: &mut written,
        };
        line.write_all(b"key=st_worker_secret\n").unwrap();
        assert_eq!(written, b"key=***\n");
    }
}
