//! What wakes an orchestrator, and what becomes of it.

use serde_json::{Value, json};
use stint_protocol::{
    Activation, ActivationReason, ActivationState, Bare, CancelTask, ClaimedTask, CreateActivation,
    CreateTask, CreateWorkItem, MutationOutcome, RetryTask, RunWhyReason, TaskError, TaskState,
    WorkItemId, WorkflowId, WorkflowState,
};
use stint_tests::{TestPlatform, TestWorker, new_task, object, status_of, test};

/// A run with an orchestrator.
async fn launch(t: &TestPlatform) -> WorkflowId {
    let definition = json!({ "process_instructions": "Do it.", "roles": ["builder"] });
    t.launch_with(definition, json!({})).await.workflow.id
}

async fn orchestrator(t: &TestPlatform) -> TestWorker {
    t.worker("conductor").tags(&["orchestrator"]).await
}

async fn builder(t: &TestPlatform) -> TestWorker {
    t.worker("builder")
        .capacity(50)
        .tags(&["role:builder"])
        .await
}

/// What the orchestrator is told, as pairs of a kind and what it is about.
fn told(task: &ClaimedTask) -> Vec<String> {
    let input = Value::Object(task.input.members());
    let events = input["events"].as_array().expect("events are told");
    let types = events
        .iter()
        .map(|event| event["type"].as_str().expect("a type"));
    types.map(str::to_owned).collect()
}

async fn item(t: &TestPlatform, run: WorkflowId, title: &str) -> WorkItemId {
    let wanted = serde_json::from_value(json!({ "title": title }));
    let wanted: CreateWorkItem = wanted.expect("a body");
    t.admin()
        .create_work_item(run, &wanted)
        .await
        .expect("a work item")
        .id
}

fn task_of(item: WorkItemId, title: &str) -> CreateTask {
    CreateTask {
        work_item_id: Some(item),
        role: Some("builder".to_owned()),
        ..new_task(title)
    }
}

fn note(event_type: &str) -> CreateActivation {
    CreateActivation {
        reason: "somebody wants it".to_owned(),
        event_type: event_type.to_owned(),
        payload: Some(object(json!({ "n": 1 }))),
        request_id: None,
    }
}

async fn activations(t: &TestPlatform, run: WorkflowId) -> Vec<Activation> {
    t.admin()
        .list_activations(run, &[])
        .await
        .expect("a list")
        .data
}

async fn make_due(t: &TestPlatform) {
    t.execute(
        "update activations set due_at = due_at - interval '1 hour';
         update activation_batches set look_at = look_at - interval '1 hour' where state = 'retrying'",
    )
    .await;
    t.run_loop("dispatch_activations").await;
}

#[test]
fn a_launch_wakes_the_orchestrator_with_one_task() {
    test(async |t| {
        let run = launch(t).await;
        let conductor = orchestrator(t).await;
        let task = conductor.begin().await;
        assert_eq!(told(&task), ["workflow.created"]);
        assert!(task.is_orchestrator_task);
        assert_eq!(
            (task.title.as_str(), task.workflow_id),
            ("Orchestrate Run", Some(run))
        );
        let woken = &activations(t, run).await[0];
        assert_eq!(task.activation_id, Some(woken.id));
        assert_eq!(
            (woken.state, woken.dispatch_attempt),
            (ActivationState::Processing, 1)
        );
        assert_eq!(woken.activation_reason, ActivationReason::QueuedEvents);
        conductor.complete(&task, json!({})).await.unwrap();
        assert_eq!(
            activations(t, run).await[0].state,
            ActivationState::Completed
        );
        assert!(
            conductor.claim().await.is_none(),
            "nothing else has happened"
        );
    });
}

#[test]
fn what_happens_while_the_orchestrator_works_makes_one_further_activation_in_order() {
    test(async |t| {
        let run = launch(t).await;
        let (conductor, worker) = (orchestrator(t).await, builder(t).await);
        let first = conductor.begin().await;
        let item = item(t, run, "Big").await;
        let mut titles = Vec::new();
        for n in 0..499 {
            let title = format!("part {n}");
            t.admin().create_task(&task_of(item, &title)).await.unwrap();
            titles.push(title);
        }
        assert_eq!(worker.work_off(|_| json!({})).await, 499);
        let second = t.worker("second").tags(&["orchestrator"]).await;
        assert!(second.claim().await.is_none(), "one orchestrator at a time");
        conductor.complete(&first, json!({})).await.unwrap();
        let next = conductor.begin().await;
        let events = Value::Object(next.input.members())["events"].clone();
        let events = events.as_array().unwrap();
        assert_eq!(events.len(), 500);
        assert_eq!(events[0]["type"], "work_item.created");
        let heard: Vec<&str> = events[1..]
            .iter()
            .map(|event| event["payload"]["title"].as_str().unwrap())
            .collect();
        assert_eq!(heard, ended_in_order(t, run).await);
        titles.sort();
        let mut heard: Vec<String> = heard.into_iter().map(str::to_owned).collect();
        heard.sort();
        assert_eq!(heard, titles);
        let batch = t
            .admin()
            .get_activation(run, next.activation_id.unwrap())
            .await
            .unwrap();
        assert_eq!((batch.event_count, batch.events.len()), (500, 500));
        conductor.complete(&next, json!({})).await.unwrap();
        assert!(conductor.claim().await.is_none());
    });
}

/// The titles of the tasks of a run, in the order in which they completed.
async fn ended_in_order(t: &TestPlatform, run: WorkflowId) -> Vec<String> {
    sqlx::query_scalar(
        "select t.title from events e join tasks t on t.id = e.entity_id
         where e.workflow_id = $1 and e.to_state = 'completed' and not t.is_orchestrator_task order by e.xid, e.id",
    )
    .bind(run.uuid())
    .fetch_all(t.sql())
    .await
    .expect("events can be read")
}

#[test]
fn an_orchestrator_that_always_fails_is_tried_five_times_with_growing_pauses_then_a_person_is_needed()
 {
    test(async |t| {
        let run = launch(t).await;
        let conductor = orchestrator(t).await;
        let mut pauses = Vec::new();
        for attempt in 1..=5 {
            let task = conductor.begin().await;
            assert_eq!(task.input.members()["activation_dispatch_attempt"], attempt);
            conductor.fail(&task, "model_gone").await.unwrap();
            assert!(conductor.claim().await.is_none(), "not at once");
            if attempt < 5 {
                let why = t.admin().explain_workflow(run).await.unwrap();
                assert_eq!(why.reason, RunWhyReason::WaitingForOrchestrator);
                let paused: f64 = sqlx::query_scalar(
                    "select extract(epoch from look_at - clock_timestamp())::float8 from activation_batches",
                )
                .fetch_one(t.sql())
                .await
                .unwrap();
                pauses.push(paused);
                make_due(t).await;
            }
        }
        assert!(
            pauses.windows(2).all(|pair| pair[0] < pair[1]),
            "{pauses:?}"
        );
        make_due(t).await;
        assert!(
            conductor.claim().await.is_none(),
            "it is not tried for ever"
        );
        let why = t.admin().explain_workflow(run).await.unwrap();
        assert_eq!(why.reason, RunWhyReason::OrchestratorFailed);
        assert!(
            why.message.contains("a person is needed"),
            "{}",
            why.message
        );
        assert_eq!(why.activation.unwrap().failure_count, 5);
        assert_eq!(activations(t, run).await[0].state, ActivationState::Failed);
        // What happens meanwhile is kept, and wakes nobody.
        item(t, run, "Something").await;
        assert!(conductor.claim().await.is_none());
        t.admin()
            .create_activation(run, &note("operator.mended"))
            .await
            .unwrap();
        let task = conductor.begin().await;
        assert_eq!(
            told(&task),
            ["workflow.created", "work_item.created", "operator.mended"]
        );
    });
}

#[test]
fn a_failed_orchestrator_is_told_what_happened_since_and_a_retried_task_goes_on() {
    test(async |t| {
        let run = launch(t).await;
        let conductor = orchestrator(t).await;
        let task = conductor.begin().await;
        conductor.fail(&task, "x").await.unwrap();
        item(t, run, "One").await;
        make_due(t).await;
        let second = conductor.begin().await;
        assert_eq!(told(&second), ["workflow.created", "work_item.created"]);
        assert_ne!(second.id, task.id);
        let mut hopeless = TestWorker::failure(&second, "broken");
        hopeless.error = TaskError {
            recoverable: Some(false),
            ..hopeless.error
        };
        conductor
            .agent
            .fail_task(second.id, &hopeless)
            .await
            .unwrap();
        let why = t.admin().explain_workflow(run).await.unwrap();
        assert_eq!(why.reason, RunWhyReason::OrchestratorFailed);
        t.admin()
            .retry_task(second.id, &RetryTask::default())
            .await
            .unwrap();
        assert_eq!(
            activations(t, run).await.last().unwrap().state,
            ActivationState::Processing
        );
        let third = conductor.begin().await;
        assert_eq!(third.id, second.id);
        conductor.complete(&third, json!({})).await.unwrap();
        assert!(
            activations(t, run)
                .await
                .iter()
                .all(|one| one.state == ActivationState::Completed)
        );
    });
}

#[test]
fn what_is_not_urgent_waits_for_company_and_goes_along_with_what_is() {
    test(async |t| {
        let run = launch(t).await;
        let conductor = orchestrator(t).await;
        let task = conductor.begin().await;
        conductor.complete(&task, json!({})).await.unwrap();
        let queued = t
            .admin()
            .create_activation(run, &note("board.tidied"))
            .await
            .unwrap();
        assert_eq!(queued.mutation_outcome, MutationOutcome::Applied);
        assert_eq!(queued.result.unwrap().state, ActivationState::Queued);
        t.run_loop("dispatch_activations").await;
        assert!(conductor.claim().await.is_none());
        t.admin()
            .create_activation(run, &note("operator.hurry"))
            .await
            .unwrap();
        let task = conductor.begin().await;
        assert_eq!(told(&task), ["board.tidied", "operator.hurry"]);
        conductor.complete(&task, json!({})).await.unwrap();
        t.admin()
            .create_activation(run, &note("board.tidied"))
            .await
            .unwrap();
        make_due(t).await;
        assert_eq!(told(&conductor.begin().await), ["board.tidied"]);
    });
}

#[test]
fn an_orchestrator_that_falls_silent_is_followed_by_another_attempt_of_the_same_task() {
    test(async |t| {
        let run = launch(t).await;
        let conductor = orchestrator(t).await;
        let task = conductor.begin().await;
        t.lose_lease(task.id).await;
        let again = conductor.begin().await;
        assert_eq!((again.id, again.attempt), (task.id, task.attempt + 1));
        assert_eq!(status_of(conductor.complete(&task, json!({})).await), 409);
        assert_eq!(
            activations(t, run).await[0].state,
            ActivationState::Processing
        );
        conductor.complete(&again, json!({})).await.unwrap();
    });
}

#[test]
fn without_any_signal_the_loops_alone_find_what_is_due() {
    test(async |t| {
        // Everything is done on one replica, and seen by another, which hears nothing of it.
        let run = launch(t).await;
        let deaf = t.replica().await;
        let conductor = orchestrator(t).await.at(&deaf);
        let task = conductor.begin().await;
        conductor.fail(&task, "x").await.unwrap();
        t.execute(
            "update activation_batches set look_at = clock_timestamp() - interval '1 second'",
        )
        .await;
        assert_eq!(deaf.run_loop("dispatch_activations").await.changed, 1);
        assert_eq!(
            deaf.run_loop("dispatch_activations").await.changed,
            0,
            "once is enough"
        );
        let task = conductor.begin().await;
        // A task that vanished, as no operation lets it: the batch would wait for ever.
        t.execute(&format!(
            "delete from task_leases where task_id = '{0}'; delete from tasks where id = '{0}'",
            task.id
        ))
        .await;
        t.execute(
            "update activation_batches set look_at = clock_timestamp() - interval '1 second'",
        )
        .await;
        t.run_loop("dispatch_activations").await;
        assert_eq!(
            t.admin().explain_workflow(run).await.unwrap().reason,
            RunWhyReason::WaitingForOrchestrator
        );
        make_due(t).await;
        assert_eq!(told(&conductor.begin().await), ["workflow.created"]);
    });
}

#[test]
fn an_idle_run_wakes_its_orchestrator_once_and_a_busy_one_does_not() {
    test(async |t| {
        let run = launch(t).await;
        let conductor = orchestrator(t).await;
        let task = conductor.begin().await;
        conductor.complete(&task, json!({})).await.unwrap();
        let age = "update workflows set created_at = created_at - interval '31 minutes';
                   update activation_batches set completed_at = completed_at - interval '31 minutes'";
        assert_eq!(
            t.run_loop("wake_idle_runs").await.changed,
            0,
            "it is not idle for long"
        );
        let item = item(t, run, "One").await;
        let made = t.admin().create_task(&task_of(item, "work")).await.unwrap();
        let task = conductor.begin().await;
        conductor.complete(&task, json!({})).await.unwrap();
        t.execute(age).await;
        assert_eq!(
            t.run_loop("wake_idle_runs").await.changed,
            0,
            "a task of it is open"
        );
        let off = CancelTask {
            reason: None,
            request_id: None,
        };
        t.admin().cancel_task(made.id, &off).await.unwrap();
        let task = conductor.begin().await;
        assert_eq!(told(&task), ["task.cancelled"]);
        conductor.complete(&task, json!({})).await.unwrap();
        t.execute(age).await;
        assert_eq!(t.run_loop("wake_idle_runs").await.changed, 1);
        assert_eq!(
            t.run_loop("wake_idle_runs").await.changed,
            0,
            "it is awake now"
        );
        let task = conductor.begin().await;
        assert_eq!(told(&task), ["heartbeat"]);
        assert_eq!(task.input.members()["activation_reason"], "heartbeat");
    });
}

#[test]
fn a_paused_run_keeps_what_happens_and_tells_it_when_it_is_resumed() {
    test(async |t| {
        let run = launch(t).await;
        let conductor = orchestrator(t).await;
        let task = conductor.begin().await;
        conductor.complete(&task, json!({})).await.unwrap();
        let item = item(t, run, "One").await;
        let task = conductor.begin().await;
        conductor.complete(&task, json!({})).await.unwrap();
        let worker = builder(t).await;
        t.admin().create_task(&task_of(item, "work")).await.unwrap();
        let held = worker.begin().await;
        t.admin()
            .pause_workflow(run, &Bare::default())
            .await
            .unwrap();
        worker.complete(&held, json!({})).await.unwrap();
        t.run_loop("dispatch_activations").await;
        assert!(conductor.claim().await.is_none());
        t.admin()
            .resume_workflow(run, &Bare::default())
            .await
            .unwrap();
        assert_eq!(
            told(&conductor.begin().await),
            ["task.completed", "workflow.resumed"]
        );
    });
}

#[test]
fn in_a_run_that_has_ended_nobody_is_woken() {
    test(async |t| {
        let run = launch(t).await;
        t.admin()
            .cancel_workflow(run, &Bare::default())
            .await
            .unwrap();
        t.run_loop("dispatch_activations").await;
        let conductor = orchestrator(t).await;
        assert!(conductor.claim().await.is_none());
        let ignored = t
            .admin()
            .create_activation(run, &note("operator.note"))
            .await
            .unwrap();
        let ignored = ignored.result.unwrap();
        assert_eq!(ignored.state, ActivationState::Completed);
        assert!(ignored.summary.unwrap().contains("ignored"));
        assert!(
            activations(t, run)
                .await
                .iter()
                .all(|one| one.state == ActivationState::Completed)
        );
        // A run that people complete leaves no task of an orchestrator behind.
        let run = launch(t).await;
        let item = item(t, run, "One").await;
        let done = serde_json::from_value(json!({ "column_id": "done" })).unwrap();
        t.admin().update_work_item(run, item, &done).await.unwrap();
        assert_eq!(t.run_state(run).await, WorkflowState::Completed);
        t.run_loop("dispatch_activations").await;
        let left = t.run(run).await.tasks;
        assert!(
            left.iter().all(|task| task.state == TaskState::Cancelled),
            "{left:?}"
        );
        t.run_loop("dispatch_activations").await;
        assert!(
            activations(t, run)
                .await
                .iter()
                .all(|one| one.state == ActivationState::Completed)
        );
    });
}

#[test]
fn a_graph_has_no_orchestrator_to_wake() {
    test(async |t| {
        let run = t
            .launch(json!({ "a": { "kind": "task", "title": "A" } }))
            .await
            .workflow
            .id;
        assert_eq!(
            status_of(t.admin().create_activation(run, &note("x")).await),
            409
        );
        assert!(activations(t, run).await.is_empty());
    });
}

#[test]
fn an_orchestrator_that_takes_long_is_noticed_once() {
    test(async |t| {
        let run = launch(t).await;
        let conductor = orchestrator(t).await;
        conductor.begin().await;
        t.execute(
            "update activation_batches set look_at = clock_timestamp() - interval '1 second',
                    started_at = started_at - interval '16 minutes'",
        )
        .await;
        t.run_loop("dispatch_activations").await;
        t.run_loop("dispatch_activations").await;
        let seen: i64 = sqlx::query_scalar(
            "select count(*) from events where event_type = 'workflow.activation_stale_detected' and workflow_id = $1",
        )
        .bind(run.uuid())
        .fetch_one(t.sql())
        .await
        .unwrap();
        assert_eq!(seen, 1);
        let noticed = &activations(t, run).await[0];
        assert_eq!(noticed.state, ActivationState::Processing);
        assert!(noticed.recovery_detected_at.is_some());
    });
}

#[test]
fn an_orchestrator_that_cannot_be_woken_keeps_no_other_one_asleep() {
    test(async |t| {
        let broken = launch(t).await;
        let sound = launch(t).await;
        let conductor = t
            .worker("conductor")
            .capacity(2)
            .agent_capacity(2)
            .tags(&["orchestrator"])
            .await;
        for _ in 0..2 {
            let task = conductor.begin().await;
            conductor.complete(&task, json!({})).await.unwrap();
        }
        t.execute(&format!(
            "create function break_it() returns trigger language plpgsql as $$
             begin raise exception 'it is broken'; end $$;
             create trigger break_it before update on activations
                 for each row when (new.workflow_id = '{broken}' and old.batch_id is null and new.batch_id is not null) execute function break_it()"
        ))
        .await;
        for run in [broken, sound] {
            let noted = t.admin().create_activation(run, &note("noted")).await;
            noted.expect("it is taken");
        }
        t.execute("update activations set due_at = due_at - interval '1 hour'")
            .await;
        let app = t.app();
        app.loops
            .run_once(app, "dispatch_activations")
            .await
            .expect_err("the loop says that something is wrong");
        t.take_errors();
        let woken = conductor.begin().await;
        assert_eq!(woken.workflow_id, Some(sound));
        assert!(conductor.claim().await.is_none());
        let why = t.admin().explain_workflow(broken).await.unwrap();
        assert_eq!(why.reason, RunWhyReason::WaitingForOrchestrator);
    });
}
