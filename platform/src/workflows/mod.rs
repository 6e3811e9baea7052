//! A workflow is one run of a playbook in a workspace, frozen to one version of it.
//!
//! ```text
//!             ┌────────── resume ─────────┐
//!             ▼                           │
//! pending ─► active ─────── pause ────► paused
//!             │  ▲
//!             │  └─ a task is retried ─┐
//!             ├──► completed           │
//!             ├──► failed ─────────────┘
//!             └──► cancelled
//! ```
//!
//! Nobody sets the state: it follows from what the run consists of (`engine/derive.sql`), and is derived in
//! the transaction of every move that could change it. A run of a graph is carried on by the engine; what
//! an orchestrated run does next is decided by whoever makes its work items and tasks.
//!
//! Whoever changes a run locks its row first: [`lock_runs`]. So two ends of one join meet here, and not in
//! a deadlock.

mod approve;
mod budget;
mod children;
mod delete;
pub mod engine;
mod forget;
mod launch;
mod read;
mod record;
mod redrive;
mod routes;
mod settings;
mod stages;
mod steer;
mod store;
mod why;

pub use approve::expire_approvals;
pub(crate) use approve::{cancel_step_of, decide_step};
pub(crate) use budget::{Level, budget_of, level};
pub(crate) use children::launch_child;
pub(crate) use delete::{delete_of_playbooks, delete_of_workspace};
pub use engine::{TaskChange, derive, tasks_moved};
pub use forget::forget_workflows;
pub(crate) use read::{active_column_of, board_of, orchestration_of};
pub use routes::routes;
pub(crate) use stages::{
    advance_stage, callouts, complete_run, keep_orchestration, must_have_stage, not_yet,
};
pub(crate) use store::{
    AskingStep, OpenRun, asking_steps, count_iteration, kept_orchestration, lock_open_run,
    lock_runs, lock_runs_of, must_reach, step_of_item,
};
pub(crate) use why::explain_item;
