//! Shows the job while it runs: log lines, and below them a bar.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use stint_protocol::Task;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::follow::{Board, Counts};

/// Between two looks at the board.
const TURN: Duration = Duration::from_millis(100);

/// Between two lines about the progress where there is no terminal.
const REPORT: Duration = Duration::from_secs(2);

/// How wide the bar is.
const BAR_WIDTH: usize = 30;

/// How much of a log line fits beside others.
const LINE_WIDTH: usize = 100;

/// Shows the board until it is closed.
pub(crate) struct Screen {
    closing: CancellationToken,
    showing: AbortOnDropHandle<()>,
}

impl Screen {
    /// Begins to show, and makes the file `half` when half of the tasks are completed.
    pub(crate) fn open(board: &Arc<Board>, half: Option<PathBuf>) -> Self {
        let closing = CancellationToken::new();
        let show = show(Arc::clone(board), half, closing.clone());
        Self {
            closing,
            showing: AbortOnDropHandle::new(tokio::spawn(show)),
        }
    }

    /// Shows what is left.
    pub(crate) async fn close(self) {
        self.closing.cancel();
        drop(self.showing.await);
    }
}

async fn show(board: Arc<Board>, mut half: Option<PathBuf>, closing: CancellationToken) {
    let is_terminal = std::io::stdout().is_terminal();
    let mut reported = (Counts::default(), Instant::now());
    loop {
        let is_last = closing.is_cancelled();
        let counts = board.counts();
        if counts.completed * 2 >= counts.wanted
            && let Some(path) = half.take()
            && let Err(error) = std::fs::write(&path, "")
        {
            println!("{} cannot be written: {error}", path.display());
        }
        let lines = board.new_lines();
        if is_terminal {
            let mut text = String::from("\r\x1b[K");
            for line in lines {
                text.extend(line.chars().filter(|c| !c.is_control()).take(LINE_WIDTH));
                text.push('\n');
            }
            text.push_str(&bar(counts));
            print!("{text}");
            // A closed terminal ends the program by itself.
            drop(std::io::stdout().flush());
        } else if counts != reported.0 && (is_last || reported.1.elapsed() >= REPORT) {
            println!("{}", bar(counts));
            reported = (counts, Instant::now());
        }
        if is_last {
            return;
        }
        tokio::select! {
            () = sleep(TURN) => {}
            () = closing.cancelled() => {}
        }
    }
}

fn bar(counts: Counts) -> String {
    let full = counts.completed * BAR_WIDTH / counts.wanted.max(1);
    let lost = match counts.lost {
        0 => String::new(),
        lost => format!(", {lost} failed"),
    };
    format!(
        "[{}{}] {} of {} tasks completed, {} running{lost}",
        "#".repeat(full),
        ".".repeat(BAR_WIDTH.saturating_sub(full)),
        counts.completed,
        counts.wanted,
        counts.running,
    )
}

/// The result of the job, as a sentence.
pub(crate) fn result(totals: &Task) -> String {
    if let Some(error) = &totals.error {
        return format!("The job has no result: {}", error.message);
    }
    let output = totals.output.as_ref().map(stint_protocol::Json::value);
    let number = |name: &str| {
        let value = output.as_ref().and_then(|output| output.get(name));
        value.map_or_else(|| "?".to_owned(), ToString::to_string)
    };
    format!(
        "Result: {} files, {} of them different; {} lines, {} words, {} bytes.",
        number("files"),
        number("different_files"),
        number("lines"),
        number("words"),
        number("bytes"),
    )
}
