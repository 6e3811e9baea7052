//! Nothing lost, nothing believed twice, nothing stuck: also when everything fails that can.
//!
//! Real processes (`cluster`) under a load that repeats itself (`load`) are hurt as a seed plans it (`faults`,
//! `proxy`). What the clients saw (`history`) and what the database holds (`evidence`) is judged afterwards
//! (`checker`). `scripts/chaos` runs the same tests for longer; `wanted` tells them how long.

mod answers;
mod away;
mod chaos;
mod checker;
mod cluster;
mod deploys;
mod dice;
mod disk;
mod evidence;
mod faults;
mod history;
mod load;
mod model;
mod proxy;
mod scenarios;
mod silent;
mod stale;
mod wanted;
