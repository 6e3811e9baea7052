//! Every statement that writes activations and their batches, and those that read them.

mod batches;
mod queue;
mod read;

pub(super) use batches::*;
pub(super) use queue::*;
pub(crate) use read::{
    ActivationFilter, batch_of_task, event_count, has_queued, list, open_batch, task_of_batch,
};
pub(super) use read::{events_of, find};
