//! The lanes of one replica: one per kind of request that is served in batches.

use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::batch::{self, Entrance, Exit, Lane};
use crate::config::LimitConfig;
use crate::holders::HeartbeatLane;

/// The ways into the lanes.
pub struct Lanes {
    /// Heartbeats of workers and agents.
    pub heartbeat: Entrance<HeartbeatLane>,
}

/// The ends of the lanes from which their runners take members.
pub struct Runners {
    heartbeat: Exit<HeartbeatLane>,
}

impl Lanes {
    /// Every lane with its bounds, and what its runner needs.
    pub fn new(limits: &LimitConfig) -> (Self, Runners) {
        let (heartbeat, heartbeat_exit) = Entrance::new(limits);
        let lanes = Self { heartbeat };
        let runners = Runners {
            heartbeat: heartbeat_exit,
        };
        (lanes, runners)
    }
}

impl Runners {
    /// Serves every lane until `stop`, which comes when no request is left that could wait in one.
    pub fn start(self, app: &App, stop: &CancellationToken) {
        run(app, stop, self.heartbeat);
    }
}

fn run<L: Lane>(app: &App, stop: &CancellationToken, exit: Exit<L>) {
    let served = batch::serve(app.clone(), exit);
    let stop = stop.clone();
    app.spawn(async move {
        tokio::select! {
            () = served => {}
            () = stop.cancelled() => {}
        }
    });
}
