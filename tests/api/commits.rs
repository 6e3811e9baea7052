//! What a request costs the database, counted by `pg_stat_statements`: no times, only numbers.

use futures_util::future::{join_all, select};
use serde_json::json;
use sqlx::Row as _;
use stint_protocol::{ClaimedTask, WorkflowState};
use stint_tests::holder::beat;
use stint_tests::{Setup, TestPlatform, TestWorker, new_task, until};

/// How often a statement ran since the counters were reset.
#[derive(Debug)]
struct Counted {
    query: String,
    calls: i64,
}

async fn count_from_now(t: &TestPlatform) {
    t.execute(
        "create extension if not exists pg_stat_statements;
         select pg_stat_statements_reset(0, (select oid from pg_database where datname = current_database()), 0)",
    )
    .await;
}

/// Waits until the replica hears the others. When it begins to, it forgets what it knew, and asks anew.
async fn until_it_listens(t: &TestPlatform) {
    until("the replica listens", async || {
        let listening = "select exists (select from pg_stat_activity
                         where datname = current_database() and query ilike 'listen%' and state = 'idle')";
        sqlx::query_scalar::<_, bool>(listening)
            .fetch_one(t.sql())
            .await
            .expect("the sessions can be read")
    })
    .await;
}

/// What the platform ran since then. Aside: notes to other replicas, the order to plan anew that a lane gives
/// when tables have grown, and the test's own statements.
async fn counted(t: &TestPlatform) -> Vec<Counted> {
    let rows = sqlx::query(
        "select query, calls from pg_stat_statements
         where dbid = (select oid from pg_database where datname = current_database())
           and query not like '%pg_notify%' and query not like '%pg_stat_statements%' and query <> 'discard plans'
         order by calls desc",
    )
    .fetch_all(t.sql())
    .await
    .expect("the counters can be read");
    rows.into_iter()
        .map(|row| Counted {
            query: row.get("query"),
            calls: row.get("calls"),
        })
        .collect()
}

/// Holds a snapshot, which keeps every row that dies from now on.
async fn hold_snapshot(t: &TestPlatform) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut holding = t.sql().begin().await.expect("a transaction");
    for statement in [
        "set transaction isolation level repeatable read",
        "select count(*) from task_leases",
    ] {
        sqlx::query(statement)
            .execute(&mut *holding)
            .await
            .expect("a snapshot is held");
    }
    holding
}

/// There was a claim, and no statement has read more pages than these.
async fn assert_no_walks(t: &TestPlatform, pages_max: i64) {
    let read: Vec<(String, i64)> = sqlx::query_as(
        "select query, (shared_blks_hit + shared_blks_read) / calls from pg_stat_statements
         where dbid = (select oid from pg_database where datname = current_database())
           and query not like '%pg_stat_statements%'",
    )
    .fetch_all(t.sql())
    .await
    .expect("the counters can be read");
    assert!(read.iter().any(|(query, _)| query.contains(CLAIM)));
    let walks: Vec<_> = read
        .iter()
        .filter(|(_, pages)| *pages > pages_max)
        .collect();
    assert!(walks.is_empty(), "{walks:#?}");
}

fn calls_of(counted: &[Counted], mark: &str) -> i64 {
    counted
        .iter()
        .filter(|statement| statement.query.contains(mark))
        .map(|statement| statement.calls)
        .sum()
}

/// The opening words of the statements in `claim_next.sql`, `complete.sql` and `place.sql`.
const CLAIM: &str = "Hands the next ready tasks";
const COMPLETE: &str = "Takes a batch of reported outputs";
const PLACE: &str = "Creates tasks and lays each";

#[test]
fn a_lone_claim_is_one_statement_that_commits_by_itself() {
    stint_tests::test(async |t| {
        let worker = t.worker("w1").await;
        // The first claim of an agent reads who it is; the key is looked up at its first use.
        worker.claim().await;
        t.create("one").await;
        count_from_now(t).await;
        worker.claim_one().await;
        let counted = counted(t).await;
        assert_eq!(calls_of(&counted, CLAIM), 1, "{counted:?}");
        assert_eq!(
            counted.iter().map(|statement| statement.calls).sum::<i64>(),
            1,
            "{counted:?}"
        );
    });
}

#[test]
fn a_lone_create_is_one_statement_that_commits_by_itself() {
    stint_tests::test(async |t| {
        until_it_listens(t).await;
        t.create("one").await;
        count_from_now(t).await;
        t.create("another").await;
        let counted = counted(t).await;
        assert_eq!(calls_of(&counted, PLACE), 1, "{counted:?}");
        assert_eq!(
            counted.iter().map(|statement| statement.calls).sum::<i64>(),
            1,
            "{counted:?}"
        );
    });
}

#[test]
fn a_lone_complete_is_one_statement_that_commits_by_itself_and_one_read() {
    stint_tests::test(async |t| {
        let worker = t.worker("w1").await;
        t.create("one").await;
        let task = worker.begin().await;
        count_from_now(t).await;
        worker
            .complete(&task, json!({}))
            .await
            .expect("the completion is accepted");
        let counted = counted(t).await;
        assert_eq!(calls_of(&counted, COMPLETE), 1, "{counted:?}");
        assert_eq!(
            counted.iter().map(|statement| statement.calls).sum::<i64>(),
            2,
            "{counted:?}"
        );
    });
}

#[test]
fn a_complete_that_wants_no_task_back_is_one_statement() {
    stint_tests::test(async |t| {
        let worker = t.worker("w1").await;
        t.create("one").await;
        let task = worker.begin().await;
        count_from_now(t).await;
        let completion = TestWorker::completion(&task, json!({}));
        worker
            .agent
            .complete_task_minimal(task.id, &completion)
            .await
            .expect("the completion is accepted");
        let counted = counted(t).await;
        assert_eq!(calls_of(&counted, COMPLETE), 1, "{counted:?}");
        assert_eq!(counted.len(), 1, "{counted:?}");
    });
}

#[test]
fn a_task_for_a_claim_that_waits_costs_no_look_into_the_queue_afterwards() {
    stint_tests::test(async |t| {
        until_it_listens(t).await;
        let worker = t.worker("w1").await;
        assert!(worker.claim().await.is_none(), "there is no work yet");
        let wait_for_work = || {
            let worker = worker.clone();
            tokio::spawn(async move {
                let claim = worker.claim_with(|claim| {
                    claim.wait_seconds = Some(20);
                    claim.start = Some(true);
                });
                claim.await.expect("the claim is accepted")
            })
        };
        let hints = &t.first().app().hints;
        let it_waits = async || until("the claim waits", async || hints.waiting_count() == 1).await;
        let claim = wait_for_work();
        it_waits().await;
        count_from_now(t).await;
        t.create("one").await;
        let task = claim.await.expect("the claim ends");
        let task = task.expect("the created task");
        let completion = TestWorker::completion(&task, json!({}));
        let reported = worker.agent.complete_task_minimal(task.id, &completion);
        reported.await.expect("the completion is accepted");
        // Everything that came was handed over, and the agent has handed it in: there is nothing to ask.
        let claim = wait_for_work();
        it_waits().await;
        let counted = counted(t).await;
        assert_eq!(calls_of(&counted, CLAIM), 1, "{counted:?}");
        assert_eq!(calls_of(&counted, COMPLETE), 1, "{counted:?}");
        assert_eq!(calls_of(&counted, PLACE), 1, "{counted:?}");
        // And BEGIN, COMMIT and the read of the task that the create is answered with.
        let all = counted.iter().map(|statement| statement.calls).sum::<i64>();
        assert_eq!(all, 6, "{counted:?}");
        claim.abort();
    });
}

#[test]
fn lanes_keep_their_plans_until_a_table_has_grown() {
    stint_tests::test(async |t| {
        let plans_made_anew = async || {
            let calls = "select coalesce(sum(calls), 0)::bigint from pg_stat_statements where query = 'discard plans'
                         and dbid = (select oid from pg_database where datname = current_database())";
            sqlx::query_scalar::<_, i64>(calls)
                .fetch_one(t.sql())
                .await
                .expect("the counters can be read")
        };
        t.create("one").await;
        t.run_loop("review_plans").await;
        t.create("one").await;
        count_from_now(t).await;
        assert_eq!(t.run_loop("review_plans").await.changed, 0);
        t.create("one").await;
        assert_eq!(plans_made_anew().await, 0);
        let grow = "insert into task_dependencies select gen_random_uuid(), gen_random_uuid(), gen_random_uuid()
                    from generate_series(1, 5000)";
        t.execute(grow).await;
        assert_eq!(t.run_loop("review_plans").await.changed, 1);
        t.create("one").await;
        t.create("one").await;
        assert_eq!(plans_made_anew().await, 1);
    });
}

#[test]
fn what_is_asked_at_once_shares_commits() {
    const AT_ONCE: i32 = 256;
    // So many at once that most must wait while a batch commits; each commit then serves many.
    const COMMITS_MAX: i64 = 64;
    Setup::new().test(async |t| {
        let worker = t
            .worker("w1")
            .capacity(AT_ONCE)
            .agent_capacity(AT_ONCE)
            .await;
        worker.claim().await;
        count_from_now(t).await;
        let admin = t.admin();
        join_all((0..AT_ONCE).map(async |number| {
            admin
                .create_task(&new_task(&format!("task {number}")))
                .await
                .expect("the task is created")
        }))
        .await;
        let tasks = join_all((0..AT_ONCE).map(|_| worker.begin())).await;
        join_all(tasks.iter().map(async |task| {
            worker
                .complete(task, json!({}))
                .await
                .expect("it is accepted")
        }))
        .await;
        let counted = counted(t).await;
        for mark in [PLACE, CLAIM, COMPLETE] {
            let calls = calls_of(&counted, mark);
            assert!(
                (1..=COMMITS_MAX).contains(&calls),
                "{calls} statements for {AT_ONCE} requests: {mark}"
            );
        }
    });
}

#[test]
fn claims_that_want_different_lanes_share_a_statement() {
    test_differing_claims(|number| Some(number.to_string()));
}

#[test]
fn claims_that_want_different_lanes_and_one_that_they_have_in_common_share_a_statement() {
    test_differing_claims(|_| None);
}

/// Workers with a tag each claim at once, each one task of these roles.
fn test_differing_claims(role_of: fn(usize) -> Option<String>) {
    const WORKERS: usize = 30;
    const STATEMENTS_MAX: i64 = 10;
    Setup::new().test(async |t| {
        let mut workers = Vec::new();
        for number in 0..WORKERS {
            let tag = format!("role:{number}");
            let worker = t.worker(&format!("w{number}")).tags(&[&tag]).await;
            worker.claim().await;
            workers.push(worker);
        }
        for number in 0..WORKERS {
            t.create_with("task", |task| task.role = role_of(number))
                .await;
        }
        count_from_now(t).await;
        let claimed = join_all(workers.iter().map(TestWorker::claim_one)).await;
        for (number, task) in claimed.iter().enumerate() {
            assert_eq!(task.role, role_of(number));
        }
        let calls = calls_of(&counted(t).await, CLAIM);
        assert!((1..=STATEMENTS_MAX).contains(&calls), "{calls} statements");
    });
}

#[test]
fn an_idle_platform_with_ten_waiting_workers_runs_fewer_than_five_statements_a_second() {
    // The pulse beats once a second: it is the clock of this test.
    const PULSE: &str = "platform_pulse";
    const SECONDS: i64 = 10;
    Setup::new().with_loops().test(async |t| {
        let mut workers = Vec::new();
        for number in 0..10 {
            let worker = t.worker(&format!("w{number}")).await;
            worker.claim().await;
            workers.push(worker);
        }
        count_from_now(t).await;
        let waiting = join_all(workers.iter().map(async |worker| {
            loop {
                let claimed = worker
                    .claim_with(|claim| claim.wait_seconds = Some(25))
                    .await
                    .expect("the claim is answered");
                assert!(claimed.is_none(), "there is nothing to claim");
            }
        }));
        let counting = async {
            until("ten seconds have been counted", async || {
                calls_of(&counted(t).await, PULSE) >= SECONDS
            })
            .await;
            counted(t).await
        };
        let (waiting, counting) = (Box::pin(waiting), Box::pin(counting));
        let futures_util::future::Either::Right((counted, _)) = select(waiting, counting).await
        else {
            panic!("the claims do not end");
        };
        let seconds = calls_of(&counted, PULSE);
        let statements: i64 = counted.iter().map(|statement| statement.calls).sum();
        assert!(statements < 5 * seconds, "{seconds} s: {counted:#?}");
    });
}

#[test]
fn no_request_reads_the_leases_that_ended_though_a_snapshot_keeps_them() {
    const ENDED: usize = 5_000;
    /// A walk over them reads more than one page for each.
    const PAGES_MAX: i64 = 1_000;
    stint_tests::test(async |t| {
        let worker = t.worker("w1").await;
        t.create("one").await;
        let first = worker.begin().await;
        let holding = hold_snapshot(t).await;
        t.execute(&format!(
            "insert into task_leases
             select (jsonb_populate_record(l, jsonb_build_object(
                 'task_id', gen_random_uuid(), 'agent_id', gen_random_uuid(), 'worker_id', gen_random_uuid()))).*
             from task_leases l, generate_series(1, {ENDED});
             delete from task_leases where task_id <> '{}'",
            first.id
        ))
        .await;
        t.execute("vacuum analyze task_leases").await;

        count_from_now(t).await;
        serve(&worker, first).await;
        t.create("two").await;
        serve(&worker, worker.begin().await).await;
        let run = t
            .launch(json!({ "a": { "kind": "task" }, "b": { "kind": "task", "needs": ["a"] } }))
            .await;
        serve(&worker, worker.begin().await).await;
        serve(&worker, worker.begin().await).await;
        assert_eq!(
            t.run(run.workflow.id).await.workflow.state,
            WorkflowState::Completed
        );
        assert_no_walks(t, PAGES_MAX).await;
        holding.rollback().await.expect("it is over");
    });
}

#[test]
fn claims_and_loops_look_past_the_leases_of_a_holder_that_ended_though_a_snapshot_keeps_them() {
    const ENDED: usize = 30_000;
    /// A claim that makes its plans anew reads some 180. A walk over the index alone reads a page for each 150 or
    /// 200 of them beside, and one that looks at the rows more than their number.
    const PAGES_MAX: i64 = 250;
    stint_tests::test(async |t| {
        until_it_listens(t).await;
        let worker = t.worker("w1").await;
        t.create("one").await;
        let first = worker.begin().await;
        t.expire_leases().await;
        let holding = hold_snapshot(t).await;
        t.execute(&format!(
            "insert into task_leases
             select (jsonb_populate_record(l, jsonb_build_object(
                 'task_id', gen_random_uuid(), 'lease_no', l.lease_no - {ENDED} - 1 + g,
                 'expires_at', clock_timestamp() - interval '1 hour'))).*
             from task_leases l, generate_series(1, {ENDED}) g;
             delete from task_leases where task_id <> '{}'",
            first.id
        ))
        .await;
        t.execute("vacuum analyze task_leases").await;

        serve(&worker, first).await;
        t.create("two").await;
        t.create("three").await;
        count_from_now(t).await;
        let lost = worker.claim_one().await;
        t.lose_lease(lost.id).await;
        t.run_loop("time_out_tasks").await;
        let again = worker.begin().await;
        let reported = worker.complete(&again, json!({})).await;
        reported.expect("the completion is accepted");
        assert_no_walks(t, PAGES_MAX).await;
        holding.rollback().await.expect("it is over");
    });
}

#[test]
fn who_is_silent_is_told_without_a_look_at_leases() {
    const ENDED: usize = 20_000;
    /// A walk over them reads hundreds.
    const PAGES_MAX: i64 = 100;
    stint_tests::test(async |t| {
        let worker = t.worker("w1").await;
        t.create("one").await;
        let held = worker.begin().await;
        let copies = format!(
            "insert into task_leases
             select (jsonb_populate_record(l, jsonb_build_object('task_id', gen_random_uuid()))).*
             from task_leases l, generate_series(1, {ENDED})"
        );
        t.execute(&copies).await;
        t.execute(&format!(
            "delete from task_leases where task_id <> '{}'",
            held.id
        ))
        .await;
        serve(&worker, held).await;
        count_from_now(t).await;
        t.run_loop("mark_silent").await;
        let read: Vec<i64> = sqlx::query_scalar(
            "select (shared_blks_hit + shared_blks_read) / calls from pg_stat_statements
             where dbid = (select oid from pg_database where datname = current_database())
               and query like '%set told_status%'",
        )
        .fetch_all(t.sql())
        .await
        .expect("the counters can be read");
        assert_eq!(read.len(), 2, "of workers and of agents");
        assert!(read.iter().all(|pages| *pages < PAGES_MAX), "{read:?}");
    });
}

/// What a holder asks about a task of its own, and then the task is completed.
async fn serve(worker: &TestWorker, held: ClaimedTask) {
    let lists = beat(&[(held.id, held.attempt)]);
    let beaten = worker.agent.heartbeat_agent(worker.agent_id, &lists).await;
    assert_eq!(beaten.expect("the heartbeat is accepted").lost, []);
    worker.agent.get_task(held.id).await.expect("its task");
    let completed = worker.complete(&held, json!({})).await;
    completed.expect("the completion is accepted");
}
