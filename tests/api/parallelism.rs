//! How much of a run is under way at once, with two replicas that hand out and take in at the same time.
//!
//! What was under way is read from the events afterwards: whoever begins a task, and whoever makes room for
//! one, holds the same lock, so that their events are in the order in which it happened.

use futures_util::future::join_all;
use serde_json::{Value, json};
use stint_protocol::{WorkflowId, WorkflowState};
use stint_tests::{TestPlatform, TestWorker, test};

/// Tasks of the run.
const ITEMS: usize = 60;
/// Workers on each of the replicas.
const WORKERS: usize = 4;

/// Claims and completes until the run has ended.
async fn work_until_the_end(t: &TestPlatform, worker: &TestWorker, run: WorkflowId) {
    loop {
        let claim = |claim: &mut stint_protocol::ClaimTask| {
            claim.start = Some(true);
            // Whoever finds nothing is woken by what comes, wherever it comes.
            claim.wait_seconds = Some(1);
        };
        match worker.claim_with(claim).await.expect("a claim") {
            Some(task) => {
                let done = worker.complete(&task, json!({})).await;
                done.expect("it is accepted");
            }
            None if t.run_state(run).await.is_final() => return,
            None => {}
        }
    }
}

/// Works a run of many items off by workers of two replicas.
async fn work_off(t: &TestPlatform, definition: Value) -> WorkflowId {
    let there = t.replica().await;
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        let here = t.worker(&format!("w{number}")).capacity(2).await;
        workers.push(here.at(&there));
        workers.push(here);
    }
    let items: Vec<usize> = (0..ITEMS).collect();
    let run = t.launch_with(definition, json!({ "items": items })).await;
    let id = run.workflow.id;
    let working = workers
        .iter()
        .map(|worker| work_until_the_end(t, worker, id));
    join_all(working).await;
    assert_eq!(t.run_state(id).await, WorkflowState::Completed);
    id
}

fn definition(more: &Value) -> Value {
    let mut definition = json!({
        "kind": "graph",
        "parameters_schema": { "type": "object", "properties": { "items": { "type": "array" } } },
        "steps": { "each": { "kind": "for_each", "items": "{{ input.items }}",
                             "task": { "input": { "n": "{{ item }}" } } } },
    });
    for (name, value) in more.as_object().expect("members") {
        match name.as_str() {
            "max_parallel" => definition["steps"]["each"]["max_parallel"] = value.clone(),
            _ => definition[name] = value.clone(),
        }
    }
    definition
}

/// The most tasks of a run that were in one of these states at once.
async fn most_at_once(t: &TestPlatform, run: WorkflowId, states: &[&str]) -> i64 {
    sqlx::query_scalar(
        "select max(under_way)::bigint
         from (select sum((to_state = any($2))::int - coalesce((from_state = any($2))::int, 0)) over (order by id) as under_way
               from task_moves
               where workflow_id = $1 and to_state is not null) e",
    )
    .bind(run.uuid())
    .bind(states)
    .fetch_one(t.sql())
    .await
    .expect("the events can be read")
}

#[test]
fn two_replicas_together_begin_no_more_of_a_list_than_max_parallel() {
    test(async |t| {
        let run = work_off(t, definition(&json!({ "max_parallel": 3 }))).await;
        let open = ["pending", "ready", "claimed", "in_progress"];
        assert_eq!(most_at_once(t, run, &open).await, 3);
    });
}

#[test]
fn two_replicas_together_have_no_more_under_way_than_the_limits_of_a_playbook() {
    test(async |t| {
        let limits = json!({ "limits": { "max_active_tasks": 3 } });
        let run = work_off(t, definition(&limits)).await;
        let active = ["ready", "claimed", "in_progress"];
        assert_eq!(most_at_once(t, run, &active).await, 3);
        let open = ["pending", "ready", "claimed", "in_progress"];
        assert_eq!(
            most_at_once(t, run, &open).await,
            60,
            "all were made at once"
        );
    });
}
