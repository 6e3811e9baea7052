//! A new version is rolled out under load: its migrations run while the old one works, then workers and replicas
//! are restarted one after the other.

use std::time::Duration;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use stint_platform::db::migrate;
use stint_tests::place::until;

use crate::chaos::Running;
use crate::checker::check;
use crate::evidence::Evidence;
use crate::history::Phase;
use crate::load::Strength;
use crate::wanted::{Outcome, Wanted};

/// What the next release could bring: every kind of change that the rules for migrations allow, to the tables
/// that are busiest. The flag says that it runs without a transaction.
const NEXT: &[(bool, &str)] = &[
    (
        false,
        "alter table tasks add column next_weight integer not null default 1;
         alter table task_waiting add column next_note text;
         alter table task_queue add column next_note text;
         alter table task_leases add column next_note text;
         alter table task_results add column next_note text;
         alter table events add column next_note text;
         alter table workflows add column next_note text;
         alter table claim_requests add column next_note text;
         create table next_notes (
             tenant_id uuid not null,
             task_id uuid not null,
             note text not null,
             constraint next_notes_key primary key (tenant_id, task_id)
         );
         alter table tasks add constraint tasks_next_weight check (next_weight > 0) not valid",
    ),
    (
        true,
        "create index concurrently task_results_next on task_results (tenant_id, next_note)",
    ),
    (
        false,
        "alter table tasks validate constraint tasks_next_weight",
    ),
];

/// This release, with the migrations of the next one.
fn next_release() -> Migrator {
    let this = migrate::embedded();
    let newest = this.iter().map(|step| step.version).max().unwrap_or(0);
    let added = NEXT
        .iter()
        .zip(newest + 1..)
        .map(|((no_tx, sql), version)| {
            let sql = sql.into_sql_str();
            Migration::new(version, "next".into(), MigrationType::Simple, sql, *no_tx)
        });
    Migrator::with_migrations(this.iter().cloned().chain(added).collect())
}

async fn under_load(wanted: &Wanted, workers: usize) -> Running {
    let strength = Strength {
        pause: Duration::from_millis(200),
        slow_percent: 20,
        agents_percent: 0,
    };
    Running::start(wanted.seed, workers, 2, strength).await
}

/// Restarts every worker and both replicas, one after the other. Tells how many restarts that were.
async fn roll(running: &mut Running) -> usize {
    let workers = running.cluster.workers.len();
    let mut restarts = 0;
    for number in 0..workers {
        running.cluster.workers[number].ask_to_stop();
        let status = running.cluster.workers[number].ended().await;
        assert!(status.success(), "a worker ended with {status}");
        running.cluster.workers[number].revive();
        restarts += 1;
        // The replicas in the middle of it.
        if number == workers / 3 || number == workers * 2 / 3 {
            let replica = &mut running.cluster.replicas[usize::from(number > workers / 2)];
            replica.terminate().await;
            replica.restart().await;
            restarts += 1;
        }
    }
    work_goes_on(running).await;
    restarts
}

/// Waits until every worker has had a chance to run something.
async fn work_goes_on(running: &Running) {
    let runs = || running.cluster.stage.read("runs").lines().count();
    let before = runs();
    until("workers are at work", async || {
        runs() > before + running.cluster.workers.len()
    })
    .await;
}

/// What no client and no task may have felt.
fn felt(evidence: &Evidence) -> Vec<String> {
    let mut violations = check(evidence);
    // No attempt was lost or failed: programs that ask for another one are meant to.
    let failed = |reason: &Option<String>| matches!(reason.as_deref(), Some("lose_lease" | "fail"));
    for event in evidence.events.iter().filter(|event| failed(&event.reason)) {
        violations.push(format!(
            "attempt {} of task {} made the move {:?}",
            event.attempt, event.task, event.reason
        ));
    }
    // Whatever a client was refused, the repetition was accepted.
    for op in &evidence.ops {
        if let Some(Phase::Fail { status, why }) = &op.end
            && !matches!(status, 429 | 503)
        {
            violations.push(format!("{:?} was refused for good: {why}", op.call));
        }
    }
    violations
}

async fn conclude(scenario: &str, wanted: &Wanted, running: Running, faults: usize) {
    let workers = running.cluster.workers.len();
    let (evidence, operations) = running.evidence().await;
    Outcome {
        scenario: scenario.to_owned(),
        seed: wanted.seed,
        faults,
        operations,
        violations: felt(&evidence),
        recovery_ratio: None,
        figures: serde_json::json!({ "workers": workers, "tasks": evidence.tasks.len() }),
    }
    .conclude();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restart() {
    let wanted = Wanted::read("rolling_restart");
    let mut running = under_load(&wanted, wanted.either(20, 6)).await;
    let restarts = roll(&mut running).await;
    conclude("rolling_restart", &wanted, running, restarts).await;
}

/// The next release is this one with more migrations: what has changed in its programs cannot be known here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrade() {
    let wanted = Wanted::read("upgrade");
    let mut running = under_load(&wanted, wanted.either(20, 3)).await;
    // As the first replica of the next release does when it starts.
    migrate::apply(&mut next_release(), &running.cluster.database())
        .await
        .expect("the database is migrated");
    // Old workers and both old replicas, on the new schema, and then the new ones.
    work_goes_on(&running).await;
    let restarts = roll(&mut running).await;
    conclude("upgrade", &wanted, running, restarts + 1).await;
}
