//! A holder that sleeps past its lease, and wakes when another attempt has the task: nothing it says counts.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use serde_json::json;
use stint_protocol::client::Client;
use stint_protocol::{
    AgentId, ClaimTask, ClaimTasks, ClaimedTask, CreateTask, StartTask, TaskId, TaskState,
};
use stint_tests::holder::{Holder, beat, completion, failure, release};
use stint_tests::new_task;
use stint_tests::place::until;
use stint_tests::processes::{Stage, Tenant};
use stint_tests::until_within;
use uuid::Uuid;

use crate::dice::Dice;
use crate::wanted::{Outcome, Wanted};

/// Tasks that one process holds, and loses, at once.
const AT_ONCE: usize = 50;

/// Rounds that run at the same time.
const SIDE_BY_SIDE: usize = 4;

/// How long a step of a round may take: a minute, and the other rounds may be having theirs. It is not the promise.
const PATIENCE: Duration = Duration::from_secs(60 * SIDE_BY_SIDE as u64);

/// Tells the sleeping process what it is.
const SLEEPER: &str = "STINT_TEST_SLEEPER";

/// What the sleeping process needs to know.
#[derive(Serialize, Deserialize)]
struct Sleeper {
    url: String,
    key: String,
    agent: AgentId,
    role: String,
    folder: std::path::PathBuf,
    seed: u64,
}

/// What was said to it after it woke.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Said {
    sent: usize,
    accepted: Vec<String>,
}

async fn claim(
    client: &Client,
    agent: AgentId,
    role: &str,
    lease_seconds: i32,
) -> Vec<ClaimedTask> {
    let mut claimed: Vec<ClaimedTask> = Vec::new();
    until_within(PATIENCE, "all tasks are claimed", async || {
        let claim = ClaimTasks {
            max_tasks: u32::try_from(AT_ONCE - claimed.len()).expect("few"),
            agent_id: agent,
            worker_id: None,
            routing_tags: vec![format!("role:{role}")],
            workflow_id: None,
            include_context: Some(false),
            start: Some(true),
            wait_seconds: Some(1),
            lease_seconds: Some(lease_seconds),
            request_id: None,
        };
        let answer = client.claim_tasks(&claim).await.expect("a claim");
        claimed.extend(answer.map(|answer| answer.tasks).unwrap_or_default());
        claimed.len() == AT_ONCE
    })
    .await;
    claimed
}

/// Writes a file that is there as a whole or not at all.
fn write(folder: &Path, name: &str, value: &impl Serialize) {
    let new = folder.join(format!("{name}.new"));
    std::fs::write(&new, serde_json::to_vec(value).expect("plain data")).expect("our own folder");
    std::fs::rename(new, folder.join(name)).expect("our own folder");
}

fn read<T: for<'a> Deserialize<'a>>(folder: &Path, name: &str) -> T {
    let text = std::fs::read(folder.join(name)).expect("it was waited for");
    serde_json::from_slice(&text).expect("it was written as a whole")
}

#[tokio::test]
#[ignore = "the body of a child process, started by another test"]
async fn a_process_that_sleeps_past_its_leases() {
    let me = std::env::var(SLEEPER).expect("what this process is");
    let me: Sleeper = serde_json::from_str(&me).expect("what this process is");
    let client = Client::new(&me.url, &me.key).expect("an address and a key");
    let held = claim(&client, me.agent, &me.role, 2).await;
    write(
        &me.folder,
        "held",
        &held.iter().map(|task| task.id).collect::<Vec<_>>(),
    );
    // Here it is stopped, and everything it holds is given away.
    until_within(PATIENCE, "it may go on", async || {
        me.folder.join("go").exists()
    })
    .await;
    let mut said = Said::default();
    let mut dice = Dice::new(me.seed);
    for task in held {
        let mut ways = ["beat", "start", "log", "complete", "fail", "release"];
        for place in 0..ways.len() {
            let other = place + dice.below(ways.len() - place);
            ways.swap(place, other);
        }
        for way in ways {
            said.sent += 1;
            if say(&client, &me, &task, way).await {
                said.accepted.push(format!(
                    "{way} of attempt {} of task {}",
                    task.attempt, task.id
                ));
            }
        }
    }
    write(&me.folder, "said", &said);
}

/// Whether the platform takes it from an attempt that is stale.
async fn say(client: &Client, me: &Sleeper, task: &ClaimedTask, way: &str) -> bool {
    let (id, attempt) = (task.id, task.attempt);
    match way {
        "beat" => {
            let answer = client
                .heartbeat_agent(me.agent, &beat(&[(id, attempt)]))
                .await;
            answer.expect("a heartbeat is answered").lost.is_empty()
        }
        "start" => {
            let start = StartTask {
                attempt: Some(attempt),
                ..StartTask::default()
            };
            client.start_task(id, &start).await.is_ok()
        }
        "log" => {
            let entry = json!({ "entries": [{
                "trace_id": Uuid::new_v4(), "span_id": Uuid::new_v4(), "source": "runtime", "category": "tool",
                "operation": "look", "status": "completed", "task_id": id, "attempt": attempt, "seq": 1,
            }]});
            let logs = serde_json::from_value(entry).expect("a body");
            let answer = client.ingest_logs(&logs).await;
            answer.expect("log entries are judged one by one").accepted > 0
        }
        "complete" => client
            .complete_task(id, &completion(attempt, "stale"))
            .await
            .is_ok(),
        "fail" => client
            .fail_task(id, &failure(attempt, "stale"))
            .await
            .is_ok(),
        _ => client.release_task(id, &release(attempt)).await.is_ok(),
    }
}

/// A process of its own that is killed when the test has failed.
struct Process(Child);

impl Process {
    fn start(sleeper: &Sleeper) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("our own path"));
        command
            .args([
                "--ignored",
                "--exact",
                "stale::a_process_that_sleeps_past_its_leases",
            ])
            .env(SLEEPER, serde_json::to_string(sleeper).expect("plain data"))
            .stdout(Stdio::null());
        Self(command.spawn().expect("the test binary starts"))
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.0.id()).expect("a process number");
        kill(Pid::from_raw(id), signal).expect("our own child");
    }

    /// Whether all of its threads stand still. On a busy machine they go on for a while after the signal.
    fn is_stopped(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.0.id()));
        threads.expect("our own child").flatten().all(|thread| {
            // One that ends meanwhile does not stand still yet.
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            let state = stat.rsplit(')').next().unwrap_or_default();
            state.trim_start().starts_with('T')
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// One process loses fifty tasks; what it is told, and what became of the tasks, in violations.
async fn round(stage: &Stage, tenant: &Tenant, seed: u64, number: usize) -> (usize, Vec<String>) {
    let role = format!("stale-{number}");
    let folder = stage.file(&role);
    std::fs::create_dir(&folder).expect("our own folder");
    let sleeper = Holder::register_with(tenant, &role, 50).await;
    // In every other round the same agent takes over, as a process that was restarted under its name.
    let other = match number % 2 {
        0 => Holder::register_with(tenant, &format!("{role}-other"), 50).await,
        _ => Holder {
            client: sleeper.client.clone(),
            key: sleeper.key.clone(),
            ..sleeper
        },
    };
    for _ in 0..AT_ONCE {
        let task = CreateTask {
            role: Some(role.clone()),
            ..new_task(&role)
        };
        tenant.client.create_task(&task).await.expect("a task");
    }
    let process = Process::start(&Sleeper {
        url: tenant.url.clone(),
        key: sleeper.key.clone(),
        agent: sleeper.id,
        role: role.clone(),
        folder: folder.clone(),
        seed,
    });
    until_within(PATIENCE, "the process holds its tasks", async || {
        folder.join("held").exists()
    })
    .await;
    process.signal(Signal::SIGSTOP);
    until_within(PATIENCE, "the process sleeps", async || {
        process.is_stopped()
    })
    .await;
    write(&folder, "go", &());
    let held: Vec<TaskId> = read(&folder, "held");
    let claimed = claim(&other.client, other.id, &role, 60).await;
    let (before, after) = claimed.split_at(AT_ONCE / 2);
    let complete = async |tasks: &[ClaimedTask]| {
        for task in tasks {
            let done = completion(task.attempt, "fresh");
            other
                .client
                .complete_task(task.id, &done)
                .await
                .expect("it holds the task");
        }
    };
    complete(before).await;
    process.signal(Signal::SIGCONT);
    until_within(PATIENCE, "the process has said everything", async || {
        folder.join("said").exists()
    })
    .await;
    complete(after).await;
    let said: Said = read(&folder, "said");
    let mut violations = said.accepted;
    if said.sent != AT_ONCE * 6 {
        violations.push(format!(
            "round {number}: only {} reports were sent",
            said.sent
        ));
    }
    for id in held {
        let task = tenant.task(id).await;
        let output = task.output.map(|output| output.value());
        let is_right = task.state == TaskState::Completed
            && task.attempt == 2
            && output == Some(json!("fresh"));
        if !is_right {
            violations.push(format!(
                "task {id} is {} in attempt {} with {output:?}",
                task.state, task.attempt
            ));
        }
    }
    (said.sent, violations)
}

#[tokio::test]
async fn stale_writes() {
    let wanted = Wanted::read("stale_writes");
    let rounds = wanted.either(20, 2);
    let stage = Stage::new();
    let platform = stage.platform().await;
    let tenant = Tenant::first_of(&platform);
    let mut dice = Dice::new(wanted.seed);
    let (mut sent, mut violations) = (0, Vec::new());
    let numbers: Vec<usize> = (0..rounds).collect();
    for together in numbers.chunks(SIDE_BY_SIDE) {
        let seeds: Vec<(usize, u64)> = together
            .iter()
            .map(|number| (*number, dice.next()))
            .collect();
        let ended = join_all(
            seeds
                .iter()
                .map(|(number, seed)| round(&stage, &tenant, *seed, *number)),
        )
        .await;
        for (of_round, found) in ended {
            sent += of_round;
            violations.extend(found);
        }
    }
    Outcome {
        scenario: "stale_writes".to_owned(),
        seed: wanted.seed,
        faults: rounds * AT_ONCE,
        operations: sent as u64,
        violations,
        recovery_ratio: None,
        figures: json!({ "trials": rounds * AT_ONCE, "stale_writes_sent": sent }),
    }
    .conclude();
}

/// Longest between the death of a worker and the moment at which all of its tasks can be claimed: its lease, and
/// five seconds.
const BACK_WITHIN: Duration = Duration::from_secs(15);

/// Tasks that a worker holds when it is killed.
const HELD: usize = 4;

/// Kills a worker that holds some tasks, and tells how long they took to be claimed again.
async fn killed(stage: &Stage, tenant: &Tenant, role: &str, alive: Duration) -> Duration {
    let hold = r#"echo "$STINT_TASK_ID" >> "$GATE/began-$STINT_WORKER_NAME"; exec sleep 600"#;
    let mut worker = stage
        .worker(role, &tenant.url, &tenant.key)
        .with(&format!("capacity = {HELD}\nlease_seconds = 10"))
        .handler(role, hold)
        .start();
    for _ in 0..HELD {
        tenant.create(role).await;
    }
    let began = format!("began-{role}");
    until("the worker holds its tasks", async || {
        stage.read(&began).lines().count() == HELD
    })
    .await;
    let heir = Holder::register_with(tenant, &format!("{role}-heir"), 10).await;
    tokio::time::sleep(alive).await;
    worker.kill9();
    let died_at = std::time::Instant::now();
    for _ in 0..HELD {
        let claim = ClaimTask {
            routing_tags: vec![format!("role:{role}")],
            wait_seconds: Some(25),
            lease_seconds: None,
            ..heir.claim()
        };
        let task = heir
            .client
            .claim_task(&claim)
            .await
            .expect("an answer")
            .expect("a task within 25 s");
        heir.client
            .complete_task(task.id, &completion(task.attempt, "inherited"))
            .await
            .expect("it holds the task");
    }
    died_at.elapsed()
}

#[tokio::test]
async fn worker_kills() {
    let wanted = Wanted::read("worker_kills");
    let (rounds, workers) = wanted.either((10, 20), (1, 6));
    let stage = Stage::new();
    let platform = stage.platform().await;
    let tenant = Tenant::first_of(&platform);
    let mut dice = Dice::new(wanted.seed);
    let mut took = Vec::new();
    for round in 0..rounds {
        // At any moment between two heartbeats, which are five seconds apart.
        let trials: Vec<(String, Duration)> = (0..workers)
            .map(|worker| (format!("kill-{round}-{worker}"), dice.millis(0, 5_000)))
            .collect();
        took.extend(
            join_all(
                trials
                    .iter()
                    .map(|(role, alive)| killed(&stage, &tenant, role, *alive)),
            )
            .await,
        );
    }
    let late = took.iter().filter(|took| **took > BACK_WITHIN);
    let longest = took.iter().max().copied().unwrap_or_default();
    Outcome {
        scenario: "worker_kills".to_owned(),
        seed: wanted.seed,
        faults: took.len(),
        operations: (took.len() * HELD) as u64,
        violations: late.map(|took| format!("the tasks of a dead worker were back after {took:.1?}")).collect(),
        recovery_ratio: None,
        figures: json!({ "kills": took.len(), "tasks": took.len() * HELD, "longest_seconds": longest.as_secs_f64() }),
    }
    .conclude();
}
