//! The only way to answer.

use std::marker::PhantomData;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use protocol::{Json, LogPage, PageMeta, StretchMeta};
use serde::Serialize;

use super::query::PageQuery;
use super::request::meta;
use crate::error::Error;

/// An answer whose data is a `T`.
///
/// Reads make one with [`Reply::ok`] and its siblings. A change gets one from
/// [`Write`](super::Write) alone, or from a lane, after its commit.
pub struct Reply<T> {
    status: StatusCode,
    /// The whole body; empty for an answer without one.
    body: Bytes,
    is_replay: bool,
    /// Says that nothing but the effect is told because the caller prefers it so.
    is_minimal: bool,
    data: PhantomData<fn() -> T>,
}

#[derive(Serialize)]
struct Enveloped<D, M> {
    data: D,
    meta: M,
}

impl<T> Reply<T> {
    /// 204.
    pub fn no_content() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            body: Bytes::new(),
            is_replay: false,
            is_minimal: false,
            data: PhantomData,
        }
    }

    /// 204 for a report that took effect, when its sender prefers `return=minimal`.
    pub fn minimal() -> Self {
        Self {
            is_minimal: true,
            ..Self::no_content()
        }
    }

    /// Says that an earlier request had the effect.
    pub fn replay(mut self) -> Self {
        self.is_replay = true;
        self
    }

    fn of_body(status: StatusCode, body: &impl Serialize) -> Result<Self, Error> {
        Ok(Self {
            status,
            body: serde_json::to_vec(body)?.into(),
            is_replay: false,
            is_minimal: false,
            data: PhantomData,
        })
    }

    /// An answer whose `data` is already JSON text.
    pub(super) fn of_data(status: StatusCode, data: Vec<u8>) -> Result<Self, Error> {
        let data = Json::from_text(String::from_utf8(data).map_err(anyhow::Error::from)?)?;
        Self::of_body(status, &Enveloped { data, meta: meta() })
    }
}

impl<T: Serialize> Reply<T> {
    /// 200 with one thing.
    ///
    /// # Errors
    /// When the thing cannot be written as JSON.
    pub fn ok(data: T) -> Result<Self, Error> {
        Self::with(StatusCode::OK, data)
    }

    /// One thing with another status.
    ///
    /// # Errors
    /// When the thing cannot be written as JSON.
    pub fn with(status: StatusCode, data: T) -> Result<Self, Error> {
        Self::of_body(status, &Enveloped { data, meta: meta() })
    }
}

impl<T: Serialize> Reply<protocol::Page<T>> {
    /// 200 with a page of a list.
    ///
    /// # Errors
    /// When the things cannot be written as JSON.
    pub fn page(data: Vec<T>, total: i64, query: PageQuery) -> Result<Self, Error> {
        let facts = meta();
        let page_meta = PageMeta {
            total,
            page: query.page(),
            per_page: query.per_page(),
            pages: ((total + query.per_page() - 1) / query.per_page()).max(1),
            request_id: facts.request_id,
            timestamp: facts.timestamp,
        };
        Self::of_body(
            StatusCode::OK,
            &Enveloped {
                data,
                meta: page_meta,
            },
        )
    }
}

impl<T: Serialize> Reply<protocol::Stretch<T>> {
    /// 200 with a stretch of a stream.
    ///
    /// # Errors
    /// When the entries cannot be written as JSON.
    pub fn stretch(
        data: Vec<T>,
        has_more: bool,
        next_after: Option<String>,
    ) -> Result<Self, Error> {
        let facts = meta();
        let stretch_meta = StretchMeta {
            has_more,
            next_after,
            request_id: facts.request_id,
            timestamp: facts.timestamp,
        };
        Self::of_body(
            StatusCode::OK,
            &Enveloped {
                data,
                meta: stretch_meta,
            },
        )
    }
}

impl Reply<LogPage> {
    /// 200 with a stretch of the log.
    ///
    /// # Errors
    /// When the entries cannot be written as JSON.
    pub fn log_page(page: &LogPage) -> Result<Self, Error> {
        Self::of_body(StatusCode::OK, page)
    }
}

impl<T> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.status;
        if !self.body.is_empty() {
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
        }
        if self.is_minimal {
            response.headers_mut().insert(
                "preference-applied",
                HeaderValue::from_static("return=minimal"),
            );
        }
        if self.is_replay {
            response
                .headers_mut()
                .insert("idempotent-replay", HeaderValue::from_static("true"));
        }
        response
    }
}

/// The answer of an earlier request with the same idempotency key, given again.
pub fn replayed(status: StatusCode, data: &[u8]) -> Response {
    if data.is_empty() {
        let mut reply = Reply::<()>::no_content().replay();
        reply.status = status;
        return reply.into_response();
    }
    match Reply::<Json>::of_data(status, data.to_vec()) {
        Ok(reply) => reply.replay().into_response(),
        Err(error) => error.into_response(),
    }
}
