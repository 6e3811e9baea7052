//! The lanes of the hot path: one per kind of request, with one entrance and one runner each.

use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::batch::{self, Entrance, Exit, Lane};
use crate::config::LimitConfig;
use crate::holders::HeartbeatLane;
use crate::logs::LogLane;
use crate::tasks::{ClaimLane, CompleteLane, CreateLane, HandInLane, StartLane};

macro_rules! lanes {
    ($($(#[$doc:meta])* $name:ident: $lane:ty,)*) => {
        /// The ways into the lanes.
        pub struct Lanes {
            $($(#[$doc])* pub $name: Entrance<$lane>,)*
        }

        /// The ends of the lanes from which their runners take members.
        pub struct Exits {
            $($name: Exit<$lane>,)*
        }

        impl Lanes {
            /// Every lane with its bounds, and the ends that the runners need.
            pub fn new(limits: &LimitConfig) -> (Self, Exits) {
                $(let $name = Entrance::new(limits);)*
                (Self { $($name: $name.0,)* }, Exits { $($name: $name.1,)* })
            }
        }

        impl Exits {
            /// Serves every lane until `requests_over`: when no request is left that could wait in one.
            pub fn serve(self, app: &App, requests_over: &CancellationToken) {
                $(serve(app, self.$name, requests_over);)*
            }
        }
    };
}

lanes! {
    /// Creates tasks.
    create: CreateLane,
    /// Hands tasks out.
    claim: ClaimLane,
    /// Takes starts.
    start: StartLane,
    /// Takes completions.
    complete: CompleteLane,
    /// Takes failures and releases.
    hand_in: HandInLane,
    /// Takes heartbeats of workers and agents.
    heartbeat: HeartbeatLane,
    /// Takes log entries.
    logs: LogLane,
}

fn serve<L: Lane>(app: &App, exit: Exit<L>, requests_over: &CancellationToken) {
    let served = batch::serve(app.clone(), exit);
    let over = requests_over.clone();
    app.spawn(async move {
        tokio::select! {
            () = served => {}
            () = over.cancelled() => {}
        }
    });
}
