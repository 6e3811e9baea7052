//! Who is asking: keys exchanged for tokens, and what the platform knows about a caller.
//!
//! ```text
//! key ─POST /auth/token─► token (an hour) ─Authorization: Bearer─► signature ─► its key, by id ─► Caller
//! ```
//!
//! A token is a JWT signed with a key that is derived from the sealing key. It names its key and nothing
//! more: what the key may do is read anew, so a revoked key is a dead token at once.

pub mod routes;
mod token;

pub use token::{Claims, Verified, is_token, sign, verify};
