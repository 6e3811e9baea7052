//! What runs may use, and what they have used.

use futures_util::future::join_all;
use serde_json::{Value, json};
use stint_protocol::{BudgetDimension, MeterUsage, ReasonCode, TaskId, WorkflowBudget, WorkflowId};
use stint_tests::{TestPlatform, older_copies, refused_because, status_of, test};
use uuid::Uuid;

use crate::led::Led;

fn usage(of: TaskId, attempt: i32, tokens: i64, cost: f64) -> MeterUsage {
    let body = json!({
        "taskId": of, "attempt": attempt, "tokensInput": tokens, "tokensOutput": 10,
        "costUsd": cost, "wallTimeMs": 1500,
    });
    serde_json::from_value(body).expect("a body")
}

/// A run that may use 1000 tokens, and its first task.
async fn of_thousand(t: &TestPlatform) -> Led {
    let definition = json!({ "stages": [{ "name": "build", "goal": "Build" }] });
    let playbook = t.playbook(&definition).await;
    let mut launch = t.launch_request(playbook, json!({})).await;
    launch.budget = Some(WorkflowBudget {
        token_budget: Some(1000),
        cost_cap_usd: Some(2.0),
        max_duration_minutes: Some(60),
    });
    let run = t.admin().create_workflow(&launch).await.expect("a run");
    let conductor = t.worker("conductor").tags(&["orchestrator"]).await;
    Led {
        run: run.workflow.id,
        task: conductor.begin().await,
        conductor,
    }
}

async fn told(t: &TestPlatform, run: WorkflowId) -> Vec<(String, String)> {
    let path = format!("/api/v1/workflows/{run}/events?types=budget.warning,budget.exceeded");
    let events = t.get(&path, t.admin_key()).await;
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    let events = events.data().as_array().expect("a list").iter();
    events
        .map(|event| (word(&event["type"]), word(&event["data"]["dimension"])))
        .collect()
}

#[test]
fn what_work_has_used_is_added_up_and_each_limit_is_told_once() {
    test(async |t| {
        let mut led = of_thousand(t).await;
        let fresh = led.steer().get_run_budget().await.unwrap();
        assert_eq!((fresh.tokens_used, fresh.tokens_remaining), (0, Some(1000)));
        assert_eq!(fresh.cost_remaining_usd, Some(2.0));
        assert!(fresh.warning_dimensions.is_empty());
        let meter = async |tokens: i64, cost: f64| {
            let used = usage(led.task.id, led.task.attempt, tokens, cost);
            led.conductor.agent.meter_usage(&used).await.unwrap()
        };
        let first = meter(490, 0.5).await;
        assert_eq!(first.workflow_id, Some(led.run));
        assert_eq!(first.agent_id, Some(led.conductor.agent_id));
        assert_eq!(told(t, led.run).await, []);
        meter(300, 0.0).await;
        let near = t.admin().get_workflow_budget(led.run).await.unwrap();
        assert_eq!((near.tokens_used, near.cost_usd), (810, 0.5));
        assert_eq!(near.warning_dimensions, [BudgetDimension::Tokens]);
        meter(90, 0.0).await;
        meter(500, 2.0).await;
        meter(500, 2.0).await;
        let passed = led.steer().get_run_budget().await.unwrap();
        assert_eq!(
            (passed.tokens_used, passed.tokens_remaining),
            (1930, Some(0))
        );
        let both = [BudgetDimension::Tokens, BudgetDimension::Cost];
        assert_eq!(passed.exceeded_dimensions, both);
        let word = |kind: &str, of: &str| (kind.to_owned(), of.to_owned());
        let wanted = [
            word("budget.warning", "tokens"),
            word("budget.exceeded", "tokens"),
            word("budget.exceeded", "cost"),
        ];
        assert_eq!(told(t, led.run).await, wanted);
        // What is exceeded wakes the orchestrator; with something urgent at once.
        t.execute("update activations set due_at = clock_timestamp()")
            .await;
        assert_eq!(led.next().await, ["budget.exceeded", "budget.exceeded"]);
        let of_run = led.run.to_string();
        let listed = t.admin().list_usage(&[("workflow_id", &of_run)]).await;
        assert_eq!(listed.unwrap().len(), 5);
    });
}

#[test]
fn only_who_works_on_a_task_reports_what_it_used() {
    test(async |t| {
        let led = of_thousand(t).await;
        let other = t.worker("other").tags(&["orchestrator"]).await;
        let used = usage(led.task.id, led.task.attempt, 1, 0.0);
        refused_because(other.agent.meter_usage(&used).await, ReasonCode::NotHolder);
        led.conductor.worker.meter_usage(&used).await.unwrap();
        t.admin().meter_usage(&used).await.unwrap();
        let mut bad = used.clone();
        bad.cost_usd = -1.0;
        assert_eq!(status_of(t.admin().meter_usage(&bad).await), 422);
        bad.cost_usd = 0.0;
        bad.workflow_id = Some(WorkflowId::new());
        assert_eq!(status_of(t.admin().meter_usage(&bad).await), 422);
        t.lose_lease(led.task.id).await;
        refused_because(
            led.conductor.agent.meter_usage(&used).await,
            ReasonCode::LeaseLost,
        );
        let total = t.admin().get_workflow_budget(led.run).await.unwrap();
        assert_eq!(total.tokens_used, 22);
    });
}

#[test]
fn whoever_works_on_a_task_reports_in_no_other_name() {
    test(async |t| {
        let led = of_thousand(t).await;
        let other = t.worker("other").await;
        let own = usage(led.task.id, led.task.attempt, 1, 0.0);
        let mut named = own.clone();
        named.agent_id = Some(other.agent_id);
        assert_eq!(
            status_of(led.conductor.agent.meter_usage(&named).await),
            422
        );
        named = own.clone();
        named.worker_id = Some(other.worker_id);
        assert_eq!(
            status_of(led.conductor.agent.meter_usage(&named).await),
            422
        );
        named = own;
        named.agent_id = Some(led.conductor.agent_id);
        named.worker_id = Some(led.conductor.worker_id);
        led.conductor.agent.meter_usage(&named).await.unwrap();
        // An operator may tell what somebody else has used.
        named.worker_id = Some(other.worker_id);
        t.admin().meter_usage(&named).await.unwrap();
        let of_other = other.worker_id.to_string();
        let listed = t.admin().list_usage(&[("worker_id", &of_other)]).await;
        assert_eq!(listed.unwrap().len(), 1);
        let of_task = led.task.id.to_string();
        let listed = t.admin().list_usage(&[("task_id", &of_task)]).await;
        assert_eq!(listed.unwrap().len(), 2);
    });
}

#[test]
fn reports_that_meet_are_all_added_up_and_pass_a_limit_once() {
    const REPORTS: usize = 20;
    test(async |t| {
        let led = of_thousand(t).await;
        let used = usage(led.task.id, led.task.attempt, 90, 0.0);
        let reports = (0..REPORTS).map(|_| led.conductor.agent.meter_usage(&used));
        for reported in join_all(reports).await {
            reported.expect("the report is taken");
        }
        let total = t.admin().get_workflow_budget(led.run).await.unwrap();
        assert_eq!(total.tokens_used, 2_000);
        let word = |kind: &str| (kind.to_owned(), "tokens".to_owned());
        let wanted = [word("budget.warning"), word("budget.exceeded")];
        assert_eq!(told(t, led.run).await, wanted);
    });
}

#[test]
fn of_a_task_the_last_thousand_reports_are_kept_and_the_sum_of_its_run_counts_all() {
    test(async |t| {
        let led = of_thousand(t).await;
        let used = usage(led.task.id, led.task.attempt, 1, 0.0);
        let first = led.conductor.agent.meter_usage(&used).await.unwrap();
        t.execute(&older_copies("metering_events")).await;
        let last = led.conductor.agent.meter_usage(&used).await.unwrap();
        let kept: Vec<Uuid> = sqlx::query_scalar("select id from metering_events")
            .fetch_all(t.sql())
            .await
            .expect("reports can be read");
        assert_eq!(kept.len(), 1_000);
        assert!(kept.contains(&first.id) && kept.contains(&last.id));
        let total = t.admin().get_workflow_budget(led.run).await.unwrap();
        assert_eq!(total.tokens_used, 22);
    });
}

#[test]
fn a_sum_stays_at_the_largest_number_there_is() {
    test(async |t| {
        let led = of_thousand(t).await;
        let used = usage(led.task.id, led.task.attempt, 1, 0.0);
        led.conductor.agent.meter_usage(&used).await.unwrap();
        t.execute(&format!(
            "update metering_totals set tokens = {}",
            i64::MAX - 5
        ))
        .await;
        led.conductor.agent.meter_usage(&used).await.unwrap();
        let total = t.admin().get_workflow_budget(led.run).await.unwrap();
        assert_eq!(total.tokens_used, i64::MAX);
    });
}
