//! The scenarios: each is a file that tells what it does and what should come out.

mod create;
mod cycle;
mod empty;
mod idle;
mod pickup;
mod prefill;

use clap::ValueEnum;

use crate::bench::Bench;

/// What can be measured, in the order in which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Claim with start, complete, on 1 to 256 connections.
    Cycle,
    /// Claim, start, complete.
    #[value(name = "cycle-3")]
    Cycle3,
    /// Single creates.
    Create,
    /// From the create to the answer of a waiting claim.
    Pickup,
    /// Claims on an empty queue.
    Empty,
    /// Workers that wait and beat.
    Idle,
}

impl Scenario {
    /// Whether it is short enough for `--quick`, and essential.
    pub(crate) fn is_quick(self) -> bool {
        match self {
            Self::Cycle | Self::Cycle3 | Self::Create | Self::Pickup | Self::Empty | Self::Idle => {
                true
            }
        }
    }

    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub(crate) async fn run(self, bench: &mut Bench) -> anyhow::Result<()> {
        match self {
            Self::Cycle => cycle::run(bench).await,
            Self::Cycle3 => cycle::run_in_three(bench).await,
            Self::Create => create::run(bench).await,
            Self::Pickup => pickup::run(bench).await,
            Self::Empty => empty::run(bench).await,
            Self::Idle => idle::run(bench).await,
        }
    }
}
