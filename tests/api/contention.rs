//! Many claims at once: each task goes to one holder, and no holder gets more than it may hold.

use std::collections::{BTreeSet, HashSet};

use futures_util::future::join_all;
use stint_protocol::{ClaimedTask, TaskId};
use stint_tests::{TestPlatform, TestWorker, new_task, test};

async fn create_many(t: &TestPlatform, count: usize, role: Option<&str>) -> BTreeSet<TaskId> {
    let admin = t.admin();
    let made = join_all((0..count).map(async |number| {
        let mut task = new_task(&format!("task {number}"));
        task.role = role.map(str::to_owned);
        admin
            .create_task(&task)
            .await
            .expect("the task is accepted")
    }))
    .await;
    made.into_iter().map(|task| task.id).collect()
}

/// Claims one after the other until there is nothing left.
async fn claim_all(worker: &TestWorker) -> Vec<ClaimedTask> {
    let mut claimed = Vec::new();
    while let Some(task) = worker.claim().await {
        claimed.push(task);
    }
    claimed
}

/// The tasks that were claimed, none of which was claimed twice.
fn each_once(claimed: &[ClaimedTask]) -> BTreeSet<TaskId> {
    let mut seen = BTreeSet::new();
    for task in claimed {
        assert!(seen.insert(task.id), "{} was handed out twice", task.title);
        assert_eq!(task.attempt, 1, "{} had been claimed before", task.title);
    }
    seen
}

async fn leases(t: &TestPlatform) -> i64 {
    sqlx::query_scalar("select count(*) from task_leases")
        .fetch_one(t.sql())
        .await
        .expect("leases can be counted")
}

#[test]
fn claims_with_overlapping_tags_get_each_task_once_and_only_their_own() {
    const TASKS_OF_A_ROLE: usize = 20;
    test(async |t| {
        let sets: [&[&str]; 4] = [
            &["role:a", "role:b"],
            &["role:b", "role:c"],
            &["role:c", "role:a"],
            &["role:a", "role:b", "role:c"],
        ];
        let mut workers = Vec::new();
        for (number, tags) in sets.into_iter().enumerate() {
            let worker = t.worker(&format!("w{number}")).tags(tags).capacity(100);
            workers.push((tags, worker.await));
        }
        let mut made = BTreeSet::new();
        for role in ["a", "b", "c"] {
            made.extend(create_many(t, TASKS_OF_A_ROLE, Some(role)).await);
        }
        // All in one moment, so that claims for different lanes share a batch.
        let answers = join_all(workers.iter().flat_map(|(tags, worker)| {
            (0..TASKS_OF_A_ROLE).map(async move |_| (*tags, worker.claim().await))
        }))
        .await;
        let mut claimed = Vec::new();
        for (tags, task) in answers {
            let Some(task) = task else { continue };
            let tag = format!("role:{}", task.role.as_deref().expect("all have a role"));
            assert!(tags.contains(&tag.as_str()), "{tag} is none of {tags:?}");
            claimed.push(task);
        }
        let (_, last) = &workers[3];
        claimed.extend(claim_all(last).await);
        assert_eq!(each_once(&claimed), made);
    });
}

#[test]
fn many_claimers_at_once_get_each_task_once_and_leave_none() {
    const WORKERS: usize = 16;
    const CLAIMERS_OF_EACH: usize = 4;
    const TASKS: usize = 200;
    test(async |t| {
        let mut workers = Vec::new();
        for number in 0..WORKERS {
            workers.push(t.worker(&format!("w{number}")).capacity(TASKS as i32).await);
        }
        let claimers = workers.iter().flat_map(|worker| [worker; CLAIMERS_OF_EACH]);
        let made = create_many(t, TASKS, None).await;
        let claimed: Vec<ClaimedTask> = join_all(claimers.map(claim_all))
            .await
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(each_once(&claimed), made);
        let holders: HashSet<_> = claimed.iter().map(|task| task.assigned_agent_id).collect();
        assert!(holders.len() > 1, "one claimer took everything");
        let depth = t.admin().get_queue_depth().await.expect("a depth");
        assert_eq!(depth.total_pending, 0);
    });
}

#[test]
fn a_worker_that_claims_on_two_replicas_at_once_stays_within_its_capacity() {
    const CAPACITY: usize = 8;
    const CLAIMS: usize = 40;
    test(async |t| {
        let replica = t.replica().await;
        let here = t.worker("w1").capacity(8).await;
        let there = here.at(&replica);
        create_many(t, CLAIMS, None).await;
        let claimed: Vec<ClaimedTask> = join_all((0..CLAIMS).map(|number| {
            if number % 2 == 0 {
                here.claim()
            } else {
                there.claim()
            }
        }))
        .await
        .into_iter()
        .flatten()
        .collect();
        assert_eq!(each_once(&claimed).len(), CAPACITY);
        assert_eq!(leases(t).await, 8);
    });
}
