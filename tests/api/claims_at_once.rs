//! Claiming several tasks at once: in one request, and in several that share a batch.

use futures_util::future::join_all;
use serde_json::json;
use stint_protocol::{ClaimTasks, ClaimedTask, ErrorCode, ReasonCode, TaskId};
use stint_tests::{TestPlatform, TestWorker, refused, refused_because, test, until};

fn several(worker: &TestWorker, max_tasks: u32) -> ClaimTasks {
    ClaimTasks {
        max_tasks,
        agent_id: worker.agent_id,
        worker_id: None,
        routing_tags: Vec::new(),
        workflow_id: None,
        include_context: None,
        start: None,
        wait_seconds: None,
        lease_seconds: None,
        request_id: None,
    }
}

/// Keeps the claims of a worker, and all that are in one batch with them, waiting until this ends.
async fn hold_claims_of(
    t: &TestPlatform,
    worker: &TestWorker,
) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut held = t.sql().begin().await.expect("a transaction");
    sqlx::query("select pg_advisory_xact_lock(uuid_hash_extended($1, 0))")
        .bind(worker.worker_id.uuid())
        .execute(&mut *held)
        .await
        .expect("the lock is free");
    held
}

#[test]
fn several_tasks_can_be_claimed_at_once() {
    test(async |t| {
        let worker = t.worker("w1").capacity(10).await;
        for _ in 0..5 {
            t.create("paint").await;
        }
        let three = worker
            .agent
            .claim_tasks(&several(&worker, 3))
            .await
            .unwrap();
        assert_eq!(three.unwrap().tasks.len(), 3);
        let rest = worker
            .agent
            .claim_tasks(&several(&worker, 10))
            .await
            .unwrap();
        assert_eq!(rest.unwrap().tasks.len(), 2);
        let none = worker
            .agent
            .claim_tasks(&several(&worker, 10))
            .await
            .unwrap();
        assert!(none.is_none());
    });
}

#[test]
fn several_tasks_claimed_at_once_stay_within_capacity() {
    test(async |t| {
        let worker = t.worker("w1").capacity(2).await;
        for _ in 0..5 {
            t.create("paint").await;
        }
        let got = worker
            .agent
            .claim_tasks(&several(&worker, 5))
            .await
            .unwrap();
        assert_eq!(got.unwrap().tasks.len(), 2);
    });
}

#[test]
fn tasks_that_were_claimed_in_one_batch_all_count_when_their_holder_claims_again() {
    test(async |t| {
        let (other, worker) = (t.worker("w1").await, t.worker("w2").capacity(4).await);
        for _ in 0..8 {
            t.create("paint").await;
        }
        // While the other's claim waits for what its lock guards, those of the worker gather.
        let held = hold_claims_of(t, &other).await;
        let first = other.claim();
        let together = join_all((0..3).map(|_| worker.claim()));
        let release = async {
            until("they gather", async || t.app().lanes.claim.load() == 4).await;
            held.rollback().await.expect("the lock is released");
        };
        let (_, claimed, ()) = tokio::join!(first, together, release);
        assert_eq!(claimed.iter().flatten().count(), 3);
        assert!(worker.claim().await.is_some());
        assert!(worker.claim().await.is_none(), "it holds as many as it may");
    });
}

#[test]
fn a_repeated_claim_of_several_gets_the_same_attempts() {
    test(async |t| {
        let worker = t.worker("w1").capacity(10).await;
        for _ in 0..6 {
            t.create("paint").await;
        }
        let mut claim = several(&worker, 3);
        claim.request_id = Some("c1".to_owned());
        let ids = async || {
            let got = worker.agent.claim_tasks(&claim).await.unwrap().unwrap();
            let mut ids: Vec<TaskId> = got.tasks.iter().map(|task| task.id).collect();
            ids.sort();
            ids
        };
        let first = ids().await;
        assert_eq!(first, ids().await);
    });
}

#[test]
fn a_claim_of_no_or_too_many_tasks_is_refused() {
    test(async |t| {
        let worker = t.worker("w1").await;
        for max_tasks in [0, 101] {
            refused(
                worker.agent.claim_tasks(&several(&worker, max_tasks)).await,
                ErrorCode::SchemaValidationFailed,
            );
        }
    });
}

#[test]
fn a_claim_that_finds_nothing_takes_no_room_from_another_one_of_its_agent() {
    test(async |t| {
        let worker = t.worker("w1").await;
        worker.claim().await;
        let for_z = t.create_with("Z", |task| task.role = Some("z".to_owned()));
        let task = for_z.await.id;
        // While one claim waits for what the holder's lock guards, the others gather.
        let held = hold_claims_of(t, &worker).await;
        let claims = ["role:x", "role:y", "role:z"]
            .map(|tag| worker.claim_with(move |claim| claim.routing_tags = vec![tag.to_owned()]));
        let release = async {
            until("all but the first gather", async || {
                t.app().lanes.claim.load() == 3
            })
            .await;
            held.rollback().await.expect("the lock is released");
        };
        let (claimed, ()) = tokio::join!(join_all(claims), release);
        let claimed: Vec<_> = claimed
            .into_iter()
            .filter_map(|claim| claim.expect("the claim is accepted"))
            .collect();
        assert_eq!(claimed.len(), 1);
        assert_eq!(claimed[0].id, task);
    });
}

#[test]
fn a_repeated_claim_of_several_gets_those_that_still_live() {
    test(async |t| {
        let worker = t.worker("w1").capacity(10).await;
        for _ in 0..6 {
            t.create("paint").await;
        }
        let mut claim = several(&worker, 3);
        claim.request_id = Some("c1".to_owned());
        claim.start = Some(true);
        let got = worker.agent.claim_tasks(&claim).await.unwrap().unwrap();
        for ended in 0..3 {
            let again = worker.agent.claim_tasks(&claim).await.unwrap().unwrap();
            let ids = |tasks: &[ClaimedTask]| tasks.iter().map(|task| task.id).collect::<Vec<_>>();
            assert_eq!(ids(&again.tasks), ids(&got.tasks[ended..]));
            let done = worker.complete(&got.tasks[ended], json!({})).await;
            done.expect("it is held");
        }
        let refusal = refused_because(
            worker.agent.claim_tasks(&claim).await,
            ReasonCode::LeaseLost,
        );
        assert_eq!(refusal.details.unwrap().current_state, None);
    });
}
