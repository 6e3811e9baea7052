//! What must be true of every route, found by walking the API description of a running platform.
//!
//! Nothing here lists routes. A new one is swept as soon as it is in the description, which it cannot be
//! missing from: `world` knows a real thing for each parameter of a path, `bodies` makes bodies that fit.
//! What is an exception stands in a list beside its reason. That answers fit the description, and
//! refusals carry what a refusal carries, is looked at by the kit, here as everywhere.

#![expect(
    clippy::unwrap_used,
    reason = "a sweep that cannot go on has failed, and its line says where"
)]

mod access;
mod answers;
mod bodies;
mod generated;
mod keys;
mod refused_bodies;
mod shape;
mod snapshot;
mod tenants;
mod unknown;
mod world;
