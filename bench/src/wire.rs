//! Requests as bytes, rendered once and patched in place, and the little that is read out of answers.
//!
//! A task is numbered by its title, so that the ledger can tell whether it was handed out twice. Where an
//! answer does not look as expected it is parsed in full, so a platform that writes its JSON in another
//! order is measured all the same, only with a load that costs more.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// How a title begins; the number of the task follows.
pub(crate) const TITLE: &str = "bench ";
/// Digits of that number.
const NUMBER_DIGITS: usize = 12;
/// Characters of an id.
pub(crate) const ID_CHARS: usize = 36;
/// Stands for an id until one is patched in.
const ID_HOLE: &str = "00000000-0000-0000-0000-000000000000";

/// A request as bytes.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    key: &str,
    body: &str,
) -> Vec<u8> {
    request_with(address, method, path, key, "", body)
}

/// A request as bytes, with further headers, each with its end of line.
fn request_with(
    address: SocketAddr,
    method: &str,
    path: &str,
    key: &str,
    headers: &str,
    body: &str,
) -> Vec<u8> {
    let mut text = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n{headers}"
    );
    if method != "GET" {
        write!(
            text,
            "content-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        )
        .expect("a text takes everything");
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

/// A JSON object of about this many bytes, the same every time but hard to compress.
pub(crate) fn payload(bytes: usize) -> String {
    const FRAME: usize = r#"{"text":""}"#.len();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let letters = (0..bytes.saturating_sub(FRAME)).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + u8::try_from(state % 26).expect("less than 26"))
    });
    format!(r#"{{"text":"{}"}}"#, letters.collect::<String>())
}

/// The title of the task with this number.
pub(crate) fn title(number: u64) -> String {
    format!("{TITLE}{number:0NUMBER_DIGITS$}")
}

/// A request to create a task, whose number is patched in.
#[derive(Clone)]
pub(crate) struct CreateRequest {
    bytes: Vec<u8>,
    number_at: usize,
}

impl CreateRequest {
    /// `more` is further members of the body, each with a comma before it.
    pub(crate) fn new(address: SocketAddr, key: &str, role: &str, input: &str, more: &str) -> Self {
        let body = format!(
            r#"{{"title":"{}","type":"custom","role":"{role}","input":{input}{more}}}"#,
            title(0)
        );
        let bytes = request(address, "POST", "/api/v1/tasks", key, &body);
        let number_at =
            find(&bytes, TITLE.as_bytes()).expect("the title was just written") + TITLE.len();
        Self { bytes, number_at }
    }

    pub(crate) fn numbered(&mut self, number: u64) -> &[u8] {
        let mut rest = number;
        for digit in self.bytes[self.number_at..self.number_at + NUMBER_DIGITS]
            .iter_mut()
            .rev()
        {
            *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
        }
        &self.bytes
    }
}

/// A report on one task, whose id is patched in. Like the reports of our worker it asks for no more than the
/// effect.
#[derive(Clone)]
pub(crate) struct TaskRequest {
    bytes: Vec<u8>,
    id_at: usize,
}

impl TaskRequest {
    pub(crate) fn new(address: SocketAddr, key: &str, operation: &str, body: &str) -> Self {
        let path = format!("/api/v1/tasks/{ID_HOLE}/{operation}");
        let minimal = "prefer: return=minimal\r\n";
        let bytes = request_with(address, "POST", &path, key, minimal, body);
        let id_at = find(&bytes, ID_HOLE.as_bytes()).expect("the path was just written");
        Self { bytes, id_at }
    }

    pub(crate) fn about(&mut self, id: [u8; ID_CHARS]) -> &[u8] {
        self.bytes[self.id_at..self.id_at + ID_CHARS].copy_from_slice(&id);
        &self.bytes
    }
}

/// The task in an answer to a claim or a create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: [u8; ID_CHARS],
    pub(crate) number: u64,
    pub(crate) attempt: u32,
}

/// Reads the task out of an answer.
pub(crate) fn task_in(body: &[u8]) -> anyhow::Result<Seen> {
    if let Some(seen) = scan(body) {
        return Ok(seen);
    }
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        data: Task<'a>,
    }
    #[derive(Deserialize)]
    struct Task<'a> {
        id: &'a str,
        title: &'a str,
        attempt: u32,
    }
    let whole: Whole<'_> = serde_json::from_slice(body)
        .with_context(|| format!("no task in {}", String::from_utf8_lossy(body)))?;
    let number = whole.data.title.strip_prefix(TITLE);
    Ok(Seen {
        id: whole
            .data
            .id
            .as_bytes()
            .try_into()
            .context("an id of another length")?,
        number: number.context("a task of somebody else")?.parse()?,
        attempt: whole.data.attempt,
    })
}

/// The same for the order in which the platform writes its members: id, title, attempt.
fn scan(body: &[u8]) -> Option<Seen> {
    let rest = body.strip_prefix(br#"{"data":{"id":""#)?;
    let (id, rest) = rest.split_first_chunk::<ID_CHARS>()?;
    let rest = after(rest, br#""title":"bench "#)?;
    let (number, rest) = rest.split_first_chunk::<NUMBER_DIGITS>()?;
    let rest = after(rest, br#""attempt":"#)?;
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    Some(Seen {
        id: *id,
        number: digits(number)?,
        attempt: u32::try_from(digits(&rest[..end])?).ok()?,
    })
}

/// Whether the task in an answer is in this state.
pub(crate) fn is_in_state(body: &[u8], state: &str) -> bool {
    let Some(rest) = after(body, br#""state":""#) else {
        return false;
    };
    rest.strip_prefix(state.as_bytes())
        .is_some_and(|rest| rest.first() == Some(&b'"'))
}

/// Fails with the whole answer unless its task is in this state.
pub(crate) fn must_be(body: &[u8], state: &str) -> anyhow::Result<()> {
    ensure!(
        is_in_state(body, state),
        "a task should be {state}: {}",
        String::from_utf8_lossy(body)
    );
    Ok(())
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

fn after<'a>(text: &'a [u8], part: &[u8]) -> Option<&'a [u8]> {
    find(text, part).map(|at| &text[at + part.len()..])
}

/// Where a part first stands in a text.
pub(crate) fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0198a1f0-0000-7000-8000-000000000007";

    #[test]
    fn a_task_is_read_whatever_the_order_of_its_members() {
        let expected = Seen {
            id: ID.as_bytes().try_into().unwrap(),
            number: 42,
            attempt: 3,
        };
        let usual = format!(
            r#"{{"data":{{"id":"{ID}","title":"bench 000000000042","attempt":3,"input":{{}}}}}}"#
        );
        assert_eq!(scan(usual.as_bytes()), Some(expected));
        let other = format!(
            r#"{{"meta":{{}},"data":{{"attempt":3,"title":"bench 000000000042","id":"{ID}"}}}}"#
        );
        assert_eq!(scan(other.as_bytes()), None);
        assert_eq!(task_in(other.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn numbers_and_ids_are_patched_in_place() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let mut create = CreateRequest::new(address, "k", "r", "{}", "");
        let bytes = create.numbered(7);
        assert!(find(bytes, br#""title":"bench 000000000007""#).is_some());
        let mut complete = TaskRequest::new(address, "k", "complete", "{}");
        let bytes = complete.about(ID.as_bytes().try_into().unwrap());
        assert!(find(bytes, format!("/tasks/{ID}/complete").as_bytes()).is_some());
    }

    #[test]
    fn a_payload_has_its_size_and_is_json() {
        let text = payload(200);
        assert_eq!(text.len(), 200);
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }

    #[test]
    fn a_state_is_found_whole() {
        assert!(is_in_state(br#"{"state":"completed"}"#, "completed"));
        assert!(!is_in_state(br#"{"state":"completed"}"#, "complete"));
    }
}
