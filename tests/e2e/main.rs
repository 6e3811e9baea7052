//! Tests with real processes.

mod admit;
mod canary;
mod crash;
mod fleet;
mod holder;
mod keeper;
mod orchestrated;
mod outage;
mod place;
mod pooler;
mod processes;
mod raw;
mod readme;
mod refusals;
mod replicas;
mod workflow;
