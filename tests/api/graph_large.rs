//! Large graphs come to their end, and the end of one task costs the same in all of them.

use serde_json::{Map, Value, json};
use sqlx::Row as _;
use stint_protocol::WorkflowState;
use stint_tests::{Setup, TestPlatform, test};
use uuid::Uuid;

async fn works_off(t: &TestPlatform, steps: Value, tasks: usize) {
    let worker = t.worker("w1").capacity(100).await;
    let id = t.launch(steps).await.workflow.id;
    assert_eq!(worker.work_off(|_| json!({ "ok": true })).await, tasks);
    let run = t.run(id).await.workflow;
    assert_eq!(run.state, WorkflowState::Completed, "{:?}", run.step_counts);
}

fn chain(length: usize) -> Value {
    let mut steps = Map::new();
    for n in 0..length {
        let needs: Vec<String> = n
            .checked_sub(1)
            .map(|before| format!("s{before}"))
            .into_iter()
            .collect();
        steps.insert(format!("s{n}"), json!({ "kind": "task", "needs": needs }));
    }
    Value::Object(steps)
}

#[test]
fn a_chain_of_a_thousand_steps_ends() {
    Setup::new()
        .patient(4)
        .test(async |t| works_off(t, chain(1_000), 1_000).await);
}

#[test]
fn twenty_layers_of_ten_steps_end() {
    test(async |t| {
        let mut steps = Map::new();
        for layer in 0..20 {
            for place in 0..10 {
                let needs: Vec<String> = match layer {
                    0 => vec![],
                    _ => (0..10)
                        .map(|above| format!("l{}_{above}", layer - 1))
                        .collect(),
                };
                steps.insert(
                    format!("l{layer}_{place}"),
                    json!({ "kind": "task", "needs": needs }),
                );
            }
        }
        works_off(t, Value::Object(steps), 200).await;
    });
}

#[test]
fn a_thousand_branches_fan_out_of_a_step_and_join_again() {
    test(async |t| {
        let mut steps = Map::new();
        let names: Vec<String> = (0..1_000).map(|n| format!("b{n}")).collect();
        steps.insert("first".to_owned(), json!({ "kind": "task" }));
        for name in &names {
            steps.insert(name.clone(), json!({ "kind": "task", "needs": ["first"] }));
        }
        steps.insert("join".to_owned(), json!({ "kind": "task", "needs": names }));
        works_off(t, Value::Object(steps), 1_002).await;
    });
}

#[test]
fn a_list_of_a_thousand_items_is_worked_off_and_joined() {
    test(async |t| {
        let items: Vec<usize> = (0..1_000).collect();
        let worker = t.worker("w1").capacity(100).await;
        let definition = json!({
            "kind": "graph",
            "parameters_schema": { "type": "object", "properties": { "items": { "type": "array" } } },
            "steps": {
                "each": { "kind": "for_each", "items": "{{ input.items }}", "max_parallel": 40, "task": { "input": { "n": "{{ item }}" } } },
                "join": { "kind": "task", "input": { "count": "{{ steps.each.output | length }}" } },
            },
            "output": { "count": "{{ steps.join.output.count }}" },
        });
        let id = t
            .launch_with(definition, json!({ "items": items }))
            .await
            .workflow
            .id;
        assert_eq!(worker.work_off(Clone::clone).await, 1_001);
        let run = t.run(id).await.workflow;
        assert_eq!(run.state, WorkflowState::Completed);
        assert_eq!(run.output.unwrap().value(), json!({ "count": 1_000 }));
    });
}

/// Statements, rows that they gave or changed, and blocks that they looked at: of one completion in the
/// middle of a list of so many items.
async fn cost_of_one_end(t: &TestPlatform, items: usize) -> (i64, i64, i64) {
    let items: Vec<Uuid> = (0..items).map(|_| Uuid::new_v4()).collect();
    let worker = t.worker("w1").capacity(3).await;
    let definition = json!({
        "kind": "graph",
        "parameters_schema": { "type": "object", "properties": { "items": { "type": "array" } } },
        "steps": { "each": { "kind": "for_each", "items": "{{ input.items }}", "max_parallel": 3,
                             "task": { "input": { "id": "{{ item }}" } } } },
    });
    let id = t
        .launch_with(definition, json!({ "items": items }))
        .await
        .workflow
        .id;
    t.execute("analyze").await;
    let task = worker.begin().await;
    worker
        .complete(&task, json!(1))
        .await
        .expect("it is accepted");
    let held = worker.begin().await;
    t.execute(
        "create extension if not exists pg_stat_statements; select pg_stat_statements_reset()",
    )
    .await;
    worker
        .complete(&held, json!(1))
        .await
        .expect("it is accepted");
    let row = sqlx::query(
        "select sum(calls)::bigint as calls, sum(rows)::bigint as rows, sum(shared_blks_hit + shared_blks_read)::bigint as blocks
         from pg_stat_statements
         where query not like '%pg_stat_statements%' and query not like '%pg_notify%' and dbid = (select oid from pg_database where datname = current_database())",
    )
    .fetch_one(t.sql())
    .await
    .expect("it is accepted");
    t.admin()
        .cancel_workflow(id, &Default::default())
        .await
        .expect("it is accepted");
    (row.get("calls"), row.get("rows"), row.get("blocks"))
}

#[test]
fn the_end_of_a_task_costs_the_same_in_a_small_run_and_in_a_large_one() {
    test(async |t| {
        let small = cost_of_one_end(t, 20).await;
        let large = cost_of_one_end(t, 5_000).await;
        assert_eq!(
            (small.0, small.1),
            (large.0, large.1),
            "statements and rows"
        );
        assert!(
            2 * large.2 < 3 * small.2,
            "blocks: {} and {}",
            small.2,
            large.2
        );
    });
}
