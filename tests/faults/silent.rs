//! A machine in between forgets its connections and tells nobody. Whoever had one finds out by itself, in time.

use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;
use stint_protocol::{CreateTask, TaskState};
use stint_tests::new_task;
use stint_tests::place::until;
use stint_tests::processes::Tenant;

use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::proxy::{Effect, Proxy};
use crate::wanted::{Outcome, Wanted};

/// Tasks that run when a wire falls silent. Each has sent a log line, so there are about as many connections
/// that wait to be used again.
const RUNNING: usize = 8;

/// Four heartbeats.
const LEASE: Duration = Duration::from_secs(20);

/// Tells its attempt, says something, and waits for the gate to open.
const HOLD: &str = r#"
    echo "$STINT_TASK_ID $STINT_ATTEMPT" >> "$GATE/runs"
    echo "at work"
    read -r word < "$GATE/gate"
    echo "{\"attempt\": $STINT_ATTEMPT}" > "$STINT_OUTPUT_FILE"
"#;

/// Lets wires forget their connections while a worker runs tasks and waits for one more. It must get that one,
/// and lose none.
async fn falls_silent(scenario: &str, wires: impl Fn(&Cluster) -> &[Proxy]) {
    let wanted = Wanted::read(scenario);
    let mut cluster = Cluster::start(Dice::new(wanted.seed)).await;
    let tenant = Tenant::first_of(&cluster.replicas[0]);
    let gate = cluster.stage.file("gate");
    mkfifo(&gate, Mode::S_IRWXU).expect("our own folder");
    let worker = cluster.worker(&tenant.key).await.with(&format!(
        "capacity = {}\nlease_seconds = {}",
        RUNNING + 1,
        LEASE.as_secs()
    ));
    cluster.workers.push(worker.handler("hold", HOLD).start());
    let mut tasks = Vec::new();
    for _ in 0..RUNNING {
        tasks.push(tenant.create("hold").await);
    }
    let runs = || cluster.stage.read("runs").lines().count();
    until("all tasks run", async || runs() == RUNNING).await;

    for wire in wires(&cluster) {
        wire.set(Effect::Forgotten);
    }
    let since = Instant::now();
    until("one more task is made", async || {
        let task = CreateTask {
            role: Some("hold".to_owned()),
            request_id: Some("one-more".to_owned()),
            ..new_task("hold")
        };
        let made = tenant.client.create_task(&task).await;
        tasks.extend(made.as_ref().map(|task| task.id));
        made.is_ok()
    })
    .await;
    until("it runs", async || runs() == RUNNING + 1).await;
    let deaf = since.elapsed();
    until(
        "no lease of then lives any more, unless it was renewed",
        async || since.elapsed() > LEASE + Duration::from_secs(5),
    )
    .await;
    tokio::task::spawn_blocking(move || std::fs::write(gate, "open\n"))
        .await
        .expect("it does not panic")
        .expect("somebody reads it");

    let mut violations = Vec::new();
    for id in &tasks {
        let task = tenant.completed(*id).await;
        if (task.attempt, task.abandon_count, task.state) != (1, 0, TaskState::Completed) {
            violations.push(format!(
                "task {id} was lost {} times: attempt {}",
                task.abandon_count, task.attempt
            ));
        }
    }
    Outcome {
        scenario: scenario.to_owned(),
        seed: wanted.seed,
        faults: 1,
        operations: tasks.len() as u64,
        violations,
        recovery_ratio: None,
        figures: json!({ "tasks": tasks.len(), "deaf_seconds": deaf.as_secs_f64() }),
    }
    .conclude();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_link() {
    falls_silent("silent_link", |cluster| &cluster.links).await;
}

/// The other replica has its database all the time, and with it every chance to take the tasks away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_database() {
    falls_silent("silent_database", |cluster| &cluster.wires[..1]).await;
}
