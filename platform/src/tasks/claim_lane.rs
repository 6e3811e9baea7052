//! Claims in batches: one statement, which looks once into each lane that any of them wants.

use std::collections::BTreeMap;

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
        let groups = Claims::gather(members.iter().map(|member| {
            let lanes = app.hints.without_known_empty(member.tenant, &member.lanes);
            (member.tenant, lanes, &member.claimant)
        }));
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

/// Every agent has lanes that only it takes from, and hardly any of them ever holds a task. One statement
/// finds that out for all who claim for the first time, so that their claims can share one.
async fn settle_pinned(app: &App, members: &[Claim]) -> Result<(), Error> {
    let mut unsure: BTreeMap<TenantId, Vec<String>> = BTreeMap::new();
    for member in members {
        let lanes = app.hints.unsure_pinned(member.tenant, &member.lanes);
        if !lanes.is_empty() {
            unsure.entry(member.tenant).or_default().extend(lanes);
        }
    }
    if unsure.is_empty() {
        return Ok(());
    }
    let mut db = app.db.lane(LaneDb::Claim).await?;
    for (tenant, mut lanes) in unsure {
        lanes.sort_unstable();
        lanes.dedup();
        queue::settle_pinned(&mut db, &app.hints, tenant, &lanes).await?;
    }
    db.put_back();
    Ok(())
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
