//! How a request comes in and its answer goes out.
//!
//! ```text
//! socket ─► request.rs   id, metrics (operation.rs), panics
//!        ─► routes.rs    the row of the route table
//!        ─► guard.rs     key -> Caller, scope (access.rs), rate (rate.rs), span
//!        ─► body.rs      bytes -> a typed body: size, JSON, unknown fields, NUL, plain secrets
//!        ─► command.rs   idempotency: Command -> Write -> Reply      (cold changes)
//!           hot.rs       a body for a lane of the hot path
//!           public.rs    a body from someone without a key
//!           query.rs     path and query parameters, pages
//!           cursor.rs     places in a stream that is read forward; tail.rs, sse.rs: live streams
//!        ─► reply.rs     the envelope
//! ```
//!
//! A domain defines its routes with [`Routes`], and nothing gets past the four words: `Routes` (no
//! route without an access), [`Caller`] (who asks), [`Command`] (what is to change), [`Reply`] (the
//! only answer).

mod access;
mod body;
mod caller;
mod canonical;
mod command;
mod cursor;
mod guard;
mod hot;
mod operation;
mod public;
mod query;
mod rate;
mod reply;
mod request;
mod routes;
mod secrets;
mod slots;
pub mod sse;
mod store;
mod tail;

pub use access::Access;
pub use body::{BODY_BYTES_OVERHEAD, check_count, check_length};
pub use caller::{Caller, Identity};
pub use command::{Command, Write};
pub use cursor::Cursor;
pub use hot::{Hot, Wanted};
pub use operation::Operation;
pub use public::PublicBody;
pub use query::{PageQuery, Path, Query, csv, csv_words};
pub use rate::Rates;
pub use reply::{Reply, replayed};
pub use request::{Observed, RequestId, meta};
pub use routes::{Routes, describe_all};
pub(crate) use routes::{no_such_method, no_such_route};
pub use secrets::{mask_secrets, refuse_secrets};
pub use slots::{InFlight, forget_requests};
pub use tail::{Followed, Tails};
