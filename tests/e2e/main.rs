//! Tests with real processes.

mod admit;
mod canary;
mod crash;
mod fleet;
mod keeper;
mod orchestrated;
mod outage;
mod pooler;
mod raw;
mod readme;
mod refusals;
mod replicas;
mod workflow;
