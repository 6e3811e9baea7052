//! A connection to the platform that costs as little as a client can.
//!
//! The load shares its machine with what it measures, so every microsecond spent here is taken from
//! there. A general HTTP client allocates for every header and goes through pools and timers. Here a call
//! is one write of bytes that were rendered before, one read, and a look at the head of the answer; it takes
//! ten microseconds of CPU (`load_cpu_s_per_1000` of `empty`), nearly all of them in the kernel. Requests
//! follow each other on a connection that stays open, one at a time, as a worker's do.

use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Room for an answer before it has to grow.
const INBOX_BYTES: usize = 8 * 1024;
/// The platform sends about ten headers.
const HEADERS_MAX: usize = 32;

/// One connection that is kept open.
pub(crate) struct Connection {
    stream: TcpStream,
    inbox: Vec<u8>,
    filled: usize,
}

/// What came back.
#[derive(Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    /// Fails with the whole answer unless it has this status.
    pub(crate) fn expect(&self, status: u16, what: &str) -> anyhow::Result<()> {
        if self.status == status {
            return Ok(());
        }
        bail!(
            "{what} was answered with {} instead of {status}: {}",
            self.status,
            String::from_utf8_lossy(self.body)
        );
    }
}

/// Where the body of an answer is.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) bytes: usize,
    body_bytes: usize,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            inbox: vec![0; INBOX_BYTES],
            filled: 0,
        })
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn call(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        self.stream
            .write_all(request)
            .await
            .context("sending a request")?;
        let head = self.read_head().await?;
        let end = head.bytes + head.body_bytes;
        while self.filled < end {
            self.read_more().await?;
        }
        ensure!(
            self.filled == end,
            "more came back than one answer: {}",
            String::from_utf8_lossy(&self.inbox[..self.filled])
        );
        Ok(Answer {
            status: head.status,
            body: &self.inbox[head.bytes..end],
        })
    }

    /// Sends a request whose answer does not end, and returns what comes after its head, as it arrives.
    pub(crate) async fn follow(mut self, request: &[u8]) -> anyhow::Result<Following> {
        self.stream.write_all(request).await?;
        let head = self.read_head().await?;
        ensure!(
            head.status == 200,
            "a stream was answered with {}",
            head.status
        );
        self.inbox.copy_within(head.bytes..self.filled, 0);
        self.filled -= head.bytes;
        Ok(Following { connection: self })
    }

    async fn read_head(&mut self) -> anyhow::Result<Head> {
        self.filled = 0;
        loop {
            self.read_more().await?;
            if let Some(head) = parse_head(&self.inbox[..self.filled])? {
                return Ok(head);
            }
        }
    }

    async fn read_more(&mut self) -> anyhow::Result<()> {
        if self.filled == self.inbox.len() {
            self.inbox.resize(self.inbox.len() * 2, 0);
        }
        let read = self
            .stream
            .read(&mut self.inbox[self.filled..])
            .await
            .context("reading an answer")?;
        ensure!(
            read > 0,
            "the platform closed the connection in the middle of a call"
        );
        self.filled += read;
        Ok(())
    }
}

/// A stream of lines that arrive in chunks.
pub(crate) struct Following {
    connection: Connection,
}

impl Following {
    /// Waits for news and hands out every whole line since. The sizes of chunks are lines too, which
    /// whoever looks for lines of a certain kind passes over.
    pub(crate) async fn lines(&mut self, mut each: impl FnMut(&[u8])) -> anyhow::Result<()> {
        let connection = &mut self.connection;
        connection.read_more().await?;
        let seen = &connection.inbox[..connection.filled];
        let Some(last) = seen.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(());
        };
        for line in seen[..last].split(|byte| *byte == b'\n') {
            each(line);
        }
        connection.inbox.copy_within(last + 1..connection.filled, 0);
        connection.filled -= last + 1;
        Ok(())
    }
}

fn parse_head(bytes: &[u8]) -> anyhow::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_bytes) = response
        .parse(bytes)
        .context("the head of an answer is no HTTP")?
    else {
        return Ok(None);
    };
    let status = response.code.context("an answer without a status")?;
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let body_bytes = match length {
        Some(length) => std::str::from_utf8(length.value)?.trim().parse()?,
        None => 0,
    };
    Ok(Some(Head {
        status,
        bytes: head_bytes,
        body_bytes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_tells_where_its_body_is() {
        let text = b"HTTP/1.1 200 OK\r\nx-a: b\r\nContent-Length: 5\r\n\r\nhello";
        let head = parse_head(text).unwrap().unwrap();
        assert_eq!(
            (head.status, head.body_bytes, &text[head.bytes..]),
            (200, 5, &b"hello"[..])
        );
        assert!(parse_head(&text[..20]).unwrap().is_none());
        let empty = parse_head(b"HTTP/1.1 204 No Content\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!((empty.status, empty.body_bytes), (204, 0));
    }
}
