//! A gate is an orchestrator's request that a person look at a stage before the run goes on.
//!
//! ```text
//! request ──► awaiting_approval ─┬─ approve ─────────► approved           the stage may be left
//!    ▲               │           ├─ request_changes ─► changes_requested  its tasks are done again
//!    │               │           ├─ reject ──────────► rejected           the stage is blocked
//!    │               │           └─ block ───────────► blocked            … and its work items are
//!    └─ superseded ──┴── a newer request of the same stage takes its place, decided or not
//! ```
//!
//! The newest request of a stage counts, and no other can be decided. The same decision once more changes
//! nothing; another one is refused, but that what was sent back may be approved after all. Every decision
//! wakes the orchestrator, and a waiting one keeps the stage and the run from being completed.
//!
//! It is in the inbox too (`approvals`).
//!
//! Not to be taken for the gates of the queue (`task_gates`), which say how many tasks of a run may be
//! under way.

mod decide;
mod request;
mod routes;
mod store;

pub(crate) use decide::decide_gate;
pub(crate) use request::request_gate;
pub use routes::routes;
pub(crate) use store::by_ids;
