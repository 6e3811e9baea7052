//! What every request has, whatever it asks for: an id, a moment, a line in the log if it fails.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderValue;
use protocol::{Meta, Timestamp};
use tower::Service;
use tracing::Instrument;
use uuid::Uuid;

use super::operation::Operation;
use crate::app::App;
use crate::error::Error;

/// Longest `x-request-id` that is taken over from the caller.
const REQUEST_ID_BYTES_MAX: usize = 128;
const REQUEST_ID_HEADER: &str = "x-request-id";

tokio::task_local! {
    static REQUEST_ID: RequestId;
}

/// The id under which this request is found in the log.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Takes the caller's id when it is sane (letters, digits and `-_.:/`), else makes one.
    fn of(request: &Request) -> Self {
        let is_sane = |id: &&HeaderValue| {
            !id.is_empty()
                && id.len() <= REQUEST_ID_BYTES_MAX
                && id
                    .as_bytes()
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/".contains(byte))
        };
        let given = request.headers().get(REQUEST_ID_HEADER).filter(is_sane);
        Self(given.cloned().unwrap_or_else(|| {
            let mut text = Uuid::encode_buffer();
            let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
            HeaderValue::from_str(text).expect("an id is a header value")
        }))
    }

    /// The id of the request that this code runs for; empty outside of one.
    pub fn current() -> Self {
        REQUEST_ID
            .try_with(Self::clone)
            .unwrap_or(Self(HeaderValue::from_static("")))
    }

    /// As it stands in the log.
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("a sane id is ASCII")
    }
}

/// Facts about the answer that is being made now.
pub fn meta() -> Meta {
    Meta {
        request_id: RequestId::current().as_str().to_owned(),
        timestamp: now(),
    }
}

/// The moment an answer is made. For people only: what is stored takes its time from the database.
#[expect(
    clippy::disallowed_methods,
    reason = "the moment of an answer is not stored"
)]
fn now() -> Timestamp {
    chrono::Utc::now().into()
}

/// Stands around all routes: gives each request its id, echoes it, measures, and answers when a handler panics.
///
/// One service around the router, not layers on it: those would be put around each single route, and each
/// would be copied for every request.
#[derive(Clone)]
pub struct Observed(pub Router);

impl Service<Request> for Observed {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let id = RequestId::of(&request);
        let echoed = id.0.clone();
        Box::pin(REQUEST_ID.scope(id, answer(self.0.clone(), request, echoed)))
    }
}

async fn answer(
    mut routes: Router,
    request: Request,
    id: HeaderValue,
) -> Result<Response, Infallible> {
    let began = Instant::now();
    let answering = AssertUnwindSafe(async move { routes.call(request).await });
    let mut response = match answering.catch_unwind().await {
        Ok(Ok(response)) => response,
        Err(panic) => after_panic(&*panic),
    };
    response.headers_mut().insert(REQUEST_ID_HEADER, id);
    let operation = response.extensions().get::<Operation>().copied();
    operation
        .unwrap_or_else(Operation::unknown)
        .measure(response.status(), began.elapsed());
    Ok(response)
}

/// The answer when a handler panicked: the panic itself is in the log.
fn after_panic(panic: &(dyn std::any::Any + Send)) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message");
    Error::Internal(anyhow::anyhow!("a handler panicked: {message}")).into_response()
}

/// Runs a handler to its end, even when its client goes away meanwhile.
///
/// A handler that is dropped between BEGIN and COMMIT would leave its connection in a transaction, and
/// one that is dropped after its COMMIT would not tell anyone. The hot path needs no such care: its
/// lanes run apart from the requests, and a claim that waits must end with its client.
///
/// When the way to the database falls silent there is no end to wait for.
pub(super) async fn to_its_end(
    app: App,
    handler: impl Future<Output = Response> + Send + 'static,
) -> Response {
    let handled = async move {
        let ended = app.db.unless_silent(handler).await;
        ended.unwrap_or_else(IntoResponse::into_response)
    };
    let work = REQUEST_ID
        .scope(RequestId::current(), handled)
        .in_current_span();
    #[expect(
        clippy::disallowed_methods,
        reason = "awaited right here; only its dropping is ignored"
    )]
    let ended = tokio::spawn(work).await;
    match ended {
        Ok(response) => response,
        // As if it had panicked here: whoever catches panics answers.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use http::StatusCode;
    use serde_json::Value;

    use super::*;

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_under_the_id_of_its_request() {
        let routes = Router::new().route("/", get(async || -> Response { panic!("a defect") }));
        let request = Request::builder()
            .uri("/")
            .header(REQUEST_ID_HEADER, "mine")
            .body(Body::empty())
            .unwrap();
        let Ok(response) = Observed(routes).call(request).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()[REQUEST_ID_HEADER], "mine");
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["meta"]["request_id"], "mine");
        assert_eq!(body["error"]["code"], "INTERNAL_ERROR");
    }
}
