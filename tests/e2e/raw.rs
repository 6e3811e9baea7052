//! One HTTP request by hand, to know that it runs before its body has been sent.

use stint_protocol::client::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A request whose head has been read by the platform, which now waits for its body.
pub(crate) struct Begun {
    stream: TcpStream,
    body: String,
}

impl Begun {
    /// Sends the head, and waits until the platform has asked for the body.
    pub(crate) async fn post(client: &Client, key: &str, path: &str, body: String) -> Self {
        let url = client.base_url();
        let host = format!(
            "{}:{}",
            url.host_str().expect("a host"),
            url.port().expect("a port")
        );
        let mut stream = TcpStream::connect(&host).await.expect("the platform");
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\
             Expect: 100-continue\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("connected");
        let mut asked = [0; 25];
        stream.read_exact(&mut asked).await.expect("an answer");
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        Self { stream, body }
    }

    /// Sends the body.
    pub(crate) async fn send_body(&mut self) {
        let body = self.body.as_bytes();
        self.stream.write_all(body).await.expect("connected");
    }

    /// Reads the whole answer.
    pub(crate) async fn answer(mut self) -> String {
        let mut answer = String::new();
        let read = self.stream.read_to_string(&mut answer).await;
        read.expect("the answer comes to its end");
        answer
    }
}
