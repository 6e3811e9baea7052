//! placeholder
pub use hints::Hints;
mod hints;
