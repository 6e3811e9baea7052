//! Claims in batches: one statement, which looks into the lanes for each distinct set of them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use protocol::{AgentId, TenantId};
use sqlx::PgConnection;

use super::claim::Claim;
use crate::app::App;
use crate::batch::Lane;
use crate::db::{LaneConnection, LaneDb, Note, Tx};
use crate::error::Error;
use crate::queue::{self, Claimed, Claims};

/// What waits together to be claimed commits together.
pub struct ClaimLane;

/// What a claim got, and in whose name, so that it can be taken back.
pub struct Dealt {
    tenant: TenantId,
    pub(super) claimed: Claimed,
}

impl Lane for ClaimLane {
    type Member = Claim;
    type Answer = Dealt;
    type Key = (AgentId, String);
    const NAME: &'static str = "claim";

    fn key(member: &Claim) -> Option<Self::Key> {
        Some((member.claimant.agent, member.claimant.request_id.clone()?))
    }

    fn weight(member: &Claim) -> usize {
        size_of::<Claim>() + member.lanes.iter().map(String::len).sum::<usize>()
    }

    /// One statement for all that are restricted alike. Several in one transaction, so that a later one sees what
    /// an earlier one took; a single one commits by itself.
    async fn run(app: &App, members: &[Claim]) -> Result<Vec<Dealt>, Error> {
        settle_pinned(app, members).await?;
        let mut groups = gather(app, members);
        if settle_shared(app, &groups).await? {
            groups = gather(app, members);
        }
        let mut answers: Vec<Option<Claimed>> = vec![None; members.len()];
        let mut advances = Vec::new();
        let mut proven_empty = Vec::new();
        let mut db = match groups.len() {
            1 => Db::Alone(app.db.lane(LaneDb::Claim).await?),
            _ => Db::Together(app.db.begin_lane(LaneDb::Claim).await?),
        };
        for claims in &groups {
            let tenant = claims.bounds.tenant;
            let observed: Vec<_> = claims
                .sets
                .iter()
                .map(|set| app.hints.observe(tenant, &set.lanes))
                .collect();
            let is_alone = matches!(db, Db::Alone(_));
            let (dealt, advance) = queue::claim_next(db.conn(), &app.hints, claims, is_alone)
                .await
                .map_err(crate::db::unknown_outcome)?;
            advances.push(advance);
            for ((set, observed), dealt) in claims.sets.iter().zip(observed).zip(dealt) {
                if dealt.proves_empty && claims.bounds.are_open() {
                    proven_empty.push((tenant, set, observed));
                }
                for (place, claimed) in set.places.iter().zip(dealt.claimed) {
                    answers[*place] = Some(claimed);
                }
            }
        }
        db.commit(app).await?;
        for (tenant, set, observed) in proven_empty {
            for place in &set.places {
                if matches!(answers[*place], Some(Claimed::Nothing)) {
                    let agent = members[*place].claimant.agent;
                    app.hints
                        .found_nothing(tenant, &set.lanes, &observed, agent);
                }
            }
        }
        for advance in advances {
            advance.apply(&app.hints);
        }
        Ok(members
            .iter()
            .zip(answers)
            .map(|(member, claimed)| Dealt {
                tenant: member.tenant,
                claimed: claimed.expect("every claim is in one group"),
            })
            .collect())
    }

    async fn abandon(app: &App, answer: Dealt) {
        take_back(app, answer.tenant, answer.claimed).await;
    }
}

/// The connection of a batch.
enum Db {
    /// Its one statement commits by itself.
    Alone(LaneConnection),
    /// Its statements commit together.
    Together(Tx),
}

impl Db {
    fn conn(&mut self) -> &mut PgConnection {
        match self {
            Self::Alone(db) => db,
            Self::Together(tx) => tx.conn(),
        }
    }

    /// Gives it back once what it did has committed, and tells of it.
    async fn commit(self, app: &App) -> Result<(), Error> {
        match self {
            Self::Alone(db) => {
                app.bus.publish(app, vec![Note::EventsAppended]);
                db.put_back();
                Ok(())
            }
            Self::Together(mut tx) => {
                tx.note(Note::EventsAppended);
                tx.commit(app).await
            }
        }
    }
}

/// The claims of a batch, without the lanes that are known to be empty.
fn gather<'a>(app: &App, members: &'a [Claim]) -> Vec<Claims<'a>> {
    Claims::gather(members.iter().map(|member| {
        let lanes = app.hints.without_known_empty(member.tenant, &member.lanes);
        (member.tenant, lanes, &member.claimant)
    }))
}

/// Every agent has lanes that only it takes from, and hardly any of them ever holds a task. One statement
/// finds that out for all who claim for the first time, so that their claims can share one.
async fn settle_pinned(app: &App, members: &[Claim]) -> Result<(), Error> {
    let mut unsure: BTreeMap<TenantId, BTreeSet<String>> = BTreeMap::new();
    for member in members {
        let lanes = app.hints.unsure_pinned(member.tenant, &member.lanes);
        unsure.entry(member.tenant).or_default().extend(lanes);
    }
    settle(app, unsure).await.map(|_| ())
}

/// Whoever takes tasks with different roles takes those without a role as well, and often there are none. Sets that
/// still have a lane in common are looked at one after the other; so now and then one statement finds out whether it
/// holds anything. Answers whether there was a look.
async fn settle_shared(app: &App, groups: &[Claims<'_>]) -> Result<bool, Error> {
    let mut unsure: BTreeMap<TenantId, BTreeSet<String>> = BTreeMap::new();
    for claims in groups {
        let mut wanted = HashSet::new();
        let lanes = claims.sets.iter().flat_map(|set| &set.lanes);
        let shared: BTreeSet<&String> = lanes.filter(|lane| !wanted.insert(*lane)).collect();
        let tenant = claims.bounds.tenant;
        let lanes = app.hints.unsure_shared(tenant, shared);
        unsure.entry(tenant).or_default().extend(lanes);
    }
    settle(app, unsure).await
}

/// Finds out which of these lanes hold anything, if there are any.
async fn settle(app: &App, unsure: BTreeMap<TenantId, BTreeSet<String>>) -> Result<bool, Error> {
    let unsure = unsure.into_iter().filter(|(_, lanes)| !lanes.is_empty());
    let mut unsure = unsure.peekable();
    if unsure.peek().is_none() {
        return Ok(false);
    }
    let mut db = app.db.lane(LaneDb::Claim).await?;
    for (tenant, lanes) in unsure {
        let lanes: Vec<String> = lanes.into_iter().collect();
        queue::settle_lanes(&mut db, &app.hints, tenant, &lanes).await?;
    }
    db.put_back();
    Ok(true)
}

/// A claim whose client has gone is undone at once, counting no abandon.
pub(super) async fn take_back(app: &App, tenant: TenantId, claimed: Claimed) {
    let Claimed::Task(held) = claimed else { return };
    // Under its request id the client asks again, and gets it.
    let undone = async {
        let mut tx = app.db.begin_internal().await?;
        queue::unclaim(&mut tx, tenant, held.task, held.attempt).await?;
        tx.commit(app).await
    };
    if let Err(error) = undone.await {
        tracing::warn!(%error, task.id = %held.task, "a claim whose client has gone could not be undone; its lease will end");
    }
}
