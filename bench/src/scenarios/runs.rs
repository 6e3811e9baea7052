//! Runs of a graph that fan out over a list and join: what the end of one task costs must not grow with the
//! size of its run.
//!
//! The same number of tasks is worked off three times: in many runs with a hundred items each, in some with a
//! thousand, in one or two with ten thousand.

use std::sync::Arc;

use anyhow::ensure;
use serde_json::{Value, json};
use stint_protocol::client::Client;
use stint_protocol::{PlaybookId, WorkspaceId};

use super::deps::{self, KNOT};
use crate::bench::{Bench, Site};
use crate::client::Connection;
use crate::fleet::ROLE;
use crate::ledger::Ledger;
use crate::load::Outcome;
use crate::report::{Goal, Row};
use crate::wire;

/// Items of one run.
const SIZES: [u64; 3] = [100, 1_000, 10_000];
/// Items of all runs of a size together.
const ITEMS: u64 = 30_000;
const ITEMS_QUICKLY: u64 = 10_000;
const CONNECTIONS: usize = 64;
/// A run has the tasks of so many of its items at once: one in this many. The others are made as those end, which costs
/// something too, and must be as many in runs of each size to compare them. Enough are open for each connection.
const PART_AT_ONCE: u64 = 10;
/// What a completion in a run of ten thousand may cost, measured by one in a run of a hundred.
const GROWTH_MAX: f64 = 1.25;

/// Measures `runs`.
pub(crate) async fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let mut smallest: Option<Row> = None;
    for size in SIZES {
        let (mut outcome, runs) = work_off(bench, size).await?;
        let mut row = Row::of(
            "runs",
            format!("of {size} items"),
            CONNECTIONS,
            &mut outcome,
        )
        .more("runs", runs)
        .more("items_of_a_run", size)
        .more_times("complete", &mut outcome.tally.other_times);
        if let Some(smallest) = &smallest {
            let cpu = row.cpu_each() / smallest.cpu_each();
            let statements = row.statements_each() / smallest.statements_each();
            row = row
                .compared_with(smallest.ours)
                .goal(Goal::at_most("CPU beside runs of 100", cpu, GROWTH_MAX))
                .goal(Goal::at_most(
                    "statements beside runs of 100",
                    statements,
                    GROWTH_MAX,
                ));
        }
        bench.report(row.clone());
        smallest.get_or_insert(row);
    }
    Ok(())
}

/// Works runs of a size off, all items of all of them, and answers with how many runs there were.
async fn work_off(bench: &Bench, size: u64) -> anyhow::Result<(Outcome, u64)> {
    let items = if bench.is_quick { ITEMS_QUICKLY } else { ITEMS };
    let runs = items / size;
    let site = bench.site().await?;
    let ledger = Arc::new(Ledger::new(items + runs));
    let admin = site.platforms[0].admin()?;
    let (playbook, workspace) = prepare(&admin, size).await?;
    for _ in 0..runs {
        launch(&admin, playbook, workspace, &ledger, size).await?;
    }
    let outcome = deps::drain(bench, &site, &ledger, items).await?;
    join(bench, &site, &ledger, runs).await?;
    let completed = admin.list_workflows(&[("state", "completed")]).await?;
    ensure!(
        completed.meta.total == i64::try_from(runs)?,
        "{} of {runs} runs have completed",
        completed.meta.total
    );
    bench.close(site, Some(&ledger), "runs").await?;
    Ok((outcome, runs))
}

fn body<T: serde::de::DeserializeOwned>(value: Value) -> anyhow::Result<T> {
    Ok(serde_json::from_str(&value.to_string())?)
}

/// A playbook that fans out over the list it is given, and a place for its runs.
async fn prepare(admin: &Client, size: u64) -> anyhow::Result<(PlaybookId, WorkspaceId)> {
    let playbook = json!({
        "name": "Fan out", "outcome": "All items are done",
        "definition": {
            "kind": "graph",
            "parameters_schema": {
                "type": "object", "required": ["items", "join"],
                "properties": { "items": { "type": "array" }, "join": { "type": "string" } },
            },
            "steps": {
                "each": {
                    "kind": "for_each", "items": "{{ input.items }}", "max_parallel": size / PART_AT_ONCE,
                    "task": { "role": ROLE, "task_title": "{{ item }}", "input": { "place": "{{ index }}" } },
                },
                "join": {
                    "kind": "task", "needs": ["each"], "role": KNOT, "title": "{{ input.join }}",
                },
            },
        },
    });
    let workspace = json!({ "name": "Bench", "slug": "bench" });
    let playbook = admin.create_playbook(&body(playbook)?).await?;
    let workspace = admin.create_workspace(&body(workspace)?).await?;
    Ok((playbook.id, workspace.id))
}

/// Launches a run whose tasks have numbers in the ledger.
async fn launch(
    admin: &Client,
    playbook: PlaybookId,
    workspace: WorkspaceId,
    ledger: &Ledger,
    size: u64,
) -> anyhow::Result<()> {
    let titles: Vec<String> = (0..size).map(|_| wire::title(ledger.number())).collect();
    let run = json!({
        "playbook_id": playbook, "workspace_id": workspace, "name": "Run",
        "parameters": { "items": titles, "join": wire::title(ledger.number()) },
    });
    admin.create_workflow(&body(run)?).await?;
    Ok(())
}

/// Completes the joins, one of each run.
async fn join(bench: &Bench, site: &Site, ledger: &Ledger, runs: u64) -> anyhow::Result<()> {
    let mut connection = Connection::open(site.address(0)).await?;
    for _ in 0..runs {
        deps::do_one(bench, site, ledger, &mut connection, KNOT).await?;
    }
    Ok(())
}
