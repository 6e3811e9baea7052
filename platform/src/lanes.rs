//! The lanes of the hot path: one per kind of request.

use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::batch::{self, Entrance, Exit, Lane};
use crate::config::LimitConfig;
use crate::logs::LogLane;

/// The ways into the lanes.
pub struct Lanes {
    /// Log entries.
    pub logs: Entrance<LogLane>,
}

/// The ends of the lanes from which their runners take members.
pub struct Exits {
    logs: Exit<LogLane>,
}

impl Lanes {
    /// Empty lanes with their bounds.
    pub fn new(limits: &LimitConfig) -> (Self, Exits) {
        let (logs, logs_exit) = Entrance::new(limits);
        (Self { logs }, Exits { logs: logs_exit })
    }
}

impl Exits {
    /// Serves every lane until the last request has been answered.
    pub fn serve(self, app: &App, requests_over: &CancellationToken) {
        run(app, self.logs, requests_over);
    }
}

fn run<L: Lane>(app: &App, exit: Exit<L>, requests_over: &CancellationToken) {
    let (served, over) = (app.clone(), requests_over.clone());
    app.spawn(async move {
        tokio::select! {
            () = batch::serve(served, exit) => {}
            () = over.cancelled() => {}
        }
    });
}
