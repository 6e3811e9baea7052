//! Why a task does not run: the one reason that stands in its way now, and what to do about it.

use protocol::{Blocker, Task, TaskId, TaskState, TenantId, Why, WhyReason};
use sqlx::PgConnection;
use uuid::Uuid;

use super::store;
use super::why_store::{self, Candidate};
use crate::error::Error;
use crate::queue;

/// Explains a task; answers with its title, too.
///
/// # Errors
/// 404.
pub(crate) async fn explain(
    db: &mut PgConnection,
    tenant: TenantId,
    id: TaskId,
) -> Result<(String, Why), Error> {
    let task = store::record(db, tenant, id, None).await?;
    let why = explain_task(db, tenant, id, None).await?;
    Ok((task.title, why))
}

/// Explains a task.
pub(super) async fn explain_task(
    db: &mut PgConnection,
    tenant: TenantId,
    id: TaskId,
    workspaces: Option<&[Uuid]>,
) -> Result<Why, Error> {
    let task = store::record(db, tenant, id, workspaces).await?;
    let mut why = Why {
        task_id: task.id,
        state: task.state,
        reason: WhyReason::Final,
        message: String::new(),
        until: None,
        blocked_by: Vec::new(),
        routing_tag: None,
        nearest_tag: None,
        agent_id: task.assigned_agent_id,
        worker_id: task.assigned_worker_id,
        attempt: task.attempt,
    };
    let held = match (task.state, task.workflow_id) {
        (TaskState::Pending, Some(_)) => queue::held_at_gate(db, tenant, id).await?,
        _ => None,
    };
    match task.state {
        TaskState::Pending if held.as_deref() == Some("paused") => {
            why.reason = WhyReason::Paused;
            "its run, or its work item, is paused; resume it, and the task goes on from where it was"
                .clone_into(&mut why.message);
        }
        TaskState::Pending if held.is_some() => {
            why.reason = WhyReason::LimitFull;
            "as many tasks of its run are under way as the playbook allows; when one ends, the next goes in by priority, then age"
                .clone_into(&mut why.message);
        }
        TaskState::Pending if task.blocked_count > 0 => {
            let needed: Vec<Uuid> = task.depends_on.iter().map(|id| id.uuid()).collect();
            let unfinished = why_store::unfinished(db, tenant, &needed).await?;
            why.reason = WhyReason::BlockedBy;
            why.message = format!(
                "it waits for {} of the {} tasks it depends on; ask why of the first one listed",
                task.blocked_count,
                task.depends_on.len()
            );
            why.blocked_by = unfinished
                .into_iter()
                .map(|task| Blocker {
                    task_id: task.id,
                    title: task.title,
                    state: task.state,
                })
                .collect();
        }
        TaskState::Pending => {
            why.reason = WhyReason::NotDue;
            why.until = task.available_at;
            why.message = match (task.available_at, task.retry_count) {
                (Some(due), 0) => format!("it is delayed until {due}"),
                (Some(due), retries) => {
                    format!("retry {retries} is due at {due}; the events tell what failed")
                }
                (None, _) => "it becomes ready in a moment".to_owned(),
            };
        }
        TaskState::Ready => {
            let candidates = why_store::candidates(db, tenant).await?;
            explain_ready(&mut why, &task, &candidates);
        }
        TaskState::Claimed | TaskState::InProgress => {
            why.reason = WhyReason::LeasedUntil;
            why.until = task.lease_expires_at;
            why.message = format!(
                "attempt {} holds it ({}); if its holder falls silent, it is back in the queue when the lease ends",
                task.attempt, task.state
            );
        }
        TaskState::AwaitingApproval | TaskState::OutputPendingAssessment | TaskState::Escalated => {
            why.reason = WhyReason::WaitingForPerson;
            why.message = match task.state {
                TaskState::OutputPendingAssessment => {
                    "its output waits for a person: `verification` of the task tells what is wrong with it; approve the output, reject it, request changes, or give another one"
                }
                TaskState::Escalated => "the holder asked for help: somebody has to answer",
                _ => "somebody has to approve it before it runs",
            }
            .to_owned();
        }
        TaskState::Completed | TaskState::Failed | TaskState::Cancelled => {
            why.message = match (&task.error, task.state) {
                (Some(error), _) => format!("it has {}: {}", task.state, error.message),
                (None, TaskState::Cancelled) => "it was cancelled".to_owned(),
                (None, state) => format!("it has {state}"),
            };
        }
    }
    Ok(why)
}

/// A ready task waits for a holder: none that serves its tag, none that may, none that has room, or one
/// that will ask in a moment.
fn explain_ready(why: &mut Why, task: &Task, candidates: &[Candidate]) {
    let only_for = task
        .preferred_agent_id
        .map(Uuid::from)
        .or(task.preferred_worker_id.map(Uuid::from));
    let lane = queue::lane_of(task.role.as_deref(), task.is_orchestrator_task, None);
    let tag = queue::tag_of(&lane).to_owned();
    let suits = |candidate: &&Candidate| {
        let serves = tag.is_empty() || candidate.tags.contains(&tag);
        let may = only_for
            .is_none_or(|holder| candidate.id == holder || candidate.worker == Some(holder));
        serves && may
    };
    let alive: Vec<&Candidate> = candidates
        .iter()
        .filter(|candidate| candidate.is_alive)
        .collect();
    let suitable: Vec<&&Candidate> = alive.iter().filter(|candidate| suits(candidate)).collect();
    if !tag.is_empty() {
        why.routing_tag = Some(tag.clone());
    }
    if suitable.is_empty() {
        why.reason = WhyReason::NoWorkerWithTag;
        why.nearest_tag = nearest(&tag, alive.iter().flat_map(|candidate| &candidate.tags));
        why.message = match (&why.nearest_tag, only_for) {
            (_, Some(holder)) => format!(
                "only {holder} may take it, and that holder is not alive or does not serve its tag"
            ),
            (Some(nearest), None) => format!(
                "no agent that is alive serves {tag:?}; the nearest tag that one serves is {nearest:?}"
            ),
            (None, None) if tag.is_empty() => "no agent is alive; start a worker".to_owned(),
            (None, None) => {
                format!("no agent that is alive serves {tag:?}; start a worker that does")
            }
        };
        return;
    }
    let working: Vec<_> = suitable
        .into_iter()
        .filter(|candidate| !candidate.is_draining)
        .collect();
    if working.is_empty() {
        why.reason = WhyReason::AllDraining;
        "every worker that serves it drains; start another one".clone_into(&mut why.message);
    } else if working.iter().all(|candidate| !candidate.has_room) {
        why.reason = WhyReason::HolderFull;
        why.message = format!(
            "all {} agents that serve it hold as many leases as they may; add workers, or wait",
            working.len()
        );
    } else {
        why.reason = WhyReason::WaitingForClaim;
        why.message = format!(
            "{} agents that serve it have room: it goes to the next one that claims, after tasks of higher priority",
            working
                .iter()
                .filter(|candidate| candidate.has_room)
                .count()
        );
    }
}

/// The tag that looks most like the wanted one, if any looks like it at all.
fn nearest<'a>(wanted: &str, tags: impl Iterator<Item = &'a String>) -> Option<String> {
    /// Below this likeness, from 0 to 1, a tag is another word and no typing mistake.
    const LIKENESS_MIN: f64 = 0.6;
    tags.map(|tag| (strsim::normalized_damerau_levenshtein(wanted, tag), tag))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, tag)| tag.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_finds_the_tag_that_was_meant() {
        let tags = ["role:reviewer".to_owned(), "role:painter".to_owned()];
        assert_eq!(
            nearest("role:reviwer", tags.iter()).as_deref(),
            Some("role:reviewer")
        );
        assert_eq!(nearest("role:xyz-unlike", ["gpu".to_owned()].iter()), None);
    }
}
