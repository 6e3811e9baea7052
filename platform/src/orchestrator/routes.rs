//! The routes of orchestrators: about their runs, about work items, about tasks.

use super::{item_routes, run_routes, task_routes};
use crate::http::Routes;

/// Who may call what.
pub fn routes() -> Routes {
    let table = Routes::new("orchestrator");
    task_routes::add(item_routes::add(run_routes::add(table)))
}
