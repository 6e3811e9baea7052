//! The scenarios: each is a file that tells what it does and what should come out.

mod backlog;
mod create;
mod cycle;
mod deps;
mod empty;
mod idle;
mod logs;
mod payload;
mod pickup;
mod prefill;
mod replicas;
mod runs;
mod small_pool;
mod sustained;
mod tags;
mod turnover;

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
    /// A cycle with millions of ready tasks behind.
    Backlog,
    /// Many tags, one of them flooded.
    Tags,
    /// Tasks that depend on others.
    Deps,
    /// Runs of graphs with a hundred, a thousand and ten thousand tasks.
    Runs,
    /// Log lines, and a live tail.
    Logs,
    /// Two platforms on one database.
    Replicas,
    /// Inputs and outputs of growing size.
    Payload,
    /// The smallest pools, and 64 of everything at once.
    SmallPool,
    /// Twenty minutes at 60 % of the peak.
    Sustained,
}

impl Scenario {
    /// Whether it is short enough for `--quick`, and essential.
    pub(crate) fn is_quick(self) -> bool {
        match self {
            Self::Cycle | Self::Cycle3 | Self::Create | Self::Pickup | Self::Empty | Self::Idle => {
                true
            }
            Self::Backlog
            | Self::Tags
            | Self::Deps
            | Self::Runs
            | Self::Logs
            | Self::Replicas
            | Self::Payload
            | Self::SmallPool
            | Self::Sustained => false,
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
            Self::Backlog => backlog::run(bench).await,
            Self::Tags => tags::run(bench).await,
            Self::Deps => deps::run(bench).await,
            Self::Runs => runs::run(bench).await,
            Self::Logs => logs::run(bench).await,
            Self::Replicas => replicas::run(bench).await,
            Self::Payload => payload::run(bench).await,
            Self::SmallPool => small_pool::run(bench).await,
            Self::Sustained => sustained::run(bench).await,
        }
    }
}
