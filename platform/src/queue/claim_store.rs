//! The statement of the claim, and what its rows mean.

use std::collections::HashSet;

use protocol::WorkerId;
use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use super::claim::{Claimant, Claimed, Claims, Held, Look};
use super::hints::Hints;
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
    let sets: Vec<i32> = asked.iter().map(|(nth, _)| number(*nth + 1)).collect();
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
    let mut ends: Vec<i32> = Vec::new();
    let mut wanted_lanes: Vec<&str> = Vec::new();
    let mut wanted_priorities: Vec<i16> = Vec::new();
    let mut beyond: Vec<i64> = Vec::new();
    for look in looks {
        for (lane, marks) in look.set.lanes.iter().zip(&look.marks) {
            for (priority, mark) in (0..).zip(marks) {
                wanted_lanes.push(lane);
                wanted_priorities.push(priority);
                beyond.push(*mark);
            }
        }
        ends.push(number(beyond.len()));
    }
    let rounds = rounds(looks.iter().map(|look| look.set.lanes.as_slice()));
    sqlx::query_file_as!(
        Row,
        "src/queue/claim_next.sql",
        claims.bounds.tenant.uuid(),
        &sets,
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
        &ends,
        &rounds,
        &wanted_lanes as &[&str],
        &wanted_priorities,
        &beyond,
        claims.bounds.workspaces.as_deref() as Option<&[Uuid]>,
        claims.bounds.workflow as Option<Uuid>,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// With which set each round ends: one after the other, sets are taken into a round until one wants a lane that is
/// wanted there already.
fn rounds<'a>(sets: impl Iterator<Item = &'a [String]>) -> Vec<i32> {
    let mut ends = Vec::new();
    let mut wanted: HashSet<&str> = HashSet::new();
    let mut count = 0;
    for lanes in sets {
        let lanes = || lanes.iter().map(String::as_str);
        if lanes().any(|lane| wanted.contains(lane)) {
            ends.push(count);
            wanted.clear();
        }
        wanted.extend(lanes());
        count += 1;
    }
    ends.push(count);
    ends
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
    use super::rounds;

    fn rounds_of(sets: &[&[&str]]) -> Vec<i32> {
        let sets: Vec<Vec<String>> = sets
            .iter()
            .map(|lanes| lanes.iter().map(|lane| (*lane).to_owned()).collect())
            .collect();
        rounds(sets.iter().map(Vec::as_slice))
    }

    #[test]
    fn sets_without_a_lane_in_common_look_together() {
        assert_eq!(rounds_of(&[&["a"]]), [1]);
        assert_eq!(rounds_of(&[&["a", "b"], &["c"], &["d"]]), [3]);
    }

    #[test]
    fn a_set_that_wants_a_lane_again_begins_a_round() {
        assert_eq!(rounds_of(&[&["a"], &["b"], &["c", "a"], &["b"]]), [2, 4]);
        assert_eq!(rounds_of(&[&["a"], &["a", "b"], &["b"]]), [1, 2, 3]);
    }
}
