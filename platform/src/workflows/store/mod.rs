//! Every statement that writes runs, and those that read them. Those of the engine have a store of their own.

mod orchestrate;
mod read;
mod relations;
mod steer;
mod write;

pub(super) use orchestrate::*;
pub(crate) use orchestrate::{count_iteration, kept_orchestration};
pub(super) use read::*;
pub(super) use relations::*;
pub(super) use steer::*;
pub(crate) use steer::{AskingStep, asking_steps, step_of_item};
pub(super) use write::*;
pub(crate) use write::{OpenRun, lock_open_run, lock_runs, lock_runs_of, must_reach};
