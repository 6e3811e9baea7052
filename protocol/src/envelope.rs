//! What every answer is wrapped in.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// An answer that holds one thing.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Envelope<T> {
    /// The thing itself.
    pub data: T,
    /// Facts about the answer.
    pub meta: Meta,
}

/// Facts about an answer.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Meta {
    /// Names this request in the platform's logs; also the header `x-request-id`.
    pub request_id: String,
    /// When the answer was made, by the platform's clock.
    pub timestamp: Timestamp,
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The things on this page.
    pub data: Vec<T>,
    /// Where this page is in the list.
    pub meta: PageMeta,
}

/// Where a page is in its list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PageMeta {
    /// How many things the whole list has.
    pub total: i64,
    /// The number of this page; the first is 1.
    pub page: i64,
    /// How many things a page has at most.
    pub per_page: i64,
    /// How many pages there are, at least 1.
    pub pages: i64,
    /// Names this request in the platform's logs.
    pub request_id: String,
    /// When the answer was made.
    pub timestamp: Timestamp,
}

/// A stretch of a stream that is read forward by cursor.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Stretch<T> {
    /// The entries, oldest first.
    pub data: Vec<T>,
    /// Where to go on.
    pub meta: StretchMeta,
}

/// Where to go on reading a stream.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StretchMeta {
    /// Whether there was more to read when this answer was made.
    pub has_more: bool,
    /// Pass this as `after` to go on. It also passes what the filters left out.
    pub next_after: Option<String>,
    /// Names this request in the platform's logs.
    pub request_id: String,
    /// When the answer was made.
    pub timestamp: Timestamp,
}

/// The body of a change that needs no data: nothing at all, or a `request_id`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Bare {
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
