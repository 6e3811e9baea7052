//! placeholder
pub use hints::Hints;
mod hints;
mod renew_by_log;

pub use renew_by_log::{LogTouch, touch_leases};
