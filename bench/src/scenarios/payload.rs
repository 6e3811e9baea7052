//! The same cycle with inputs and outputs of growing size.

use std::sync::Arc;

use super::cycle::{self, Way};
use super::prefill;
use crate::bench::Bench;
use crate::ledger::Ledger;
use crate::report::Row;
use crate::wire;

const CONNECTIONS: usize = 64;
/// Bytes of the input, and of the output; and how many such tasks are made.
const SIZES: [(usize, u64, &str); 3] = [
    (200, 150_000, "200 B"),
    (4 * 1024, 60_000, "4 KiB"),
    (64 * 1024, 10_000, "64 KiB"),
];

/// Measures `payload`.
pub(crate) async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    for (bytes, tasks, name) in SIZES {
        let site = bench.site().await?;
        let ledger = Arc::new(Ledger::new(tasks));
        prefill::through_api(bench, &site, &ledger, tasks, &wire::payload(bytes)).await?;
        let mut outcome =
            cycle::drain(bench, &site, &ledger, CONNECTIONS, Way::InTwo, tasks, bytes).await?;
        bench.close(site, Some(&ledger), "payload").await?;
        let row = Row::of("payload", name, CONNECTIONS, &mut outcome)
            .more("payload_bytes", bytes)
            .more_times("complete", &mut outcome.tally.other_times);
        // In with the create, out with the claim, in with the complete.
        let mib_per_second = row.ours * 2.0 * bytes as f64 / f64::from(1 << 20);
        let beyond = row.wal_each() - bytes as f64;
        bench.report(
            row.more("payload_mib_per_second", mib_per_second)
                .more("wal_bytes_beyond_output", beyond),
        );
    }
    Ok(())
}
