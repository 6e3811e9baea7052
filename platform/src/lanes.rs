//! The lanes of the hot path: one entrance each, one runner each.

use crate::app::App;
use crate::batch::{self, Entrance, Exit};
use crate::config::LimitConfig;
use crate::tasks::{ClaimLane, CompleteLane, CreateLane, HandInLane, StartLane};

/// The ways into the lanes.
pub struct Lanes {
    /// Creates tasks.
    pub create: Entrance<CreateLane>,
    /// Hands tasks out.
    pub claim: Entrance<ClaimLane>,
    /// Takes starts.
    pub start: Entrance<StartLane>,
    /// Takes completions.
    pub complete: Entrance<CompleteLane>,
    /// Takes failures and releases.
    pub hand_in: Entrance<HandInLane>,
}

/// The ends from which the runners take what waits.
pub struct Exits {
    create: Exit<CreateLane>,
    claim: Exit<ClaimLane>,
    start: Exit<StartLane>,
    complete: Exit<CompleteLane>,
    hand_in: Exit<HandInLane>,
}

impl Lanes {
    /// Every lane with its bounds.
    pub fn new(limits: &LimitConfig) -> (Self, Exits) {
        let (create, create_exit) = Entrance::new(limits);
        let (claim, claim_exit) = Entrance::new(limits);
        let (start, start_exit) = Entrance::new(limits);
        let (complete, complete_exit) = Entrance::new(limits);
        let (hand_in, hand_in_exit) = Entrance::new(limits);
        let lanes = Self {
            create,
            claim,
            start,
            complete,
            hand_in,
        };
        let exits = Exits {
            create: create_exit,
            claim: claim_exit,
            start: start_exit,
            complete: complete_exit,
            hand_in: hand_in_exit,
        };
        (lanes, exits)
    }
}

impl Exits {
    /// Starts the runners.
    pub fn serve(self, app: &App) {
        app.serve_lane(batch::serve(app.clone(), self.create));
        app.serve_lane(batch::serve(app.clone(), self.claim));
        app.serve_lane(batch::serve(app.clone(), self.start));
        app.serve_lane(batch::serve(app.clone(), self.complete));
        app.serve_lane(batch::serve(app.clone(), self.hand_in));
    }
}
