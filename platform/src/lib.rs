//! The Stint API server: records tasks in PostgreSQL and hands them out to workers.
//!
//! Start with `app.rs`, which puts the parts together, then follow one request: `http/mod.rs` for the
//! way in and out, `tasks/mod.rs` for what a task is, `queue/mod.rs` for where it lies.

extern crate stint_protocol as protocol;

pub mod activations;
pub mod agents;
pub mod app;
pub mod approvals;
pub mod auth;
pub mod batch;
pub mod briefs;
pub mod config;
pub mod consequences;
pub mod db;
pub mod error;
pub mod events;
pub mod gates;
pub mod graph;
pub mod handoffs;
pub mod history;
pub mod holders;
pub mod http;
pub mod keys;
pub mod lanes;
pub mod logs;
pub mod loops;
pub mod messages;
pub mod metering;
pub mod orchestrator;
pub mod playbooks;
pub mod queue;
pub mod seal;
pub mod start;
pub mod steering;
pub mod system;
pub mod tasks;
pub mod tenants;
pub mod work_items;
pub mod workers;
pub mod workflows;
pub mod workspaces;
