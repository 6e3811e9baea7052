//! The typed client: one method per operation, named like the operation.
//!
//! A method sends one request and gives back what the platform answered, without its envelope. It
//! never repeats anything: whoever calls knows what a repetition would mean, and
//! [`ClientError::is_safe_to_repeat`] tells what the platform promises about it.
//!
//! The methods stand beside the domain they belong to; here is what all of them share.

mod activations;
mod agents;
mod approvals;
mod briefs;
mod error;
mod events;
mod gates;
mod handoffs;
mod keys;
mod logs;
mod messages;
mod metering;
mod orchestrator;
mod people;
mod playbooks;
mod sse;
mod steering;
mod system;
mod tasks;
mod tenants;
mod work_item_tasks;
mod work_items;
mod workers;
mod workflows;
mod workspaces;

use std::sync::{Arc, Once, PoisonError, RwLock};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::ClientError;
pub use orchestrator::Steering;
pub use sse::{EntryStream, Streamed};
pub use work_item_tasks::TaskPlace;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer may take, unless the request itself asks the platform to wait.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the answer to a report may take: it is short work, and repeating it does no harm. Long enough to
/// send the largest output over a slow line.
const REPORT_TIMEOUT: Duration = Duration::from_secs(15);

/// How much longer than the wait it asked for a waiting claim may take.
const WAIT_MARGIN: Duration = Duration::from_secs(5);

/// How long a connection may be silent before the other machine is asked whether it is still there, and
/// how long between two questions. After three without an answer the connection is over.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// How long the other machine may take to acknowledge what was sent. Without a limit of ours it is a quarter
/// of an hour.
#[cfg(target_os = "linux")]
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);

/// How long a stream may be silent. The platform sends a comment far more often.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Filters and paging of a list, such as `&[("state", "ready"), ("page", "2")]`.
pub type Filters<'a> = &'a [(&'a str, &'a str)];

/// What a method of the client gives back.
pub type Result<T> = std::result::Result<T, ClientError>;

/// Talks to one platform with one key. Cloning is cheap and shares the connections.
#[derive(Clone)]
pub struct Client {
    http: Arc<RwLock<reqwest::Client>>,
    base_url: Url,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// Makes a client that presents `api_key` with every request. Nothing is sent yet.
    ///
    /// # Errors
    /// When the address is not an `http` or `https` URL, or the key cannot be a key.
    pub fn new(base_url: &str, api_key: &str) -> Result<Self> {
        Self::without_key(base_url)?.with_key(api_key)
    }

    /// Makes a client that presents no key: for health, readiness and the API description.
    ///
    /// # Errors
    /// When the address is not an `http` or `https` URL.
    pub fn without_key(base_url: &str) -> Result<Self> {
        static PROVIDER: Once = Once::new();
        // An error means that the program has chosen a provider of its own, which is as good.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));

        let base_url = parse_base_url(base_url)?;
        let http = without_connections()?;
        Ok(Self {
            http: Arc::new(RwLock::new(http)),
            base_url,
            authorization: None,
        })
    }

    /// The same client with another key, sharing the connections.
    ///
    /// # Errors
    /// When the key has characters that no key has.
    pub fn with_key(&self, api_key: &str) -> Result<Self> {
        if api_key.trim().is_empty() {
            return Err(ClientError::Settings("the API key is empty".to_owned()));
        }
        let mut header = HeaderValue::from_str(&format!("Bearer {api_key}"))
            .ok()
            .filter(|_| api_key.chars().all(|c| c.is_ascii_graphic()))
            .ok_or_else(|| {
                ClientError::Settings("the API key has characters that no key has".to_owned())
            })?;
        header.set_sensitive(true);
        Ok(Self {
            authorization: Some(header),
            ..self.clone()
        })
    }

    /// Makes new connections from now on, and so do all who share them. Requests that are under way keep theirs.
    ///
    /// For when answers fail to come: a machine in between may have forgotten its connections without telling
    /// anyone, and each that waits to be used again would cost one more request its time.
    pub fn forget_connections(&self) {
        // The same settings have worked before.
        if let Ok(http) = without_connections() {
            *self.http.write().unwrap_or_else(PoisonError::into_inner) = http;
        }
    }

    /// The address of the platform.
    pub fn base_url(&self) -> &Url {
        &self.base_url
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.base_url.clone();
        // A bare host has the path "/".
        let prefix = self.base_url.path().trim_end_matches('/');
        url.set_path(&format!("{prefix}{path}"));
        let http = self.http.read().unwrap_or_else(PoisonError::into_inner);
        let request = http.request(method, url).timeout(REQUEST_TIMEOUT);
        match &self.authorization {
            Some(key) => request.header(AUTHORIZATION, key),
            None => request,
        }
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    fn post(&self, path: &str, body: &impl Serialize) -> RequestBuilder {
        self.request(Method::POST, path).json(body)
    }

    /// A report of a holder.
    fn report(&self, path: &str, body: &impl Serialize) -> RequestBuilder {
        self.post(path, body).timeout(REPORT_TIMEOUT)
    }

    fn patch(&self, path: &str, body: &impl Serialize) -> RequestBuilder {
        self.request(Method::PATCH, path).json(body)
    }

    fn put(&self, path: &str, body: &impl Serialize) -> RequestBuilder {
        self.request(Method::PUT, path).json(body)
    }

    fn delete(&self, path: &str) -> RequestBuilder {
        self.request(Method::DELETE, path)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("base_url", &self.base_url.as_str())
            .finish_non_exhaustive()
    }
}

/// An answer without its envelope.
#[derive(serde::Deserialize)]
struct Data<T> {
    data: T,
}

/// The body of a request that says nothing.
#[derive(Serialize)]
struct Nothing {}

fn without_connections() -> Result<reqwest::Client> {
    let http = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(SILENCE_MAX)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEPALIVE)
        .tcp_keepalive_interval(KEEPALIVE)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("stint/", env!("CARGO_PKG_VERSION")));
    #[cfg(target_os = "linux")]
    let http = http.tcp_user_timeout(ACKNOWLEDGED_WITHIN);
    http.build()
        .map_err(|error| ClientError::Settings(error.to_string()))
}

fn parse_base_url(text: &str) -> Result<Url> {
    let url = Url::parse(text.trim_end_matches('/'))
        .map_err(|error| ClientError::Settings(format!("the URL cannot be read: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(ClientError::Settings(
            "the URL must begin with http:// or https:// and name a host".to_owned(),
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ClientError::Settings(
            "the URL must not hold a user or password; give an API key instead".to_owned(),
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(ClientError::Settings(
            "the URL must not have a query or fragment".to_owned(),
        ));
    }
    Ok(url)
}

/// The answer's `data`.
async fn data<T: DeserializeOwned>(request: RequestBuilder) -> Result<T> {
    whole::<Data<T>>(request).await.map(|answer| answer.data)
}

/// The answer's `data`, or nothing when there was nothing to answer with (204).
async fn data_if_any<T: DeserializeOwned>(request: RequestBuilder) -> Result<Option<T>> {
    let response = accepted(request).await?;
    if response.status() == StatusCode::NO_CONTENT {
        return Ok(None);
    }
    parse::<Data<T>>(response)
        .await
        .map(|answer| Some(answer.data))
}

/// The whole answer, for those that carry more than `data`.
async fn whole<T: DeserializeOwned>(request: RequestBuilder) -> Result<T> {
    parse(accepted(request).await?).await
}

/// No answer but that the request was accepted.
async fn done(request: RequestBuilder) -> Result<()> {
    let response = accepted(request).await?;
    response.bytes().await.map_err(ClientError::Unreachable)?;
    Ok(())
}

/// The response, once its status says that the request was accepted.
async fn accepted(request: RequestBuilder) -> Result<Response> {
    let response = request.send().await.map_err(ClientError::Unreachable)?;
    if response.status().is_success() {
        return Ok(response);
    }
    Err(error::refused(response).await)
}

async fn parse<T: DeserializeOwned>(response: Response) -> Result<T> {
    let status = response.status().as_u16();
    let body = response.bytes().await.map_err(ClientError::Unreachable)?;
    serde_json::from_slice(&body).map_err(|error| ClientError::Unexpected {
        status,
        message: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_end_in_a_slash_or_a_path() {
        for (given, path) in [
            ("http://localhost:7000", "/api/v1/tasks"),
            ("http://localhost:7000/", "/api/v1/tasks"),
            ("https://host/stint/", "/stint/api/v1/tasks"),
        ] {
            let client = Client::new(given, "st_agent_x").unwrap();
            let request = client.get("/api/v1/tasks").build().unwrap();
            assert_eq!(request.url().path(), path, "{given}");
        }
    }

    #[test]
    fn a_useless_address_is_refused() {
        for given in [
            "",
            "localhost:7000",
            "ftp://host",
            "http://a:b@host",
            "http://host?x=1",
        ] {
            assert!(
                matches!(
                    Client::new(given, "st_agent_x"),
                    Err(ClientError::Settings(_))
                ),
                "{given}"
            );
        }
    }

    #[test]
    fn the_key_is_not_in_the_debug_text() {
        let client = Client::new("http://localhost", "st_agent_hidden").unwrap();
        assert!(!format!("{client:?}").contains("hidden"));
        let request = client.get("/x").build().unwrap();
        assert!(!format!("{request:?}").contains("hidden"));
    }

    #[test]
    fn a_key_with_a_line_break_is_refused() {
        assert!(Client::new("http://localhost", "st_agent\nx").is_err());
        assert!(Client::new("http://localhost", " ").is_err());
    }
}
