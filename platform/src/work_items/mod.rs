//! A work item is what a run is about: it stands on the board of the run, in a column and a stage.
//!
//! ```text
//! made ─► open ──── terminal column, or its step ends well ───► completed
//!          │ ▲                                                    │
//!          │ └──────────── a task of it is retried ◄──────────────┘
//!          ├─ paused ─► open
//!          └─ called off
//! ```
//!
//! It has no state of its own: it is completed when it says so, paused or called off when a request stands,
//! blocked when its step has failed or it stands in the column for that. A step of a graph makes one, and
//! ends it; people and orchestrators make others, and move them over the board.
//!
//! Whoever changes a work item locks its run first, and derives afterwards where the run is in its life.

mod create;
mod memory_store;
mod place_store;
mod reach;
mod resolve;
mod routes;
mod steer;
mod steer_store;
mod store;
mod task_routes;
mod update;

pub(crate) use create::create_work_item;
pub(crate) use memory_store::{NewMemoryChange, note_memory_change};
pub(crate) use place_store::{Place, lock_in_workspace, places};
pub(crate) use reach::reach;
pub use routes::routes;
pub(crate) use steer_store::{
    block_stage, close_open, continuity, expect, expect_of_stage, keep_continuity, open_tasks,
};
pub(crate) use store::read;
pub use store::{ItemEnd, StepItem, cancel_all, end_for_steps, make_for_steps, newest, reopen};
pub use task_routes::task_routes;
pub(crate) use update::update_work_item;
