//! Claims in batches: one statement per distinct set of lanes.

use std::collections::BTreeMap;

use protocol::{AgentId, TenantId};
use uuid::Uuid;

use super::claim::Claim;
use crate::app::App;
use crate::batch::Lane;
use crate::db::{LaneDb, Note};
use crate::error::Error;
use crate::queue::{self, Claimant, Claimed, Claims};

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

    /// One statement per distinct set of lanes. All in one transaction, so that a later one sees what an
    /// earlier one took; a single one commits by itself.
    async fn run(app: &App, members: &[Claim]) -> Result<Vec<Dealt>, Error> {
        settle_pinned(app, members).await?;
        let groups = group(app, members);
        let mut answers: Vec<Option<Claimed>> = vec![None; members.len()];
        let mut advances = Vec::new();
        let mut tx = if groups.len() > 1 {
            Some(app.db.begin_lane(LaneDb::Claim).await?)
        } else {
            None
        };
        let mut alone = if tx.is_none() {
            Some(app.db.lane(LaneDb::Claim).await?)
        } else {
            None
        };
        let observed: Vec<_> = groups
            .keys()
            .map(|wants| app.hints.observe(wants.tenant, &wants.lanes))
            .collect();
        for (wants, places) in &groups {
            let claimants: Vec<&Claimant> = places
                .iter()
                .map(|place| &members[*place].claimant)
                .collect();
            let claims = Claims {
                tenant: wants.tenant,
                lanes: &wants.lanes,
                claimants: &claimants,
                commits_by_itself: alone.is_some(),
            };
            let db = match (&mut tx, &mut alone) {
                (Some(tx), _) => tx.conn(),
                (None, Some(alone)) => &mut **alone,
                (None, None) => unreachable!("one of both was opened"),
            };
            let (claimed, advance) = queue::claim_next(db, &app.hints, &claims)
                .await
                .map_err(crate::db::unknown_outcome)?;
            advances.push(advance);
            for (place, claimed) in places.iter().zip(claimed) {
                answers[*place] = Some(claimed);
            }
        }
        match tx {
            Some(mut tx) => {
                tx.note(Note::EventsAppended);
                tx.commit(app).await?;
            }
            None => app.bus.publish(app, vec![Note::EventsAppended]),
        }
        if let Some(alone) = alone {
            alone.put_back();
        }
        for (((wants, places), observed), advance) in groups.iter().zip(&observed).zip(advances) {
            if advance.proves_empty() {
                remember_empty(app, members, wants, places, observed, &answers);
            }
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

/// What claims must have in common to share a statement.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Wants {
    tenant: TenantId,
    lanes: Vec<String>,
    workspaces: Option<Vec<Uuid>>,
    workflow: Option<Uuid>,
}

fn group(app: &App, members: &[Claim]) -> BTreeMap<Wants, Vec<usize>> {
    let mut groups: BTreeMap<Wants, Vec<usize>> = BTreeMap::new();
    for (place, member) in members.iter().enumerate() {
        let claimant = &member.claimant;
        let wants = Wants {
            tenant: member.tenant,
            lanes: app.hints.without_known_empty(member.tenant, &member.lanes),
            workspaces: claimant.workspaces.clone(),
            workflow: claimant.workflow.map(Into::into),
        };
        groups.entry(wants).or_default().push(place);
    }
    groups
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

fn remember_empty(
    app: &App,
    members: &[Claim],
    wants: &Wants,
    places: &[usize],
    observed: &queue::Observed,
    answers: &[Option<Claimed>],
) {
    if wants.workspaces.is_some() || wants.workflow.is_some() {
        return;
    }
    for place in places {
        if matches!(answers[*place], Some(Claimed::Nothing)) {
            app.hints.found_nothing(
                wants.tenant,
                &wants.lanes,
                observed,
                members[*place].claimant.agent,
            );
        }
    }
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
