//! What the routes and loops of the platform promise, on a real port and a database of its own per test.

mod claims;
mod commits;
mod creating;
mod dependencies;
mod leases;
mod reports;
mod retries;
