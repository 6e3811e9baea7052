//! Runs of graphs: what follows from what.

use serde_json::{Value, json};
use stint_protocol::{
    DecideStep, RetryTask, StepDecision, StepState, TaskState, WorkflowId, WorkflowState,
};
use stint_tests::{TestPlatform, json as wire, object, status_of, test};

fn task(needs: &[&str]) -> Value {
    json!({ "kind": "task", "needs": needs })
}

fn states(wanted: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(step, state): &(&str, &str)| ((*step).to_owned(), (*state).to_owned());
    wanted.iter().map(own).collect()
}

async fn decide(t: &TestPlatform, id: WorkflowId, step: &str, action: StepDecision) {
    let decision = DecideStep {
        action,
        fields: None,
        comment: Some("because".to_owned()),
        request_id: None,
    };
    let decided = t.admin().decide_workflow_step(id, step, &decision).await;
    decided.expect("a decision");
}

#[test]
fn steps_run_one_after_the_other_and_hand_on_what_they_put_out() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let definition = json!({
            "kind": "graph",
            "parameters": [{ "slug": "name", "title": "Name", "required": true }],
            "steps": {
                "fetch": { "kind": "task", "input": { "who": "{{ input.name }}" } },
                "count": { "kind": "task", "input": {
                    "url": "{{ steps.fetch.output.url }}", "all": "{{ steps.fetch.output }}",
                    "text": "to {{ steps.fetch.output.url }}" } },
            },
            "output": { "pages": "{{ steps.count.output.pages }}" },
        });
        let launched = t.launch_with(definition, json!({ "name": "Ada" })).await;
        let id = launched.workflow.id;
        assert_eq!(launched.workflow.state, WorkflowState::Active);
        assert_eq!(
            t.step_states(id).await,
            states(&[("count", "pending"), ("fetch", "running")])
        );
        let first = worker.begin().await;
        assert_eq!(first.workflow_id, Some(id));
        assert_eq!(first.input, object(json!({ "who": "Ada" })));
        assert!(worker.claim().await.is_none());
        worker
            .complete(&first, json!({ "url": "http://x", "n": 1 }))
            .await
            .unwrap();
        let second = worker.begin().await;
        let wanted = json!({ "url": "http://x", "all": { "url": "http://x", "n": 1 }, "text": "to http://x" });
        assert_eq!(second.input, object(wanted));
        worker
            .complete(&second, json!({ "pages": 3 }))
            .await
            .unwrap();
        let ended = t.run(id).await;
        assert_eq!(ended.workflow.state, WorkflowState::Completed);
        assert_eq!(ended.workflow.output, Some(wire(json!({ "pages": 3 }))));
        assert!(ended.workflow.completed_at.is_some());
        assert_eq!(
            ended.workflow.work_item_summary.completed_work_item_count,
            2
        );
        assert!(ended.work_items.iter().all(|item| item.column_id == "done"));
    });
}

#[test]
fn a_join_waits_for_all_that_it_needs() {
    test(async |t| {
        let worker = t.worker("w1").capacity(5).await;
        let id = t
            .launch(json!({ "a": task(&[]), "b": task(&["a"]), "c": task(&["a"]), "d": task(&["b", "c"]) }))
            .await
            .workflow
            .id;
        let a = worker.begin().await;
        worker.complete(&a, json!({})).await.unwrap();
        let (one, two) = (worker.begin().await, worker.begin().await);
        worker.complete(&one, json!({})).await.unwrap();
        assert!(worker.claim().await.is_none(), "the join began too early");
        worker.complete(&two, json!({})).await.unwrap();
        let last = worker.begin().await;
        assert_eq!(last.title, "d");
        worker.complete(&last, json!({})).await.unwrap();
        assert_eq!(t.run_state(id).await, WorkflowState::Completed);
    });
}

#[test]
fn a_condition_skips_its_branch_and_the_join_goes_on() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let id = t
            .launch(json!({
                "look": task(&[]),
                "big": { "kind": "task", "when": "steps.look.output.size > 10" },
                "after_big": task(&["big"]),
                "small": { "kind": "task", "when": "steps.look.output.size <= 10" },
                "end": { "kind": "task", "needs": ["after_big", "small"],
                         "input": { "big": "{{ steps.big.output }}", "how": "{{ steps.big.state }}" } },
            }))
            .await
            .workflow
            .id;
        let look = worker.begin().await;
        worker.complete(&look, json!({ "size": 3 })).await.unwrap();
        let small = worker.begin().await;
        assert_eq!(small.title, "small");
        worker.complete(&small, json!({})).await.unwrap();
        let end = worker.begin().await;
        assert_eq!(end.input, object(json!({ "big": null, "how": "skipped" })));
        worker.complete(&end, json!({})).await.unwrap();
        let wanted = [
            ("after_big", "skipped"),
            ("big", "skipped"),
            ("end", "completed"),
            ("look", "completed"),
            ("small", "completed"),
        ];
        assert_eq!(t.step_states(id).await, states(&wanted));
        assert_eq!(t.run_state(id).await, WorkflowState::Completed);
    });
}

#[test]
fn a_failed_step_stops_what_needs_it_and_a_retry_opens_the_run_again() {
    test(async |t| {
        let worker = t.worker("w1").capacity(5).await;
        let id = t
            .launch(json!({ "a": task(&[]), "after": task(&["a"]), "other": task(&[]), "more": task(&["other"]) }))
            .await
            .workflow
            .id;
        let (one, two) = (worker.begin().await, worker.begin().await);
        let (a, other) = if one.title == "a" {
            (one, two)
        } else {
            (two, one)
        };
        worker.fail(&a, "broken").await.unwrap();
        assert_eq!(
            t.run_state(id).await,
            WorkflowState::Active,
            "another branch goes on"
        );
        worker.complete(&other, json!({})).await.unwrap();
        let more = worker.begin().await;
        worker.complete(&more, json!({})).await.unwrap();
        let failed = t.run(id).await.workflow;
        assert_eq!(failed.state, WorkflowState::Failed);
        let message = failed.error.expect("a failed run says why").message;
        assert!(
            message.contains("step a") && message.contains("it broke"),
            "{message}"
        );
        let why = t.admin().explain_workflow(id).await.unwrap();
        assert_eq!(why.steps[0].step_id, "a");
        t.admin()
            .retry_task(a.id, &RetryTask::default())
            .await
            .unwrap();
        let again = t.run(id).await.workflow;
        assert_eq!(
            (again.state, again.completed_at, again.error),
            (WorkflowState::Active, None, None)
        );
        assert_eq!(worker.work_off(|_| json!({})).await, 2);
        assert_eq!(t.run_state(id).await, WorkflowState::Completed);
    });
}

#[test]
fn a_forgiven_failure_lets_those_that_need_it_run() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let id = t
            .launch(json!({
                "a": { "kind": "task", "on_failure": "continue" },
                "b": { "kind": "task", "input": { "why": "{{ steps.a.error.message }}", "how": "{{ steps.a.state }}" } },
            }))
            .await
            .workflow
            .id;
        let a = worker.begin().await;
        worker.fail(&a, "broken").await.unwrap();
        let b = worker.begin().await;
        let members = b.input.members();
        assert_eq!(members["how"], "failed");
        assert!(members["why"].as_str().unwrap().contains("it broke"));
        worker.complete(&b, json!({})).await.unwrap();
        assert_eq!(t.run_state(id).await, WorkflowState::Completed);
    });
}

#[test]
fn a_template_that_fails_fails_its_step_with_the_reason() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let id = t
            .launch(json!({
                "a": task(&[]),
                "b": { "kind": "task", "input": { "url": "{{ steps.a.output.url }}" } },
            }))
            .await
            .workflow
            .id;
        let a = worker.begin().await;
        worker.complete(&a, json!({ "other": 1 })).await.unwrap();
        let b = t.step(id, "b").await;
        assert_eq!(b.state, StepState::Failed);
        let message = b.error.expect("a reason").message;
        assert!(
            message.contains("steps.b.input") && message.contains("url"),
            "{message}"
        );
        assert_eq!(t.run_state(id).await, WorkflowState::Failed);
    });
}

#[test]
fn a_list_is_worked_off_with_no_more_at_once_than_it_may() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let items: Vec<Value> = (0..20).map(|n| json!({ "n": n })).collect();
        let definition = json!({
            "kind": "graph",
            "parameters_schema": { "type": "object", "properties": { "items": { "type": "array" } } },
            "steps": {
                "each": { "kind": "for_each", "items": "{{ input.items }}", "max_parallel": 3,
                          "task": { "input": { "n": "{{ item.n }}", "place": "{{ index }}" } } },
                "sum": { "kind": "task", "input": { "all": "{{ steps.each.output }}" } },
            },
        });
        let id = t
            .launch_with(definition, json!({ "items": items }))
            .await
            .workflow
            .id;
        let mut seen = 0;
        while seen < 20 {
            let claim = worker.claims_request(50);
            let claimed = worker
                .agent
                .claim_tasks(&claim)
                .await
                .unwrap()
                .expect("there are tasks");
            assert!(
                (1..=3).contains(&claimed.tasks.len()),
                "{} at once",
                claimed.tasks.len()
            );
            assert_eq!(
                t.step(id, "each").await.tasks_open,
                i32::try_from(claimed.tasks.len()).unwrap()
            );
            for task in &claimed.tasks {
                let n = task.input.members()["n"].as_i64().unwrap();
                worker.complete(task, json!(n * 10)).await.unwrap();
                seen += 1;
            }
        }
        let sum = worker.begin().await;
        let all: Vec<i64> = (0..20).map(|n| n * 10).collect();
        assert_eq!(sum.input, object(json!({ "all": all })));
        worker.complete(&sum, json!({})).await.unwrap();
        assert_eq!(t.run_state(id).await, WorkflowState::Completed);
    });
}

#[test]
fn every_item_of_a_list_reads_what_the_run_was_launched_with_as_the_first_one_does() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let task = json!({ "input": {
            "from": "{{ input.place.url }}/{{ item }}", "size": "{{ input['size'] }}", "run": "{{ workflow.name }}",
            "what_is_not_there": "{{ input.rest | default('nothing') }}",
        } });
        let whole = json!({ "input": { "all": "{{ input }}", "size": "{{ input.size }}" } });
        let each = |task: &Value| json!({ "kind": "for_each", "items": "{{ input.items }}", "max_parallel": 1, "task": task });
        let definition = json!({
            "kind": "graph",
            "parameters_schema": { "type": "object" },
            "steps": { "each": each(&task), "again": each(&whole) },
            "output": { "size": "{{ input.size }}" },
        });
        let given = json!({ "items": ["a", "b", "c"], "place": { "url": "s3://x" }, "size": 2.50 });
        let run = t.launch_with(definition, given.clone()).await.workflow;
        let mut parts = Vec::new();
        let mut wholes = Vec::new();
        for _ in 0..6 {
            let task = worker.begin().await;
            let input = json!(task.input);
            match input.get("all") {
                Some(_) => wholes.push(input),
                None => parts.push(input),
            }
            worker.complete(&task, json!({})).await.unwrap();
        }
        let part = |item: &str| json!({ "from": format!("s3://x/{item}"), "size": 2.50, "run": run.name, "what_is_not_there": "nothing" });
        assert_eq!(parts, [part("a"), part("b"), part("c")]);
        assert_eq!(wholes, vec![json!({ "all": given, "size": 2.50 }); 3]);
        let ended = t.run(run.id).await.workflow;
        assert_eq!(ended.output.unwrap().value(), json!({ "size": 2.50 }));
    });
}

#[test]
fn a_failed_item_stops_its_list_unless_it_is_to_go_on() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        for (on_item_failure, wanted, tasks) in [
            ("fail", WorkflowState::Failed, 1),
            ("continue", WorkflowState::Completed, 3),
        ] {
            let definition = json!({
                "kind": "graph",
                "steps": { "each": {
                    "kind": "for_each", "items": "{{ [1, 2, 3] }}", "max_parallel": 1,
                    "on_item_failure": on_item_failure, "task": { "input": { "n": "{{ item }}" } } } },
                "output": { "all": "{{ steps.each.output }}" },
            });
            let id = t.launch_with(definition, json!({})).await.workflow.id;
            let first = worker.begin().await;
            worker.fail(&first, "broken").await.unwrap();
            let rest = worker.work_off(|input| input["n"].clone()).await;
            assert_eq!(rest + 1, tasks, "{on_item_failure}");
            let run = t.run(id).await.workflow;
            assert_eq!(run.state, wanted, "{on_item_failure}");
            if wanted == WorkflowState::Completed {
                assert_eq!(run.output, Some(wire(json!({ "all": [null, 2, 3] }))));
            } else {
                assert!(run.error.unwrap().message.contains("1 of 3 items"));
            }
        }
    });
}

#[test]
fn an_empty_list_ends_at_once() {
    test(async |t| {
        let id = t
            .launch(json!({ "each": { "kind": "for_each", "items": "{{ [] }}", "task": {} } }))
            .await
            .workflow
            .id;
        assert_eq!(t.run_state(id).await, WorkflowState::Completed);
    });
}

#[test]
fn a_person_decides_and_holds_no_worker() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let id = t
            .launch(json!({
                "ask": { "kind": "approval", "message": "Go on?",
                         "fields": { "type": "object", "properties": { "title": { "type": "string" } } },
                         "values": { "title": "old" } },
                "go": { "kind": "task", "input": { "title": "{{ steps.ask.output.fields.title }}" } },
            }))
            .await
            .workflow
            .id;
        assert!(worker.claim().await.is_none());
        assert_eq!(t.step(id, "ask").await.state, StepState::Waiting);
        assert_eq!(
            t.run(id)
                .await
                .workflow
                .work_item_summary
                .awaiting_gate_count,
            1
        );
        let mut decision = DecideStep {
            action: StepDecision::Approve,
            fields: Some(object(json!({ "title": 7 }))),
            comment: None,
            request_id: None,
        };
        let refusal = t.admin().decide_workflow_step(id, "ask", &decision).await;
        assert_eq!(status_of(refusal), 422);
        decision.fields = Some(object(json!({ "title": "new" })));
        t.admin()
            .decide_workflow_step(id, "ask", &decision)
            .await
            .unwrap();
        let go = worker.begin().await;
        assert_eq!(go.input, object(json!({ "title": "new" })));
        worker.complete(&go, json!({})).await.unwrap();
        assert_eq!(t.run_state(id).await, WorkflowState::Completed);
        let late = t.admin().decide_workflow_step(id, "ask", &decision).await;
        assert_eq!(status_of(late), 409);
    });
}

#[test]
fn a_rejected_approval_fails_its_run() {
    test(async |t| {
        let id = t
            .launch(
                json!({ "ask": { "kind": "approval", "message": "Go on?" }, "go": task(&["ask"]) }),
            )
            .await
            .workflow
            .id;
        decide(t, id, "ask", StepDecision::Reject).await;
        let run = t.run(id).await.workflow;
        assert_eq!(run.state, WorkflowState::Failed);
        assert!(run.error.unwrap().message.contains("because"));
    });
}

#[test]
fn an_approval_that_nobody_gives_expires_and_its_clock_stops_while_the_run_is_paused() {
    test(async |t| {
        let id = t
            .launch(json!({ "ask": { "kind": "approval", "message": "Go on?", "expires_after_seconds": 60 } }))
            .await
            .workflow
            .id;
        let age = "update workflow_steps set expires_at = expires_at - interval '50 seconds'";
        t.execute(age).await;
        t.admin()
            .pause_workflow(id, &Default::default())
            .await
            .unwrap();
        t.execute(age).await;
        t.run_loop("expire_approvals").await;
        assert_eq!(t.step(id, "ask").await.state, StepState::Waiting);
        t.admin()
            .resume_workflow(id, &Default::default())
            .await
            .unwrap();
        t.run_loop("expire_approvals").await;
        assert_eq!(
            t.step(id, "ask").await.state,
            StepState::Waiting,
            "ten seconds are left"
        );
        t.execute(age).await;
        t.run_loop("expire_approvals").await;
        assert_eq!(t.step(id, "ask").await.state, StepState::Failed);
        assert_eq!(t.run_state(id).await, WorkflowState::Failed);
    });
}

#[test]
fn a_task_that_is_retried_within_its_policy_does_not_fail_its_step() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let id = t
            .launch(json!({ "a": { "kind": "task", "retry_policy": {
                "max_attempts": 2, "retryable_categories": ["flaky"], "initial_backoff_seconds": 5 } } }))
            .await
            .workflow
            .id;
        let a = worker.begin().await;
        worker.fail(&a, "flaky").await.unwrap();
        assert_eq!(t.step(id, "a").await.state, StepState::Running);
        t.release_due().await;
        let again = worker.begin().await;
        worker.complete(&again, json!({})).await.unwrap();
        assert_eq!(t.run_state(id).await, WorkflowState::Completed);
    });
}

#[test]
fn a_lost_worker_changes_nothing_in_its_run() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let id = t
            .launch(json!({ "a": task(&[]), "b": task(&["a"]) }))
            .await
            .workflow
            .id;
        let a = worker.begin().await;
        t.lose_lease(a.id).await;
        assert_eq!(t.state(a.id).await, TaskState::Ready);
        assert_eq!(worker.work_off(|_| json!({})).await, 2);
        assert_eq!(t.run_state(id).await, WorkflowState::Completed);
    });
}

#[test]
fn two_replicas_complete_the_last_needs_of_one_join_at_once() {
    test(async |t| {
        let other = t.replica().await;
        let (one, two) = (
            t.worker("w1").capacity(20).await,
            t.worker("w2").capacity(20).await,
        );
        let two = two.at(&other);
        let mut steps = serde_json::Map::new();
        let names: Vec<String> = (0..30).map(|n| format!("s{n}")).collect();
        for name in &names {
            steps.insert(name.clone(), json!({ "kind": "task" }));
        }
        steps.insert("join".to_owned(), json!({ "kind": "task", "needs": names }));
        let id = t.launch(Value::Object(steps)).await.workflow.id;
        let mut held = Vec::new();
        for _ in 0..15 {
            held.push((one.begin().await, two.begin().await));
        }
        let ends = held.iter().map(async |(mine, yours)| {
            let both = tokio::join!(
                one.complete(mine, json!({})),
                two.complete(yours, json!({}))
            );
            both.0.expect("mine");
            both.1.expect("yours");
        });
        futures_util::future::join_all(ends).await;
        let join = one.begin().await;
        assert_eq!(join.title, "join");
        one.complete(&join, json!({})).await.unwrap();
        assert_eq!(t.run_state(id).await, WorkflowState::Completed);
        assert_eq!(
            t.run(id).await.workflow.task_counts[&TaskState::Completed],
            31
        );
    });
}

#[test]
fn a_completed_task_that_is_run_again_replaces_the_output_and_starts_nothing_twice() {
    test(async |t| {
        let worker = t.worker("w1").capacity(50).await;
        let id = t
            .launch(json!({ "a": task(&[]), "b": task(&["a"]) }))
            .await
            .workflow
            .id;
        let a = worker.begin().await;
        worker.complete(&a, json!({ "n": 1 })).await.unwrap();
        let retry = RetryTask {
            force: Some(true),
            ..RetryTask::default()
        };
        t.admin().retry_task(a.id, &retry).await.unwrap();
        assert_eq!(t.step(id, "a").await.state, StepState::Running);
        assert_eq!(worker.work_off(|_| json!({ "n": 2 })).await, 2);
        let run = t.run(id).await.workflow;
        assert_eq!(run.state, WorkflowState::Completed);
        assert_eq!(run.task_counts[&TaskState::Completed], 2);
    });
}
