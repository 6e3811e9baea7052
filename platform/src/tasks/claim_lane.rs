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
        let groups = group(members);
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
            .values()
            .map(|places| {
                app.hints
                    .observe(members[places[0]].tenant, &members[places[0]].lanes)
            })
            .collect();
        for places in groups.values() {
            let claimants: Vec<&Claimant> = places
                .iter()
                .map(|place| &members[*place].claimant)
                .collect();
            let first = &members[places[0]];
            let claims = Claims {
                tenant: first.tenant,
                lanes: &first.lanes,
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
        for advance in advances {
            advance.apply(&app.hints);
        }
        for (places, observed) in groups.values().zip(&observed) {
            remember_empty(app, members, places, observed, &answers);
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

type GroupKey<'a> = (TenantId, &'a [String], &'a Option<Vec<Uuid>>, Option<Uuid>);

/// Claims that want the same lanes share a statement.
fn group(members: &[Claim]) -> BTreeMap<GroupKey<'_>, Vec<usize>> {
    let mut groups: BTreeMap<GroupKey<'_>, Vec<usize>> = BTreeMap::new();
    for (place, member) in members.iter().enumerate() {
        let claimant = &member.claimant;
        let key = (
            member.tenant,
            member.lanes.as_slice(),
            &claimant.workspaces,
            claimant.workflow.map(Into::into),
        );
        groups.entry(key).or_default().push(place);
    }
    groups
}

fn remember_empty(
    app: &App,
    members: &[Claim],
    places: &[usize],
    observed: &queue::Observed,
    answers: &[Option<Claimed>],
) {
    let first = &members[places[0]];
    if first.claimant.workspaces.is_some() || first.claimant.workflow.is_some() {
        return;
    }
    for place in places {
        if matches!(answers[*place], Some(Claimed::Nothing)) {
            app.hints.found_nothing(
                first.tenant,
                &first.lanes,
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
