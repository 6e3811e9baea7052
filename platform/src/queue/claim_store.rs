//! The statement of the claim, and what its rows mean.

use std::collections::HashMap;

use protocol::WorkerId;
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use super::claim::{Claimant, Claimed, Claims, Held, Look};
use super::hints::Hints;
use super::watermark::{Marks, PRIORITIES};
use crate::error::Error;

/// What the function `claim_next` tells of a claimant, or of a set of lanes.
pub(super) struct Row {
    pub(super) place: i32,
    pub(super) verdict: String,
    pub(super) candidates: Option<i32>,
    pub(super) oldest_lease: Option<i64>,
    pub(super) task_id: Option<Uuid>,
    pub(super) attempt: Option<i32>,
    pub(super) lane: Option<String>,
    pub(super) seq: Option<i64>,
    pub(super) state: Option<String>,
    pub(super) retry_count: Option<i32>,
    pub(super) abandon_count: Option<i32>,
    pub(super) rework_count: Option<i32>,
    pub(super) agent_id: Option<Uuid>,
    pub(super) worker_id: Option<Uuid>,
    pub(super) claimed_at: Option<DateTime<Utc>>,
    pub(super) started_at: Option<DateTime<Utc>>,
    pub(super) expires_at: Option<DateTime<Utc>>,
    pub(super) lease_seconds: Option<i32>,
    pub(super) progress: Option<String>,
    pub(super) workflow_id: Option<Uuid>,
    pub(super) work_item_id: Option<Uuid>,
    pub(super) workspace_id: Option<Uuid>,
    pub(super) activation_id: Option<Uuid>,
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) task_type: Option<String>,
    pub(super) task_kind: Option<String>,
    pub(super) role: Option<String>,
    pub(super) stage_name: Option<String>,
    pub(super) priority: Option<i16>,
    pub(super) timeout_minutes: Option<i32>,
    pub(super) depends_on: Option<Vec<Uuid>>,
    pub(super) settings: Option<String>,
    pub(super) input: Option<String>,
    pub(super) context: Option<String>,
    pub(super) role_config: Option<String>,
    pub(super) environment: Option<String>,
    pub(super) metadata: Option<String>,
    pub(super) is_orchestrator_task: Option<bool>,
    pub(super) created_at: Option<DateTime<Utc>>,
}

/// Asks for tasks for claimants, who are named by their look and their place in it.
pub(super) async fn fetch(
    db: &mut PgConnection,
    hints: &Hints,
    claims: &Claims<'_>,
    looks: &[&mut Look<'_>],
    asked: &[(usize, usize)],
) -> Result<Vec<Row>, Error> {
    let claimants: Vec<&Claimant> = asked
        .iter()
        .map(|(nth, place)| looks[*nth].set.claimants[*place])
        .collect();
    let agents: Vec<Uuid> = claimants
        .iter()
        .map(|claimant| claimant.agent.uuid())
        .collect();
    let workers: Vec<Option<Uuid>> = claimants
        .iter()
        .map(|claimant| claimant.worker.map(WorkerId::uuid))
        .collect();
    let agent_capacities: Vec<i32> = claimants
        .iter()
        .map(|claimant| claimant.agent_capacity)
        .collect();
    let worker_capacities: Vec<Option<i32>> = claimants
        .iter()
        .map(|claimant| claimant.worker_capacity)
        .collect();
    let request_ids: Vec<Option<&str>> = claimants
        .iter()
        .map(|claimant| claimant.request_id.as_deref())
        .collect();
    let lease_seconds: Vec<i32> = claimants
        .iter()
        .map(|claimant| claimant.lease_seconds)
        .collect();
    let fenced: Vec<bool> = claimants.iter().map(|claimant| claimant.fenced).collect();
    let starts: Vec<bool> = claimants.iter().map(|claimant| claimant.starts).collect();
    let actor_types: Vec<&str> = claimants
        .iter()
        .map(|claimant| claimant.actor_type)
        .collect();
    let actors: Vec<Uuid> = claimants.iter().map(|claimant| claimant.actor).collect();
    let oldest_leases = hints
        .holders
        .oldest_leases(claimants.iter().map(|claimant| claimant.holder()));
    let lanes = Lanes::of(looks.iter().map(|look| {
        let lanes = look.set.lanes.iter().map(String::as_str).zip(&look.marks);
        (lanes, look.open().count())
    }));
    sqlx::query_file_as!(
        Row,
        "src/queue/claim_next.sql",
        claims.bounds.tenant.uuid(),
        &lanes.claimants_end,
        &agents,
        &workers as &[Option<Uuid>],
        &agent_capacities,
        &worker_capacities as &[Option<i32>],
        &request_ids as &[Option<&str>],
        &lease_seconds,
        &fenced,
        &starts,
        &actor_types as &[&str],
        &actors,
        &oldest_leases,
        &lanes.names as &[&str],
        &lanes.takers,
        &lanes.shared,
        &lanes.beyond,
        &lanes.set_lanes,
        &lanes.lanes_end,
        claims.bounds.workspaces.as_deref() as Option<&[Uuid]>,
        claims.bounds.workflow as Option<Uuid>,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// The lanes that the sets of a batch want, each once, as `claim_next` wants to be told of them.
#[derive(Debug, Default, PartialEq)]
struct Lanes<'a> {
    names: Vec<&'a str>,
    takers: Vec<i32>,
    shared: Vec<bool>,
    /// One for each priority of each lane.
    beyond: Vec<i64>,
    /// Numbers of lanes, from 1.
    set_lanes: Vec<i32>,
    lanes_end: Vec<i32>,
    claimants_end: Vec<i32>,
}

impl<'a> Lanes<'a> {
    /// Of sets: the lanes of each, with where to look beyond, and how many claim from them.
    fn of<S>(sets: impl Iterator<Item = (S, usize)>) -> Self
    where
        S: Iterator<Item = (&'a str, &'a Marks)>,
    {
        let mut lanes = Self::default();
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut claimants_end = 0;
        for (wanted, claimants) in sets {
            for (lane, marks) in wanted {
                let place = *places.entry(lane).or_insert(lanes.names.len());
                if place == lanes.names.len() {
                    lanes.names.push(lane);
                    lanes.takers.push(number(claimants));
                    lanes.shared.push(false);
                    lanes.beyond.extend(marks);
                } else {
                    lanes.takers[place] += number(claimants);
                    lanes.shared[place] = true;
                    // Each set may look from another place on.
                    let known = &mut lanes.beyond[place * PRIORITIES..][..PRIORITIES];
                    for (known, mark) in known.iter_mut().zip(marks) {
                        *known = *mark.min(known);
                    }
                }
                lanes.set_lanes.push(number(place + 1));
            }
            claimants_end += claimants;
            lanes.lanes_end.push(number(lanes.set_lanes.len()));
            lanes.claimants_end.push(number(claimants_end));
        }
        lanes
    }
}

/// A number of things in a batch, as the database counts them.
fn number(count: usize) -> i32 {
    i32::try_from(count).expect("a batch has fewer than two thousand million of anything")
}

/// What a row tells its claimant.
pub(super) fn answer(row: Row) -> Result<Claimed, Error> {
    let missing = || anyhow::anyhow!("the verdict {} came without its task", row.verdict);
    Ok(match row.verdict.as_str() {
        "full" => Claimed::Full,
        "draining" => Claimed::Draining,
        "gone" => Claimed::Gone,
        "spent" => Claimed::Spent {
            task: row.task_id.ok_or_else(missing)?.into(),
            attempt: row.attempt.ok_or_else(missing)?,
        },
        "claimed" => Claimed::Task(Box::new(held(row)?)),
        "replayed" => Claimed::Replayed(Box::new(held(row)?)),
        unknown => {
            return Err(anyhow::anyhow!("claim_next has the unknown verdict {unknown}").into());
        }
    })
}

fn held(row: Row) -> Result<Held, Error> {
    fn known<T>(value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| anyhow::anyhow!("a claimed task came without its facts").into())
    }
    Ok(Held {
        task: known(row.task_id)?.into(),
        attempt: known(row.attempt)?,
        state: known(row.state)?,
        retry_count: known(row.retry_count)?,
        abandon_count: known(row.abandon_count)?,
        rework_count: known(row.rework_count)?,
        agent: known(row.agent_id)?.into(),
        worker: row.worker_id.map(Into::into),
        claimed_at: known(row.claimed_at)?.into(),
        started_at: row.started_at.map(Into::into),
        expires_at: known(row.expires_at)?.into(),
        lease_seconds: known(row.lease_seconds)?,
        progress: row.progress,
        workflow_id: row.workflow_id,
        work_item_id: row.work_item_id,
        workspace_id: row.workspace_id,
        activation_id: row.activation_id,
        title: known(row.title)?,
        description: row.description,
        task_type: known(row.task_type)?,
        task_kind: known(row.task_kind)?,
        role: row.role,
        stage_name: row.stage_name,
        priority: known(row.priority)?,
        timeout_minutes: known(row.timeout_minutes)?,
        depends_on: known(row.depends_on)?,
        settings: known(row.settings)?,
        input: known(row.input)?,
        context: known(row.context)?,
        role_config: known(row.role_config)?,
        environment: known(row.environment)?,
        metadata: known(row.metadata)?,
        is_orchestrator_task: known(row.is_orchestrator_task)?,
        created_at: known(row.created_at)?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Lanes, Marks};

    #[test]
    fn a_lane_that_sets_share_is_named_once_and_looked_into_from_where_the_first_of_them_would() {
        let marks: [Marks; 4] = [[5; 4], [7; 4], [9, 1, 9, 1], [3; 4]];
        let sets = [
            (vec![("", &marks[0]), ("role:a", &marks[1])], 2),
            (vec![("", &marks[2])], 3),
            (vec![("role:b", &marks[3]), ("role:a", &marks[1])], 1),
        ];
        let lanes = Lanes::of(
            sets.into_iter()
                .map(|(lanes, claimants)| (lanes.into_iter(), claimants)),
        );
        let wanted = Lanes {
            names: vec!["", "role:a", "role:b"],
            takers: vec![5, 3, 1],
            shared: vec![true, true, false],
            beyond: [[5, 1, 5, 1], [7; 4], [3; 4]].concat(),
            set_lanes: vec![1, 2, 1, 3, 2],
            lanes_end: vec![2, 3, 5],
            claimants_end: vec![2, 5, 6],
        };
        assert_eq!(lanes, wanted);
    }
}
