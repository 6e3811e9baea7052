//! Claims that wait for work: what wakes them, and how they end without any.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::Row as _;
use stint_protocol::client::ClientError;
use stint_protocol::{ClaimedTask, TaskId, TaskState};
use stint_tests::{Replica, TestPlatform, TestWorker, new_task, test, until};
use tokio::task::JoinHandle;

type Waiting = JoinHandle<Result<Option<ClaimedTask>, ClientError>>;

/// A claim that sleeps on a replica until there is work.
///
/// The empty claim before it lets the replica know that there is nothing, so it sleeps once it has joined.
async fn sleeping_claim(replica: &Replica, worker: &TestWorker) -> Waiting {
    assert!(worker.claim().await.is_none(), "there is no work yet");
    waiting_claim(replica, worker).await
}

async fn waiting_claim(replica: &Replica, worker: &TestWorker) -> Waiting {
    let before = replica.app().hints.waiting_count();
    let worker = worker.clone();
    let claim = tokio::spawn(async move {
        worker
            .claim_with(|claim| claim.wait_seconds = Some(20))
            .await
    });
    until("the claim waits", async || {
        replica.app().hints.waiting_count() == before + 1
    })
    .await;
    claim
}

async fn found_by(claim: Waiting) -> Option<ClaimedTask> {
    claim
        .await
        .expect("the claim runs to its end")
        .expect("the claim is accepted")
}

/// The transactions that wrote the moves of a task, in their order.
async fn transactions(t: &TestPlatform, task: TaskId) -> Vec<(String, String)> {
    let rows = sqlx::query(
        "select reason, xid::text as transaction from task_moves
         where task_id = $1 order by task_seq",
    )
    .bind(task.uuid())
    .fetch_all(t.sql())
    .await
    .expect("events can be read");
    rows.iter()
        .map(|row| (row.get("reason"), row.get("transaction")))
        .collect()
}

#[test]
fn a_created_task_is_claimed_for_a_waiting_claim_in_the_transaction_that_creates_it() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let claim = sleeping_claim(t.first(), &worker).await;
        let task = t.create("paint").await;
        let found = found_by(claim).await.expect("the task woke the claim");
        assert_eq!(found.id, task.id);
        let told = transactions(t, task.id).await;
        let [created, claimed] = told.as_slice() else {
            panic!("a creation and a claim, not {told:?}");
        };
        assert_eq!(claimed.0, "claim");
        assert_eq!(created.1, claimed.1, "one transaction did both");
    });
}

#[test]
fn one_created_task_goes_to_one_of_several_waiting_claims() {
    test(async |t| {
        let (one, two) = (t.worker("w1").await, t.worker("w2").await);
        let first = sleeping_claim(t.first(), &one).await;
        let second = waiting_claim(t.first(), &two).await;
        let task = t.create("first").await.id;
        assert_eq!(found_by(first).await.map(|task| task.id), Some(task));
        assert!(!second.is_finished(), "the other one goes on waiting");
        let task = t.create("second").await.id;
        assert_eq!(found_by(second).await.map(|task| task.id), Some(task));
    });
}

#[test]
fn a_wait_without_work_ends_with_204_when_its_time_is_over() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let began = Instant::now();
        let body = json!({"agent_id": worker.agent_id, "wait_seconds": 1});
        let answer = t
            .post("/api/v1/tasks/claim", &worker.agent_key, &body)
            .await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""));
        let waited = began.elapsed();
        assert!(waited >= Duration::from_secs(1), "{waited:?}");
        assert_eq!(t.app().hints.waiting_count(), 0);
    });
}

#[test]
fn a_client_that_goes_away_while_its_claim_waits_leaves_no_trace() {
    test(async |t| {
        let (gone, next) = (t.worker("gone").await, t.worker("next").await);
        let claim = sleeping_claim(t.first(), &gone).await;
        claim.abort();
        until("the claim has left with its client", async || {
            t.app().hints.waiting_count() == 0
        })
        .await;
        let task = t.create("paint").await;
        let task = t.task(task.id).await;
        assert_eq!((task.state, task.attempt), (TaskState::Ready, 0));
        assert_eq!(next.claim_one().await.id, task.id);
    });
}

#[test]
fn a_claim_whose_client_has_gone_is_undone_and_counts_no_abandon() {
    test(async |t| {
        let (gone, next) = (t.worker("gone").await, t.worker("next").await);
        let claim = sleeping_claim(t.first(), &gone).await;
        // The batch that feeds the claim stands still before it writes the lease.
        let mut held_up = t.sql().begin().await.expect("a transaction");
        sqlx::raw_sql("lock table task_leases in exclusive mode")
            .execute(&mut *held_up)
            .await
            .expect("a table can be locked");
        let admin = t.admin();
        let creation = tokio::spawn(async move { admin.create_task(&new_task("paint")).await });
        until("the batch waits for the lock", async || {
            let waiting: i64 = sqlx::query_scalar(
                "select count(*) from pg_locks
                 where not granted and relation = 'task_leases'::regclass",
            )
            .fetch_one(t.sql())
            .await
            .expect("locks can be read");
            waiting > 0
        })
        .await;
        let open = open_connections(t).await;
        claim.abort();
        until("the connection of the client is closed", async || {
            open_connections(t).await < open
        })
        .await;
        held_up.commit().await.expect("the lock is given back");
        let task = creation
            .await
            .expect("the creation runs to its end")
            .expect("the task is accepted");
        until("the claim is undone", async || {
            t.state(task.id).await == TaskState::Ready
        })
        .await;
        let task = t.task(task.id).await;
        assert_eq!((task.abandon_count, task.retry_count), (0, 0));
        assert_eq!(task.assigned_agent_id, None);
        let again = next.claim_one().await;
        assert_eq!((again.id, again.abandon_count), (task.id, 0));
    });
}

/// How many connections of this process to the first replica are established.
async fn open_connections(t: &TestPlatform) -> usize {
    let port = t
        .url()
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse::<u16>().ok())
        .expect("an address ends with its port");
    let local = format!(":{port:04X}");
    let table = tokio::fs::read_to_string("/proc/net/tcp")
        .await
        .expect("the system tells its connections");
    table
        .lines()
        .filter_map(|line| {
            let mut columns = line.split_whitespace().skip(1);
            let (ours, _, state) = (columns.next()?, columns.next()?, columns.next()?);
            (ours.ends_with(&local) && state == "01").then_some(())
        })
        .count()
}

#[test]
fn a_shutdown_ends_waiting_claims_with_204() {
    test(async |t| {
        let replica = t.replica().await;
        let worker = t.worker("w1").await.at(&replica);
        let claim = sleeping_claim(&replica, &worker).await;
        let began = Instant::now();
        replica.app().shutdown.cancel();
        assert!(found_by(claim).await.is_none());
        assert!(began.elapsed() < Duration::from_secs(10), "it did not wait");
        let task = t.create("paint").await.id;
        assert_eq!(t.state(task).await, TaskState::Ready);
    });
}

#[test]
fn a_full_holder_that_waits_gets_the_next_task_when_it_has_completed_one() {
    test(async |t| {
        let worker = t.worker("w1").capacity(2).await;
        for title in ["one", "two", "three"] {
            t.create(title).await;
        }
        let (one, _two) = (worker.begin().await, worker.begin().await);
        let claim = waiting_claim(t.first(), &worker).await;
        worker.complete(&one, json!(1)).await.expect("a completion");
        let found = found_by(claim).await.expect("there is room again");
        assert_eq!(found.title, "three");
    });
}

#[test]
fn an_agent_of_a_full_worker_that_waits_gets_the_task_when_there_is_room() {
    test(async |t| {
        let worker = t.worker("w1").capacity(1).agent_capacity(2).await;
        t.create("one").await;
        t.create("two").await;
        let one = worker.begin().await;
        let claim = waiting_claim(t.first(), &worker).await;
        worker.complete(&one, json!(1)).await.expect("a completion");
        let found = found_by(claim).await.expect("there is room again");
        assert_eq!(found.title, "two");
    });
}

#[test]
fn work_created_on_another_replica_wakes_a_waiting_claim() {
    test(async |t| {
        let replica = t.replica().await;
        let worker = t.worker("w1").await;
        let claim = sleeping_claim(t.first(), &worker).await;
        let task = replica
            .admin()
            .create_task(&new_task("paint"))
            .await
            .expect("the task is accepted");
        let found = found_by(claim).await.expect("the note woke the claim");
        assert_eq!(found.id, task.id);
    });
}

#[test]
fn work_handed_back_wakes_a_waiting_claim() {
    test(async |t| {
        let (one, two) = (t.worker("w1").await, t.worker("w2").await);
        let task = t.create("paint").await.id;
        let held = one.begin().await;
        let claim = sleeping_claim(t.first(), &two).await;
        one.release(&held).await.expect("a release");
        let found = found_by(claim).await.expect("the release woke the claim");
        assert_eq!((found.id, found.attempt), (task, 2));
    });
}
