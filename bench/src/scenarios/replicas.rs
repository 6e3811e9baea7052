//! Two platforms on one database, beside one: the same work, and still every task once.

use std::sync::Arc;

use super::cycle::{self, PAYLOAD_BYTES, Way};
use super::prefill;
use crate::bench::Bench;
use crate::ledger::Ledger;
use crate::load::Outcome;
use crate::report::{Goal, Row};
use crate::wire;

const CONNECTIONS: usize = 256;
/// Two beside one.
const RATIO: f64 = 1.0;
/// Claims that find nothing although tasks are left, for each task: their candidates were locked by the other
/// platform.
const EMPTY_CLAIMS_MAX: f64 = 0.01;

/// Measures `replicas`: one, two, one.
pub(crate) async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let mut before = one(bench, 1).await?;
    let mut two = one(bench, 2).await?;
    let mut after = one(bench, 1).await?;
    let alone = f64::midpoint(before.per_second(), after.per_second());
    for (name, outcome) in [("one, before", &mut before), ("one, after", &mut after)] {
        bench.report(Row::of("replicas", name, CONNECTIONS, outcome));
    }
    let empty_claims = two.tally.empty_claims;
    let each = empty_claims as f64 / two.tally.done as f64;
    let row = Row::of("replicas", "two", CONNECTIONS, &mut two)
        .compared_with(alone)
        .more("empty_claims", empty_claims);
    let ratio = row.ratio();
    bench.report(
        row.goal(Goal::at_least("two beside one", ratio, RATIO))
            .goal(Goal::at_most(
                "claims a task that found nothing",
                each,
                EMPTY_CLAIMS_MAX,
            )),
    );
    Ok(())
}

async fn one(bench: &Bench, replicas: usize) -> anyhow::Result<Outcome> {
    let tasks = if bench.is_quick { 80_000 } else { 200_000 };
    let site = bench.site_with(replicas, &[]).await?;
    let ledger = Arc::new(Ledger::new(tasks));
    prefill::through_api(bench, &site, &ledger, tasks, &wire::payload(PAYLOAD_BYTES)).await?;
    let outcome = cycle::drain(
        bench,
        &site,
        &ledger,
        CONNECTIONS,
        Way::InTwo,
        tasks,
        PAYLOAD_BYTES,
    )
    .await?;
    bench.close(site, Some(&ledger), "replicas").await?;
    Ok(outcome)
}
