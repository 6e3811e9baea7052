//! Reads what a command prints, line by line.

use std::collections::VecDeque;

use stint_protocol::{Json, Timestamp};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

use super::output::Output;
use crate::logs::{LINE_BYTES_MAX, LogSink, Stream, now};
use crate::report::OUTPUT_BYTES_MAX;

/// How many of the last lines of stderr a failure quotes.
const TAIL_LINES: usize = 10;

/// How much of each of them.
const TAIL_LINE_BYTES: usize = 500;

/// Hands over each line, without its end, and whether it was cut at `bytes_max`.
///
/// Never stops reading before the end, so that a command never waits for us.
pub(super) async fn read_lines<R: AsyncRead + Unpin>(
    from: Option<R>,
    bytes_max: usize,
    mut each: impl FnMut(&[u8], bool),
) {
    let Some(from) = from else { return };
    let mut reader = BufReader::with_capacity(64 * 1024, from);
    let mut line = Vec::new();
    let mut was_cut = false;
    // A broken pipe is an end like any other.
    while let Ok(piece) = reader.fill_buf().await
        && !piece.is_empty()
    {
        let (part, used, has_ended) = match piece.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&piece[..end], end + 1, true),
            None => (piece, piece.len(), false),
        };
        let room = bytes_max - line.len();
        was_cut |= part.len() > room;
        line.extend_from_slice(&part[..part.len().min(room)]);
        reader.consume(used);
        if has_ended {
            each(line.strip_suffix(b"\r").unwrap_or(&line), was_cut);
            line.clear();
            was_cut = false;
        }
    }
    if !line.is_empty() {
        each(&line, was_cut);
    }
}

/// The lines of stdout. The last one that is JSON may be the output, so it is kept back.
pub(super) struct StdoutLines<'a> {
    logs: &'a LogSink,
    candidate: Option<Candidate>,
    line_bytes_max: usize,
}

struct Candidate {
    text: String,
    at: Timestamp,
    is_whole: bool,
}

impl<'a> StdoutLines<'a> {
    pub(super) fn new(logs: &'a LogSink) -> Self {
        Self {
            logs,
            candidate: None,
            line_bytes_max: OUTPUT_BYTES_MAX.max(LINE_BYTES_MAX + logs.mask().longest()),
        }
    }

    /// Enough for an output, and for masking a secret that lies across the cut of a log line.
    pub(super) fn line_bytes_max(&self) -> usize {
        self.line_bytes_max
    }

    pub(super) fn line(&mut self, line: &[u8], was_cut: bool) {
        let text = String::from_utf8_lossy(line);
        if !may_be_output(&text, was_cut) {
            self.logs.line(Stream::Stdout, &text);
            return;
        }
        // The one before was not the last after all.
        self.give_up_candidate();
        self.candidate = Some(Candidate {
            text: text.into_owned(),
            at: now(),
            is_whole: !was_cut,
        });
    }

    /// Makes the line that was kept back an ordinary line of the log.
    pub(super) fn give_up_candidate(&mut self) {
        if let Some(candidate) = self.candidate.take() {
            self.logs
                .line_at(Stream::Stdout, &candidate.text, candidate.at);
        }
    }

    pub(super) fn into_candidate(mut self) -> Option<Output> {
        let candidate = self.candidate.take()?;
        if !candidate.is_whole {
            return Some(Output::TooLarge);
        }
        let json = Json::from_text(candidate.text.trim().to_owned());
        Some(Output::Json(json.expect("it was found to be JSON")))
    }
}

/// Whether a line is JSON, or was cut but looks as if it had been.
fn may_be_output(text: &str, was_cut: bool) -> bool {
    let trimmed = text.trim();
    if was_cut {
        return trimmed.starts_with(['{', '[', '"']);
    }
    // Most lines begin with a letter that no JSON begins with.
    let begins_well = trimmed.starts_with(|c: char| "{[\"-tfn".contains(c) || c.is_ascii_digit());
    begins_well && serde_json::from_str::<serde::de::IgnoredAny>(trimmed).is_ok()
}

/// The lines of stderr, the last of which explain a failure.
pub(super) struct StderrTail<'a> {
    logs: &'a LogSink,
    tail: VecDeque<String>,
    line_bytes_max: usize,
}

impl<'a> StderrTail<'a> {
    pub(super) fn new(logs: &'a LogSink) -> Self {
        Self {
            logs,
            tail: VecDeque::with_capacity(TAIL_LINES),
            line_bytes_max: LINE_BYTES_MAX + 1 + logs.mask().longest(),
        }
    }

    pub(super) fn line_bytes_max(&self) -> usize {
        self.line_bytes_max
    }

    pub(super) fn line(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        self.logs.line(Stream::Stderr, &text);
        if text.trim().is_empty() {
            return;
        }
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        // Masked here, before a cut could leave half a secret.
        let (shown, _) = self.logs.mask().hide_up_to(&text, TAIL_LINE_BYTES);
        self.tail.push_back(shown);
    }

    pub(super) fn text(&self) -> String {
        let lines: Vec<&str> = self.tail.iter().map(String::as_str).collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::tests::sink;
    use crate::mask::Mask;

    #[tokio::test]
    async fn lines_end_at_line_ends_and_are_cut_at_the_limit() {
        let text = b"one\r\ntwo\n\nthis is long\nlast";
        let mut lines = Vec::new();
        read_lines(Some(&text[..]), 7, |line, was_cut| {
            lines.push((String::from_utf8(line.to_vec()).unwrap(), was_cut));
        })
        .await;
        let expected = [
            ("one", false),
            ("two", false),
            ("", false),
            ("this is", true),
            ("last", false),
        ];
        assert_eq!(lines, expected.map(|(line, cut)| (line.to_owned(), cut)));
    }

    fn candidate_and_log(lines: &[&str]) -> (Option<String>, Vec<String>) {
        let (sink, mut logged) = sink(&Mask::default());
        let mut stdout = StdoutLines::new(&sink);
        for line in lines {
            stdout.line(line.as_bytes(), false);
        }
        let output = stdout.into_candidate().map(|output| match output {
            Output::Json(json) => json.text().to_owned(),
            Output::TooLarge => "too large".to_owned(),
        });
        let logged = logged.take().into_iter().map(|(_, text)| text).collect();
        (output, logged)
    }

    #[test]
    fn the_last_line_that_is_json_is_the_output_and_not_logged() {
        let (output, logged) = candidate_and_log(&["hello", "{\"a\":1}", "{ \"a\": 2 }", "bye"]);
        assert_eq!(output.as_deref(), Some("{ \"a\": 2 }"));
        assert_eq!(logged, ["hello", "{\"a\":1}", "bye"]);
    }

    #[test]
    fn any_json_value_can_be_the_output() {
        for value in ["42", "-1.5", "\"text\"", "[1,2]", "true", "null"] {
            assert_eq!(candidate_and_log(&[value]).0.as_deref(), Some(value));
        }
        for text in ["", "nothing", "{broken", "12 monkeys", "{} {}"] {
            assert_eq!(candidate_and_log(&[text]).0, None, "{text}");
        }
    }

    #[test]
    fn json_that_was_cut_is_known_to_be_too_large() {
        let (sink, _logged) = sink(&Mask::default());
        let mut stdout = StdoutLines::new(&sink);
        stdout.line(b"{\"a\": \"xxx", true);
        assert!(matches!(stdout.into_candidate(), Some(Output::TooLarge)));
    }

    #[test]
    fn the_tail_keeps_the_last_lines_with_secrets_masked() {
        let mask = Mask::default();
        mask.add("hunter2hunter2").unwrap();
        let (sink, _logged) = sink(&mask);
        let mut stderr = StderrTail::new(&sink);
        for number in 0..20 {
            stderr.line(format!("line {number} hunter2hunter2").as_bytes());
        }
        let text = stderr.text();
        assert!(
            text.starts_with("line 10 ***\n") && text.ends_with("line 19 ***"),
            "{text}"
        );
    }
}
