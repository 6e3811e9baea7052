//! What every request has, whatever it asks for: an id, a moment, a line in the log if it fails.

use std::time::Instant;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use protocol::{Meta, Timestamp};
use tracing::Instrument;
use uuid::Uuid;

use crate::app::App;

/// Longest `x-request-id` that is taken over from the caller.
const REQUEST_ID_BYTES_MAX: usize = 128;

tokio::task_local! {
    static REQUEST_ID: RequestId;
}

/// The id under which this request is found in the log.
#[derive(Clone, Debug)]
pub struct RequestId(String);

impl RequestId {
    /// Takes the caller's id when it is sane (letters, digits and `-_.:/`), else makes one.
    fn of(request: &Request) -> Self {
        let given = request
            .headers()
            .get("x-request-id")
            .and_then(|value| value.to_str().ok());
        let is_sane = |id: &&str| {
            !id.is_empty()
                && id.len() <= REQUEST_ID_BYTES_MAX
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte))
        };
        Self(
            given
                .filter(is_sane)
                .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned),
        )
    }

    /// The id of the request that this code runs for.
    pub fn current() -> String {
        REQUEST_ID.try_with(|id| id.0.clone()).unwrap_or_default()
    }
}

/// Facts about the answer that is being made now.
pub fn meta() -> Meta {
    Meta {
        request_id: RequestId::current(),
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

/// The outermost layer: gives the request its id, echoes it, and measures.
pub async fn observe(request: Request, next: Next) -> Response {
    let id = RequestId::of(&request);
    let echoed = HeaderValue::from_str(&id.0).expect("a sane id is a header value");
    let began = Instant::now();
    let mut response = REQUEST_ID.scope(id, next.run(request)).await;
    response.headers_mut().insert("x-request-id", echoed);
    let operation = response
        .extensions()
        .get::<super::routes::Operation>()
        .map_or("unknown", |operation| operation.0);
    metrics::counter!("stint_http_requests_total", "operation" => operation, "status" => response.status().as_u16().to_string())
        .increment(1);
    metrics::histogram!("stint_http_request_duration_seconds", "operation" => operation)
        .record(began.elapsed().as_secs_f64());
    response
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
    let id = RequestId(RequestId::current());
    let handled = async move {
        let ended = app.db.unless_silent(handler).await;
        ended.unwrap_or_else(IntoResponse::into_response)
    };
    let work = REQUEST_ID.scope(id, handled).in_current_span();
    #[expect(
        clippy::disallowed_methods,
        reason = "awaited right here; only its dropping is ignored"
    )]
    let ended = tokio::spawn(work).await;
    match ended {
        Ok(response) => response,
        // As if it had panicked here: the layer that catches panics answers.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
