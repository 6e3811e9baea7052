//! Every statement that writes runs, and those that read them. Those of the engine have a store of their own.

mod orchestrate;
mod read;
mod steer;
mod write;

pub(crate) use orchestrate::count_iteration;
pub(super) use orchestrate::*;
pub(super) use read::*;
pub(super) use steer::*;
pub(crate) use steer::{AskingStep, asking_steps, step_of_item};
pub(super) use write::*;
pub(crate) use write::{OpenRun, lock_open_run, lock_runs, lock_runs_of, must_reach};
