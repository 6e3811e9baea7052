//! Lanes: a task lies in one, a claim names those it takes from.
//!
//! A lane is a routing tag (`role:<role>`, `orchestrator`, or nothing), followed by `@<id>` when only one
//! agent or the agents of one worker may take it. So matching is a prefix of the queue's index, and a
//! task that does not suit never stands before one that does.

use protocol::{AgentId, ExecutionMode, WorkerId};
use uuid::Uuid;

const ORCHESTRATOR: &str = "orchestrator";

/// The lane of a task.
pub fn lane_of(role: Option<&str>, is_orchestrator_task: bool, only_for: Option<Uuid>) -> String {
    let tag = match role {
        _ if is_orchestrator_task => ORCHESTRATOR.to_owned(),
        Some(role) => format!("role:{role}"),
        None => String::new(),
    };
    match only_for {
        Some(holder) => pinned(&tag, holder),
        None => tag,
    }
}

fn pinned(tag: &str, holder: Uuid) -> String {
    format!("{tag}@{holder}")
}

/// The lanes an agent takes from, with the tags its claim named.
///
/// Tasks without a role need no tag, so their lane is always among them, unless the key is restricted to
/// routing tags. An orchestrator takes orchestrator tasks only, a specialist all but these.
pub fn lanes_of(
    tags: &[String],
    mode: ExecutionMode,
    agent: AgentId,
    worker: Option<WorkerId>,
    is_restricted: bool,
) -> Vec<String> {
    let mut tags: Vec<&str> = tags
        .iter()
        .map(String::as_str)
        .filter(|tag| !tag.is_empty())
        .collect();
    if !is_restricted {
        tags.push("");
    }
    tags.retain(|tag| match mode {
        ExecutionMode::Specialist => *tag != ORCHESTRATOR,
        ExecutionMode::Orchestrator => *tag == ORCHESTRATOR,
        ExecutionMode::Hybrid => true,
    });
    let mut lanes: Vec<String> = Vec::with_capacity(tags.len() * 3);
    for tag in tags {
        lanes.push(tag.to_owned());
        lanes.push(pinned(tag, agent.uuid()));
        lanes.extend(worker.map(|worker| pinned(tag, worker.uuid())));
    }
    lanes.sort_unstable();
    lanes.dedup();
    lanes
}

/// The routing tag of a lane.
pub(crate) fn tag_of(lane: &str) -> &str {
    match lane.rsplit_once('@') {
        Some((tag, holder)) if holder.parse::<Uuid>().is_ok() => tag,
        _ => lane,
    }
}

/// The agent or worker a lane is pinned to.
pub(crate) fn holder_of(lane: &str) -> Option<Uuid> {
    lane.rsplit_once('@')
        .and_then(|(_, holder)| holder.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(tags: &[&str], mode: ExecutionMode) -> Vec<String> {
        let tags: Vec<_> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        lanes_of(&tags, mode, AgentId::from(Uuid::nil()), None, false)
    }

    #[test]
    fn a_claim_takes_its_tags_untagged_tasks_and_what_is_pinned_to_it() {
        let nil = Uuid::nil();
        let mut expected = vec![
            String::new(),
            format!("@{nil}"),
            "role:a".to_owned(),
            format!("role:a@{nil}"),
        ];
        expected.sort();
        assert_eq!(lanes(&["role:a"], ExecutionMode::Specialist), expected);
    }

    #[test]
    fn an_orchestrator_takes_orchestrator_tasks_only() {
        let lanes = lanes(&["role:a", "orchestrator"], ExecutionMode::Orchestrator);
        assert!(
            lanes.iter().all(|lane| tag_of(lane) == "orchestrator"),
            "{lanes:?}"
        );
    }

    #[test]
    fn a_restricted_key_takes_no_untagged_tasks() {
        let agent = AgentId::new();
        let lanes = lanes_of(
            &["role:a".to_owned()],
            ExecutionMode::Hybrid,
            agent,
            None,
            true,
        );
        assert!(
            lanes.iter().all(|lane| tag_of(lane) == "role:a"),
            "{lanes:?}"
        );
    }

    #[test]
    fn the_tag_of_a_pinned_lane_is_found_again() {
        let holder = Uuid::now_v7();
        let lane = lane_of(Some("mail@home"), false, Some(holder));
        assert_eq!(
            (tag_of(&lane), holder_of(&lane)),
            ("role:mail@home", Some(holder))
        );
        assert_eq!(tag_of("role:mail@home"), "role:mail@home");
    }
}
