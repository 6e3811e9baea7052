//! What the routes and loops of the platform promise, on a real port and a database of its own per test.

mod batch_faults;
mod claims;
mod commits;
mod contention;
mod creating;
mod dependencies;
mod events;
mod fleet;
mod gates;
mod inbox;
mod keys;
mod leases;
mod limits;
mod logs;
mod operate;
mod people;
mod playbooks;
mod repeating;
mod reports;
mod restricted;
mod retries;
mod system;
mod tenants;
mod waiting;
mod why;
mod workspaces;
