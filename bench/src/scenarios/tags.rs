//! Two hundred tags, workers that serve three each, and one tag that is flooded: what the flood does to the
//! pickup of the others.

use std::sync::Arc;
use std::time::Duration;

use super::cycle::PAYLOAD_BYTES;
use super::pickup::{self, Plan};
use super::prefill;
use crate::bench::Bench;
use crate::ledger::Ledger;
use crate::load::{Outcome, Span};
use crate::report::{Goal, Row};
use crate::wire;

const TAGS: usize = 200;
/// One worker for each tag, which also serves the next two.
const WORKERS: usize = TAGS;
const SERVED: usize = 3;
/// Tasks of the flooded tag, which its three workers cannot finish meanwhile.
const FLOOD: u64 = 100_000;
/// Tasks a second of all other tags together.
const RATE: u64 = 50;
/// With the flood, beside without it.
const SLOWER_MAX: f64 = 2.0;

/// Measures `tags`.
pub(crate) async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let mut calm = one(bench, 0).await?;
    let mut flooded = one(bench, FLOOD).await?;
    let calm = Row::of("tags", "calm", WORKERS, &mut calm);
    let (calm_p50, calm_p95) = (calm.p(50), calm.p(95));
    bench.report(calm);
    let row = Row::of("tags", "one flooded", WORKERS, &mut flooded).more("flood", FLOOD);
    let (p50, p95) = (row.p(50) / calm_p50, row.p(95) / calm_p95);
    bench.report(
        row.goal(Goal::at_most("p50 beside calm", p50, SLOWER_MAX))
            .goal(Goal::at_most("p95 beside calm", p95, SLOWER_MAX)),
    );
    Ok(())
}

fn tag(number: usize) -> String {
    format!("t{}", number % TAGS)
}

async fn one(bench: &Bench, flood: u64) -> anyhow::Result<Outcome> {
    let site = bench.site().await?;
    let plan = Plan {
        workers: WORKERS,
        served: |number| (number..number + SERVED).map(tag).collect(),
        wanted: (1..TAGS).map(tag).collect(),
        rate: RATE,
        span: Span {
            warm_up: Duration::from_secs(3),
            measured: Duration::from_secs(if bench.is_quick { 8 } else { 30 }),
        },
    };
    let ledger = Arc::new(Ledger::new(flood + plan.tasks_max()));
    let input = wire::payload(PAYLOAD_BYTES);
    prefill::of_role(bench, &site, &ledger, flood, &tag(0), &input).await?;
    let outcome = pickup::load(bench, &site, &plan, &ledger).await?;
    bench.close(site, Some(&ledger), "tags").await?;
    Ok(outcome)
}
