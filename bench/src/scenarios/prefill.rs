//! Filling the queue before a scenario begins.

use std::sync::Arc;

use futures_util::future::try_join_all;

use crate::bench::{Bench, Site};
use crate::client::Connection;
use crate::fleet::{Member, ROLE};
use crate::ledger::Ledger;
use crate::wire::{self, CreateRequest};

/// Connections that create at once.
const CONNECTIONS: usize = 256;

/// Creates so many tasks through the API.
pub(crate) async fn through_api(
    bench: &Bench,
    site: &Site,
    ledger: &Arc<Ledger>,
    tasks: u64,
    input: &str,
) -> anyhow::Result<()> {
    of_role(bench, site, ledger, tasks, ROLE, input).await
}

/// The same with another role.
pub(crate) async fn of_role(
    bench: &Bench,
    site: &Site,
    ledger: &Arc<Ledger>,
    tasks: u64,
    role: &str,
    input: &str,
) -> anyhow::Result<()> {
    let creators = (0..CONNECTIONS).map(|number| {
        let member: &Member = &bench.fleet[number];
        let address = site.address(number);
        let request = member.create(address, role, input);
        let share =
            tasks / CONNECTIONS as u64 + u64::from((number as u64) < tasks % CONNECTIONS as u64);
        let ledger = Arc::clone(ledger);
        tokio::spawn(async move {
            let mut connection = Connection::open(address).await?;
            create(&mut connection, request, &ledger, share).await
        })
    });
    for made in try_join_all(creators).await? {
        made?;
    }
    Ok(())
}

async fn create(
    connection: &mut Connection,
    mut request: CreateRequest,
    ledger: &Ledger,
    tasks: u64,
) -> anyhow::Result<()> {
    for _ in 0..tasks {
        let answer = connection.call(request.numbered(ledger.number())).await?;
        answer.expect(201, "a create")?;
        wire::must_be(answer.body, "ready")?;
    }
    Ok(())
}
