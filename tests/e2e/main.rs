//! Tests with real processes.

mod admit;
mod crash;
mod keeper;
mod place;
mod pooler;
