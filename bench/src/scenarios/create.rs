//! Single creates, beside single inserts of pgbench at 64 clients.

use std::sync::Arc;
use std::time::Instant;

use super::cycle::PAYLOAD_BYTES;
use crate::bench::Bench;
use crate::client::Connection;
use crate::fleet::ROLE;
use crate::ledger::Ledger;
use crate::load::{self, Stage, Tally};
use crate::pgbench::Kind;
use crate::report::{Goal, Row};
use crate::wire;

/// Beside single inserts, at 64 and at 256 connections.
const RATIO_AT_64: f64 = 1.0;
const RATIO_AT_256: f64 = 2.0;
/// Clients of the yardstick.
const CLIENTS: usize = 64;

/// Measures `create`.
pub(crate) async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    for (connections, ratio) in [(64, RATIO_AT_64), (256, RATIO_AT_256)] {
        let before = bench
            .yardstick
            .recent(&bench.cluster, Kind::Inserts, CLIENTS)
            .await?;
        let site = bench.site().await?;
        let (stage, ledger) = (Stage::endless(), Arc::new(Ledger::new(0)));
        let input = wire::payload(PAYLOAD_BYTES);
        let creators = (0..connections)
            .map(|number| {
                let (stage, ledger) = (Arc::clone(&stage), Arc::clone(&ledger));
                let address = site.address(number);
                let mut request = bench.fleet[number].create(address, ROLE, &input);
                async move {
                    let mut connection = Connection::open(address).await?;
                    let mut tally = Tally::default();
                    while stage.takes_turn() {
                        let began = Instant::now();
                        let answer = connection.call(request.numbered(ledger.number())).await?;
                        answer.expect(201, "a create")?;
                        wire::must_be(answer.body, "ready")?;
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
        let mut outcome = load::run(&stage, bench.span(), &mut meter, creators).await?;
        let mut db = bench.sql().await?;
        let made: i64 = sqlx::query_scalar("select count(*) from task_queue")
            .fetch_one(&mut db)
            .await?;
        drop(db);
        anyhow::ensure!(
            u64::try_from(made)? == ledger.numbers(),
            "{} creates were accepted, and {made} tasks are ready",
            ledger.numbers()
        );
        bench.close(site, None, "create").await?;
        let around = bench
            .yardstick
            .around(&bench.cluster, before, Kind::Inserts)
            .await?;
        let row = Row::of("create", "", connections, &mut outcome).yardstick(around);
        let goal = Goal::at_least("ratio to single inserts", row.ratio(), ratio);
        bench.report(row.goal(goal));
    }
    Ok(())
}
