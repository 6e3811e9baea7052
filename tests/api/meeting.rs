//! Requests that meet another change of the same lease at the same moment, and reports that want no task back.

use reqwest::Method;
use serde_json::json;
use stint_protocol::{ClaimedTask, ErrorCode, TaskState};

use stint_tests::{Answer, TestPlatform, TestWorker, refused, test, until};

const RENEWAL: &str =
    "update task_leases set expires_at = expires_at + interval '1 second' where task_id = $1";

const END: &str = "delete from task_leases where task_id = $1";

/// Sends a request while another transaction has changed the lease and has not committed yet; then that one
/// commits.
async fn meets<R>(
    t: &TestPlatform,
    change: &'static str,
    task: &ClaimedTask,
    request: impl Future<Output = R>,
) -> R {
    let mut other = t.sql().begin().await.expect("a transaction");
    sqlx::query(change)
        .bind(task.id.uuid())
        .execute(&mut *other)
        .await
        .expect("the lease is changed");
    let commits = async {
        until_one_waits(t).await;
        other.commit().await.expect("the other one commits");
    };
    let (answer, ()) = tokio::join!(request, commits);
    answer
}

/// Returns when a transaction waits for another one.
async fn until_one_waits(t: &TestPlatform) {
    until("the request waits for the other one", async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        )
        .fetch_one(t.sql())
        .await
        .expect("sessions can be read");
        waiting > 0
    })
    .await;
}

async fn drawers(t: &TestPlatform, task: &ClaimedTask) -> Vec<String> {
    sqlx::query_scalar("select state from task_positions where task_id = $1")
        .bind(task.id.uuid())
        .fetch_all(t.sql())
        .await
        .expect("drawers can be read")
}

#[test]
fn a_completion_that_meets_a_renewal_moves_the_task_once() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("one").await;
        let task = worker.begin().await;
        let completed = meets(t, RENEWAL, &task, worker.complete(&task, json!({}))).await;
        completed.expect("the completion is accepted");
        assert_eq!(drawers(t, &task).await, ["completed"]);
    });
}

#[test]
fn a_start_that_meets_a_renewal_begins_the_task() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("one").await;
        let task = worker.claim_one().await;
        let started = meets(t, RENEWAL, &task, worker.start(&task)).await;
        started.expect("the start is accepted");
        assert_eq!(drawers(t, &task).await, ["in_progress"]);
    });
}

#[test]
fn a_claim_that_meets_the_end_of_the_lease_it_would_get_back_is_told_that_there_is_nothing() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("one").await;
        let task = worker.claim_one().await;
        t.execute("create table kept as select * from task_leases")
            .await;
        assert!(meets(t, END, &task, worker.claim()).await.is_none());
        // As it was, so that the task can end.
        t.execute("insert into task_leases select * from kept")
            .await;
        let again = worker.claim_one().await;
        assert_eq!((again.id, again.attempt), (task.id, task.attempt + 1));
    });
}

#[test]
fn a_person_waits_for_the_run_of_a_task_before_the_task_is_locked() {
    test(async |t| {
        let run = t.launch(json!({ "only": { "kind": "task" } })).await;
        let worker = t.worker("w1").await;
        let task = worker.begin().await;
        // What an orchestrator does to its run holds the run first, and then wants the task.
        let mut other = t.sql().begin().await.expect("a transaction");
        sqlx::query("select from workflows where id = $1 for no key update")
            .bind(run.workflow.id.uuid())
            .execute(&mut *other)
            .await
            .expect("the run is free");
        let wanted = json!({ "feedback": "Once more" });
        let wanted = serde_json::from_value(wanted).expect("it fits a request");
        let wants = async { t.admin().request_task_changes(task.id, &wanted).await };
        let goes_on = async {
            until_one_waits(t).await;
            sqlx::query("select from tasks where id = $1 for update nowait")
                .bind(task.id.uuid())
                .execute(&mut *other)
                .await
                .expect("the task is free");
            other.commit().await.expect("the other one commits");
        };
        let (wanted, ()) = tokio::join!(wants, goes_on);
        refused(wanted, ErrorCode::InvalidStateTransition);
        let completed = worker.complete(&task, json!({})).await;
        completed.expect("the completion is accepted");
    });
}

#[test]
fn each_report_of_a_batch_is_told_what_became_of_it() {
    const TASKS: i32 = 8;
    test(async |t| {
        let worker = t.worker("w1").capacity(TASKS).agent_capacity(TASKS).await;
        let mut tasks = Vec::new();
        for number in 0..TASKS {
            t.create(&format!("task {number}")).await;
            tasks.push(worker.begin().await);
        }
        // The newest first, which is not the order of their ids; every other one from a stale attempt.
        let reports = tasks.iter().rev().zip((0..2).cycle());
        let completions: Vec<_> = reports
            .clone()
            .map(|(task, late)| {
                json!({ "task_id": task.id, "attempt": task.attempt + late, "output": { "n": 1 } })
            })
            .collect();
        let completions = serde_json::from_value(json!({ "completions": completions }))
            .expect("they fit a request");
        let told = worker.agent.complete_tasks(&completions).await;
        let told = told.expect("the request is accepted").results;
        for ((task, late), told) in reports.zip(told) {
            let (status, state) = match late {
                0 => (200, TaskState::Completed),
                _ => (409, TaskState::InProgress),
            };
            assert_eq!((told.task_id, told.status), (task.id, status));
            assert_eq!(t.state(task.id).await, state);
        }
    });
}

/// Completes a task and wants no more than the effect.
async fn complete_minimal(
    t: &TestPlatform,
    worker: &TestWorker,
    task: &ClaimedTask,
    attempt: i32,
) -> Answer {
    let path = format!("/api/v1/tasks/{}/complete", task.id);
    let request = t
        .request(Method::POST, &path)
        .bearer_auth(&worker.agent_key)
        .header("prefer", "respond-async, return=minimal")
        .json(&json!({ "attempt": attempt, "output": { "n": 1 } }));
    Answer::of(request).await
}

#[test]
fn a_report_that_prefers_a_minimal_answer_gets_none_but_the_effect() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("one").await;
        let task = worker.begin().await;
        let answer = complete_minimal(t, &worker, &task, task.attempt).await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""));
        assert_eq!(answer.header("preference-applied"), "return=minimal");
        assert_eq!(t.state(task.id).await, TaskState::Completed);
        let again = complete_minimal(t, &worker, &task, task.attempt).await;
        assert!(again.is_replay(), "{again:?}");
    });
}

#[test]
fn a_refused_report_is_told_why_whatever_it_prefers() {
    test(async |t| {
        let worker = t.worker("w1").await;
        t.create("one").await;
        let task = worker.begin().await;
        let answer = complete_minimal(t, &worker, &task, task.attempt + 1).await;
        assert_eq!((answer.status, answer.reason()), (409, "lease_lost"));
        assert_eq!(t.state(task.id).await, TaskState::InProgress);
    });
}
