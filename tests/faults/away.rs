//! The database goes away while many tasks run. It takes no task from anyone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;
use stint_protocol::TaskState;
use stint_tests::place::until;
use stint_tests::processes::Tenant;

use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::wanted::{Outcome, Wanted};

const TASKS: usize = 100;
const WORKERS: usize = 4;

/// Two leases of the workers, and a little.
const AWAY: Duration = Duration::from_secs(21);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_away() {
    let wanted = Wanted::read("database_away");
    let mut cluster = Cluster::start(Dice::new(wanted.seed)).await;
    let tenant = Tenant::first_of(&cluster.replicas[0]);
    // Whoever reads from it waits until somebody writes, without doing anything meanwhile.
    let gate = cluster.stage.file("gate");
    mkfifo(&gate, Mode::S_IRWXU).expect("our own folder");
    let hold = r#"
        echo "$STINT_TASK_ID $STINT_ATTEMPT" >> "$GATE/runs"
        read -r word < "$GATE/gate"
        echo "{\"attempt\": $STINT_ATTEMPT}" > "$STINT_OUTPUT_FILE"
    "#;
    for _ in 0..WORKERS {
        let worker = cluster.worker(&tenant.key).await;
        let capacity = TASKS / WORKERS;
        let worker = worker.with(&format!("capacity = {capacity}\nlease_seconds = 10"));
        cluster.workers.push(worker.handler("hold", hold).start());
    }
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        tasks.push(tenant.create("hold").await);
    }
    until("all tasks run", async || {
        cluster.stage.read("runs").lines().count() == TASKS
    })
    .await;

    cluster.stop_database().await;
    let since = Instant::now();
    until("two leases have passed", async || since.elapsed() > AWAY).await;
    cluster.start_database().await;
    // The loops of both replicas have had their turns, and with them every chance to take tasks away.
    for replica in &cluster.replicas {
        let admin = replica.admin();
        let runs = async || {
            let loops = admin.list_loops().await.unwrap_or_default();
            let turn = loops
                .into_iter()
                .find(|row| row.name == "expire_leases" && row.error.is_none());
            turn.map_or(0, |row| row.runs)
        };
        until("the replica has its database", async || runs().await > 0).await;
        let before = runs().await;
        until("leases are looked at", async || runs().await >= before + 2).await;
    }
    tokio::task::spawn_blocking(move || std::fs::write(gate, "open\n"))
        .await
        .expect("it does not panic")
        .expect("somebody reads it");

    let mut violations = Vec::new();
    for id in tasks {
        let task = tenant.completed(id).await;
        if (task.attempt, task.abandon_count, task.state) != (1, 0, TaskState::Completed) {
            violations.push(format!(
                "task {id} was lost {} times: attempt {}",
                task.abandon_count, task.attempt
            ));
        }
    }
    let runs = cluster.stage.read("runs");
    if runs.lines().collect::<BTreeSet<_>>().len() != TASKS || runs.lines().count() != TASKS {
        violations.push(format!(
            "{TASKS} tasks were run {} times",
            runs.lines().count()
        ));
    }
    Outcome {
        scenario: "database_away".to_owned(),
        seed: wanted.seed,
        faults: 1,
        operations: TASKS as u64,
        violations,
        recovery_ratio: None,
        figures: json!({ "tasks": TASKS, "seconds_away": AWAY.as_secs() }),
    }
    .conclude();
}
