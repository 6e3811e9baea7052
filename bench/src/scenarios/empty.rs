//! Claims that do not wait, on a queue that is empty: answered from memory, without SQL.

use std::sync::Arc;
use std::time::Instant;

use crate::bench::Bench;
use crate::client::Connection;
use crate::fleet::{ClaimWords, ROLE};
use crate::load::{self, Stage, Tally};
use crate::report::{Goal, Row};

const CONNECTIONS: usize = 64;
const PER_SECOND_MIN: f64 = 60_000.0;
/// None but those of the loops, which go on.
const STATEMENTS_EACH_MAX: f64 = 0.001;

/// Measures `empty`.
pub(crate) async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let site = bench.site().await?;
    let stage = Stage::endless();
    let claimants = (0..CONNECTIONS)
        .map(|number| {
            let stage = Arc::clone(&stage);
            let address = site.address(number);
            let claim = bench.fleet[number].claim(address, &[ROLE], ClaimWords::default());
            async move {
                let mut connection = Connection::open(address).await?;
                let mut tally = Tally::default();
                while stage.takes_turn() {
                    let began = Instant::now();
                    let answer = connection.call(&claim).await?;
                    answer.expect(204, "a claim on an empty queue")?;
                    if stage.is_measured() {
                        tally.done += 1;
                        tally.times.add(began.elapsed());
                    }
                }
                Ok(tally)
            }
        })
        .collect();
    let mut meter = bench.meter(&site).await?;
    let mut outcome = load::run(&stage, bench.span(), &mut meter, claimants).await?;
    bench.close(site, None, "empty").await?;
    let row = Row::of("empty", "", CONNECTIONS, &mut outcome).unit("claims/s");
    let (rate, statements) = (row.ours, row.statements_each());
    bench.report(
        row.goal(Goal::at_least("claims a second", rate, PER_SECOND_MIN))
            .goal(Goal::at_most(
                "statements a claim",
                statements,
                STATEMENTS_EACH_MAX,
            )),
    );
    Ok(())
}
