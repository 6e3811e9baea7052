//! What the routes and loops of the platform promise, on a real port and a database of its own per test.

mod claims;
mod commits;
mod creating;
mod dependencies;
mod events;
mod fleet;
mod keys;
mod leases;
mod limits;
mod logs;
mod repeating;
mod reports;
mod retries;
mod system;
mod tenants;
