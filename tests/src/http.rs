//! Requests that the typed client would not send, and answers with their headers.

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::platform::TestPlatform;

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body as JSON; null when it is empty or something else.
    pub body: Value,
    /// Its body as text.
    pub text: String,
}

impl Answer {
    /// Sends a request and reads its answer.
    ///
    /// # Panics
    /// When there is none.
    pub async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("the platform answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("the answer is text");
        Self::new(status, headers, text)
    }

    /// Puts an answer together.
    pub fn new(status: u16, headers: HeaderMap, text: String) -> Self {
        Self {
            status,
            headers,
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        }
    }

    /// A header as text; empty when it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Whether it says that an earlier request had the effect.
    pub fn is_replay(&self) -> bool {
        self.header("idempotent-replay") == "true"
    }

    /// The `data` of the envelope.
    pub fn data(&self) -> &Value {
        &self.body["data"]
    }

    /// The `error` of the envelope.
    pub fn error(&self) -> &Value {
        &self.body["error"]
    }

    /// The reason of a refusal; empty when it has none.
    pub fn reason(&self) -> &str {
        self.error()["details"]["reason_code"]
            .as_str()
            .unwrap_or_default()
    }
}

impl TestPlatform {
    /// A request to the first replica, without a key.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url()))
    }

    /// Gets a path.
    pub async fn get(&self, path: &str, key: &str) -> Answer {
        Answer::of(self.request(Method::GET, path).bearer_auth(key)).await
    }

    /// Posts a body, whatever it is.
    pub async fn post(&self, path: &str, key: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).bearer_auth(key).json(body)).await
    }
}
