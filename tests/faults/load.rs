//! A steady load: programs that make tasks and launch runs, agents that work on some of the tasks, readers.
//!
//! Each client repeats what was not answered, under the same `request_id`, until it was; that is all that the
//! platform asks of its clients.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use stint_protocol::client::{Client, ClientError};
use stint_protocol::{
    CancelTask, ClaimTask, ClaimedTask, CreatePlaybook, CreateTask, CreateWorkflow, PlaybookId,
    RetryPolicy, Task, TaskId, TenantId, WorkspaceId,
};
use stint_tests::holder::{Holder, completion, failure, release};
use stint_tests::new_task;
use stint_tests::processes::{Tenant, WorkerProcess};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::history::{Answer, Call, End, Recorder, Scribe};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a task may lose its holder: here holders die all the time, and no task is at fault.
const MAX_ABANDONS: i32 = 100;

/// What a program prints although it should not.
pub(crate) const SECRET: &str = "canary-that-sings-in-the-mine";

/// What a program prints as well, and which must be found.
pub(crate) const MARKER: &str = "a-line-that-is-no-secret";

/// The programs of the workers. Each writes down that it runs.
const HANDLERS: &[(&str, &str)] = &[
    ("quick", "true"),
    ("slow", "sleep 1.5"),
    // Every other attempt of it asks for another one.
    ("flaky", r#"[ $((STINT_ATTEMPT % 2)) = 0 ] || exit 75"#),
];

/// Gives a worker its programs.
pub(crate) fn with_programs(mut worker: WorkerProcess, capacity: u32, gate: &str) -> WorkerProcess {
    worker = worker.with(&format!(
        "capacity = {capacity}\nlease_seconds = 10\ndrain_grace_seconds = 3"
    ));
    for (role, work) in HANDLERS {
        let script = format!(
            "echo \"$STINT_TASK_ID $STINT_ATTEMPT\" >> \"$GATE/runs\"\necho \"{MARKER} $BIRD\"\n{work}\n\
             printf '{{\"attempt\": %s, \"items\": [1, 2, 3]}}' \"$STINT_ATTEMPT\" > \"$STINT_OUTPUT_FILE\""
        );
        let lines = format!("env = {{ GATE = {gate:?} }}\nsecrets = {{ BIRD = \"{SECRET}\" }}\n");
        worker = worker.bare_handler(role, &script, &lines);
    }
    worker
}

/// A run in three steps: a task, one for each item of its output, and one that joins them.
fn playbook() -> CreatePlaybook {
    let task = |role: &str, more: serde_json::Value| {
        let mut task =
            json!({ "role": role, "max_abandons": MAX_ABANDONS, "retry_policy": retries() });
        let members = more.as_object().expect("an object").clone();
        task.as_object_mut().expect("an object").extend(members);
        task
    };
    let definition = json!({
        "kind": "graph",
        "steps": {
            "list": task("quick", json!({ "kind": "task" })),
            "each": { "kind": "for_each", "items": "{{ steps.list.output.items }}", "max_parallel": 2,
                      "task": task("flaky", json!({ "input": { "item": "{{ item }}" } })) },
            "join": task("quick", json!({ "kind": "task", "input": { "all": "{{ steps.each.output }}" } })),
        },
    });
    let playbook = json!({ "name": "Three steps", "slug": "three-steps", "outcome": "Three steps are done", "definition": definition });
    serde_json::from_value(playbook).expect("a playbook")
}

fn retries() -> RetryPolicy {
    RetryPolicy {
        max_attempts: 100,
        backoff_strategy: None,
        initial_backoff_seconds: Some(0.2),
        jitter: None,
        retryable_categories: None,
    }
}

/// A load that runs until it is told to stop.
pub(crate) struct Load {
    makers: Clients,
    /// Agents and readers.
    others: Clients,
}

/// Clients that end together.
#[derive(Default)]
struct Clients {
    stopping: CancellationToken,
    running: JoinSet<()>,
}

impl Clients {
    /// Lets them finish what they have begun.
    async fn stop(&mut self) {
        self.stopping.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.expect("a client does not panic");
        }
    }
}

/// How much there is to do.
#[derive(Clone, Copy)]
pub(crate) struct Strength {
    /// Between two tasks of one of the two programs that make them.
    pub(crate) pause: Duration,
    /// Of a hundred tasks, how many run for a while, and how many are for agents without a worker. With none
    /// of these there is no second tenant either, and nobody dawdles.
    pub(crate) slow_percent: usize,
    pub(crate) agents_percent: usize,
}

impl Load {
    /// Starts the clients, each on a wire of its own.
    pub(crate) async fn start(
        cluster: &mut Cluster,
        recorder: &Recorder,
        dice: &Dice,
        strength: Strength,
    ) -> Self {
        let mut load = Self {
            makers: Clients::default(),
            others: Clients::default(),
        };
        let first = Tenant::first_of(&cluster.replicas[0]);
        let other = cluster.replicas[0].tenant().await;
        let place = place_for_runs(&first.client).await;
        let made = Made::default();
        let makers = [&first, &first, &other];
        let has_agents = strength.agents_percent > 0;
        let makers = &makers[..if has_agents { 3 } else { 2 }];
        for (number, tenant) in makers.iter().copied().enumerate() {
            let identity = tenant.client.get_identity().await.expect("an identity");
            let name = format!("maker-{number}");
            let scribe = recorder.client(&name, identity.tenant_id.uuid());
            let client = Client::new(&cluster.link().await, &tenant.key).expect("a key");
            let maker = Maker {
                client,
                scribe,
                name,
                pause: strength.pause * if number == 2 { 5 } else { 1 },
                strength,
                // The other tenant has no workers, only an agent.
                roles: if number == 2 {
                    &["alone"]
                } else {
                    &["quick", "flaky", "quick"]
                },
                made: made.clone(),
                place: (number == 0).then_some(place),
            };
            load.makers
                .running
                .spawn(maker.run(dice.fork(number as u64), load.makers.stopping.clone()));
        }
        let agents = if has_agents { makers } else { &[] };
        for (number, tenant) in agents.iter().copied().enumerate() {
            let name = format!("agent-{number}");
            let holder = Holder::register(tenant, &name).await;
            let identity = tenant.client.get_identity().await.expect("an identity");
            let client = Client::new(&cluster.link().await, &holder.key).expect("a key");
            let agent = Agent {
                scribe: recorder.client(&name, identity.tenant_id.uuid()),
                holder: Holder { client, ..holder },
                name,
            };
            load.others
                .running
                .spawn(agent.run(dice.fork(10 + number as u64), load.others.stopping.clone()));
        }
        for (number, tenant) in [&first, &other].into_iter().enumerate() {
            let identity = tenant.client.get_identity().await.expect("an identity");
            let scribe = recorder.client(&format!("reader-{number}"), identity.tenant_id.uuid());
            let client = Client::new(&cluster.link().await, &tenant.key).expect("a key");
            load.others
                .running
                .spawn(read(client, scribe, load.others.stopping.clone()));
        }
        load
    }

    /// Nothing more is made; what was made is still worked on.
    pub(crate) async fn stop_making(&mut self) {
        self.makers.stop().await;
    }

    /// Everybody finishes what they have begun.
    pub(crate) async fn stop(mut self) {
        self.makers.stop().await;
        self.others.stop().await;
    }
}

async fn place_for_runs(client: &Client) -> (PlaybookId, WorkspaceId) {
    let workspace = serde_json::from_value(json!({ "name": "Place", "slug": "place" }));
    let workspace = client
        .create_workspace(&workspace.expect("a body"))
        .await
        .expect("a workspace");
    let playbook = client
        .create_playbook(&playbook())
        .await
        .expect("it has no mistake");
    (playbook.id, workspace.id)
}

/// Tasks that may be depended on, or called off.
type Made = Arc<Mutex<Vec<TaskId>>>;

/// A program that makes tasks, and some runs.
struct Maker {
    client: Client,
    scribe: Scribe,
    name: String,
    pause: Duration,
    strength: Strength,
    roles: &'static [&'static str],
    made: Made,
    place: Option<(PlaybookId, WorkspaceId)>,
}

impl Maker {
    async fn run(self, mut dice: Dice, stopping: CancellationToken) {
        for number in 0_u64.. {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(self.pause) => {}
            }
            let request_id = format!("{}-{number}", self.name);
            if let Some(place) = self.place
                && number % 10 == 0
            {
                self.launch(place, format!("run-{request_id}")).await;
            }
            if let Some(task) = self.create(&mut dice, request_id.clone()).await
                && self.roles.len() > 1
            {
                if dice.percent(3) {
                    self.cancel(task, format!("cancel-{request_id}")).await;
                } else {
                    self.made
                        .lock()
                        .expect("no panic under the lock")
                        .push(task);
                }
            }
        }
    }

    fn task(&self, dice: &mut Dice, request_id: String) -> CreateTask {
        let role = match dice.below(100) {
            chance if chance < self.strength.agents_percent => "alone",
            chance
                if chance < self.strength.agents_percent + self.strength.slow_percent
                    && self.roles.len() > 1 =>
            {
                "slow"
            }
            _ => dice.pick(self.roles),
        };
        let mut task = CreateTask {
            role: Some(role.to_owned()),
            retry_policy: Some(retries()),
            max_abandons: Some(MAX_ABANDONS),
            ..new_task(role)
        };
        if self.roles.len() > 1 && dice.percent(10) {
            let made = self.made.lock().expect("no panic under the lock");
            if !made.is_empty() {
                task.depends_on.push(*dice.pick(&made));
            }
        }
        task.request_id = Some(request_id);
        task
    }

    async fn create(&self, dice: &mut Dice, request_id: String) -> Option<TaskId> {
        let task = self.task(dice, request_id.clone());
        let call = Call::Create { request_id };
        let made = repeat(
            &self.scribe,
            call,
            || self.client.create_task(&task),
            of_task,
        );
        Some(made.await?.id)
    }

    async fn launch(&self, (playbook, workspace): (PlaybookId, WorkspaceId), request_id: String) {
        let run: CreateWorkflow = serde_json::from_value(json!({
            "playbook_id": playbook, "workspace_id": workspace, "name": request_id, "request_id": request_id,
        }))
        .expect("a body");
        let call = Call::Launch { request_id };
        repeat(
            &self.scribe,
            call,
            || self.client.create_workflow(&run),
            |run| Answer {
                id: Some(run.workflow.id.uuid()),
                state: None,
                attempt: None,
                tenants: vec![run.workflow.tenant_id.uuid()],
            },
        )
        .await;
    }

    async fn cancel(&self, task: TaskId, request_id: String) {
        let cancel = CancelTask {
            request_id: Some(request_id.clone()),
            ..CancelTask::default()
        };
        let call = Call::Cancel {
            task: task.uuid(),
            request_id,
        };
        repeat(
            &self.scribe,
            call,
            || self.client.cancel_task(task, &cancel),
            of_task,
        )
        .await;
    }
}

fn of_task(task: &Task) -> Answer {
    Answer {
        id: Some(task.id.uuid()),
        state: Some(task.state.to_string()),
        attempt: None,
        tenants: vec![task.tenant_id.uuid()],
    }
}

/// Sends a request until it is answered or refused for good.
async fn repeat<T, F: Future<Output = Result<T, ClientError>>>(
    scribe: &Scribe,
    call: Call,
    send: impl Fn() -> F,
    read: impl Fn(&T) -> Answer,
) -> Option<T> {
    loop {
        match scribe.send(call.clone(), PATIENCE, send(), &read).await {
            Ok(answer) => return Some(answer),
            Err(failed) if failed.may_repeat => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(_) => return None,
        }
    }
}

/// An agent without a worker. It beats for nobody: a task that it dawdles over is lost, and it reports all
/// the same.
struct Agent {
    holder: Holder,
    scribe: Scribe,
    name: String,
}

impl Agent {
    async fn run(self, mut dice: Dice, stopping: CancellationToken) {
        for number in 0_u64.. {
            if stopping.is_cancelled() {
                return;
            }
            let request_id = format!("{}-{number}", self.name);
            let Some(task) = self.claim(request_id).await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let work = if dice.percent(8) {
                dice.millis(1_500, 5_000)
            } else {
                dice.millis(0, 50)
            };
            tokio::time::sleep(work).await;
            let end = match dice.below(10) {
                0 => End::Fail,
                1 => End::Release,
                _ => End::Complete,
            };
            self.report(&task, end).await;
        }
    }

    async fn claim(&self, request_id: String) -> Option<ClaimedTask> {
        let claim = ClaimTask {
            lease_seconds: Some(2),
            wait_seconds: Some(1),
            request_id: Some(request_id.clone()),
            ..self.holder.claim()
        };
        let call = Call::Claim {
            agent: self.holder.id.uuid(),
            request_id,
        };
        let claimed = repeat(
            &self.scribe,
            call,
            || self.holder.client.claim_task(&claim),
            |claimed| match claimed {
                Some(task) => Answer {
                    id: Some(task.id.uuid()),
                    state: None,
                    attempt: Some(task.attempt),
                    tenants: vec![task.tenant_id.uuid()],
                },
                None => Answer::default(),
            },
        );
        claimed.await?
    }

    async fn report(&self, task: &ClaimedTask, end: End) {
        let call = Call::Report {
            end,
            task: task.id.uuid(),
            attempt: task.attempt,
        };
        let (client, attempt) = (&self.holder.client, task.attempt);
        let send = || async move {
            match end {
                End::Complete => {
                    let report = completion(attempt, "done");
                    client.complete_task(task.id, &report).await
                }
                // The load's policies retry what is transient.
                End::Fail => {
                    let report = failure(attempt, "transient_error");
                    client.fail_task(task.id, &report).await
                }
                End::Release => client.release_task(task.id, &release(attempt)).await,
            }
        };
        repeat(&self.scribe, call, send, of_task).await;
    }
}

/// Reads lists of its tenant, again and again.
async fn read(client: Client, scribe: Scribe, stopping: CancellationToken) {
    let tenants = |tenants: Vec<TenantId>| Answer {
        tenants: tenants.into_iter().map(TenantId::uuid).collect(),
        ..Answer::default()
    };
    while !stopping.is_cancelled() {
        let call = |what: &str| Call::Read {
            what: what.to_owned(),
        };
        let listed = client.list_tasks(&[("per_page", "50")]);
        drop(
            scribe
                .send(call("tasks"), PATIENCE, listed, |page| {
                    tenants(page.data.iter().map(|task| task.tenant_id).collect())
                })
                .await,
        );
        let listed = client.list_events(&[]);
        drop(
            scribe
                .send(call("events"), PATIENCE, listed, |page| {
                    tenants(page.data.iter().map(|event| event.tenant_id).collect())
                })
                .await,
        );
        let listed = client.list_workflows(&[]);
        drop(
            scribe
                .send(call("workflows"), PATIENCE, listed, |page| {
                    tenants(page.data.iter().map(|run| run.tenant_id).collect())
                })
                .await,
        );
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
}

/// What the programs of the workers have written down.
pub(crate) fn runs_of_programs(text: &str, tenant: Uuid) -> Vec<crate::history::Op> {
    let read = |line: &str| {
        let (task, attempt) = line.split_once(' ')?;
        let call = Call::Run {
            task: task.parse().ok()?,
            attempt: attempt.trim().parse().ok()?,
        };
        Some(crate::history::Op {
            client: "program".to_owned(),
            tenant,
            call,
            end: None,
        })
    };
    text.lines().filter_map(read).collect()
}
