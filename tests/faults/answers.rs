//! Every answer is lost once, and the request is sent again, to the other replica: it had its effect once.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::json;
use sqlx::Row as _;
use stint_protocol::client::{Client, ClientError};
use stint_protocol::{ClaimTask, CreateTask, TaskId};
use stint_tests::holder::{Holder, completion, failure, release};
use stint_tests::new_task;
use stint_tests::processes::Tenant;

use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::proxy::Effect;
use crate::wanted::{Outcome, Wanted};

/// Clients that write at the same time.
const CLIENTS: usize = 16;

/// The writes, with a statement that counts what each of them has made, by its name.
const WRITES: &[(&str, &str)] = &[
    ("task", "select title as name, count(*) from tasks where title like 'task-%' group by 1"),
    ("dependant", "select title as name, count(*) from tasks where title like 'dependant-%' group by 1"),
    ("key", "select label as name, count(*) from api_keys where label like 'key-%' group by 1"),
    ("workspace", "select name, count(*) from workspaces where name like 'workspace-%' group by 1"),
    ("run", "select name, count(*) from workflows where name like 'run-%' group by 1"),
    ("worker", "select name, count(*) from workers where name like 'worker-%' group by 1"),
    ("agent", "select name, count(*) from agents where name like 'agent-%' group by 1"),
    (
        "cancel",
        "select t.title as name, count(*) from tasks t join events e on e.tenant_id = t.tenant_id and e.entity_id = t.id
         where t.title like 'cancel-%' and e.reason = 'cancel' group by 1",
    ),
    (
        "claim",
        "select t.title as name, count(*) from tasks t join events e on e.tenant_id = t.tenant_id and e.entity_id = t.id
         where t.title like 'claim-%' and e.reason = 'claim' group by 1",
    ),
    (
        "report",
        "select t.title as name, count(*) from tasks t join events e on e.tenant_id = t.tenant_id and e.entity_id = t.id
         where t.title like 'report-%' and e.reason in ('complete', 'fail', 'release') group by 1",
    ),
];

/// A client whose first answers are all lost, and its way to send the same again.
struct Writer {
    name: String,
    deaf: Client,
    whole: Client,
    tenant: Arc<Tenant>,
    holder: Holder,
    needed: TaskId,
    run: serde_json::Value,
}

impl Writer {
    /// Sends a request whose answer is lost, and once more.
    async fn twice<T>(
        &self,
        client: Option<&str>,
        send: impl AsyncFn(&Client) -> Result<T, ClientError>,
    ) -> T {
        let with_key = |client_: &Client| match client {
            Some(key) => client_.with_key(key).expect("a key"),
            None => client_.clone(),
        };
        let lost = send(&with_key(&self.deaf)).await;
        assert!(
            matches!(lost, Err(ClientError::Unreachable(_))),
            "the first answer was not lost"
        );
        match send(&with_key(&self.whole)).await {
            Ok(answer) => answer,
            Err(error) => panic!("{}: the repetition was refused: {error}", self.name),
        }
    }

    fn body<T: serde::de::DeserializeOwned>(body: serde_json::Value) -> T {
        serde_json::from_value(body).expect("a body")
    }

    async fn task(&self, name: &str, role: &str) -> TaskId {
        let task = CreateTask {
            role: Some(role.to_owned()),
            request_id: Some(format!("{name}-made")),
            ..new_task(name)
        };
        self.tenant
            .client
            .create_task(&task)
            .await
            .expect("a task")
            .id
    }

    async fn write(&self, kind: &str, name: &str, dice: &mut Dice) {
        let id = || format!("request-{name}");
        match kind {
            "task" | "dependant" => {
                let task = CreateTask {
                    role: Some("nobody".to_owned()),
                    request_id: Some(id()),
                    depends_on: if kind == "task" {
                        Vec::new()
                    } else {
                        vec![self.needed]
                    },
                    ..new_task(name)
                };
                self.twice(None, async |client| client.create_task(&task).await)
                    .await;
            }
            "key" => {
                let key =
                    Self::body(json!({ "scope": "admin", "label": name, "request_id": id() }));
                self.twice(None, async |client| client.create_key(&key).await)
                    .await;
            }
            "workspace" => {
                let workspace =
                    Self::body(json!({ "name": name, "slug": name, "request_id": id() }));
                self.twice(None, async |client| {
                    client.create_workspace(&workspace).await
                })
                .await;
            }
            "run" => {
                let mut run = self.run.clone();
                run["name"] = name.into();
                run["request_id"] = id().into();
                let run = Self::body(run);
                self.twice(None, async |client| client.create_workflow(&run).await)
                    .await;
            }
            "worker" => {
                let worker = Self::body(json!({ "name": name, "request_id": id() }));
                self.twice(None, async |client| client.register_worker(&worker).await)
                    .await;
            }
            "agent" => {
                let agent = Self::body(json!({ "name": name, "request_id": id() }));
                self.twice(None, async |client| client.register_agent(&agent).await)
                    .await;
            }
            "cancel" => {
                let task = self.task(name, "nobody").await;
                let cancel = Self::body(json!({ "request_id": id() }));
                self.twice(None, async |client| client.cancel_task(task, &cancel).await)
                    .await;
            }
            "claim" | "report" => self.hold(kind, name, dice).await,
            _ => unreachable!("every kind of write is listed"),
        }
    }

    /// Claims a task and ends its attempt; a claim has its request id, a report its attempt.
    async fn hold(&self, kind: &str, name: &str, dice: &mut Dice) {
        self.task(name, &self.name).await;
        let claim = ClaimTask {
            routing_tags: vec![format!("role:{}", self.name)],
            request_id: Some(format!("request-{name}")),
            lease_seconds: Some(600),
            wait_seconds: Some(5),
            ..self.holder.claim()
        };
        let key = Some(self.holder.key.as_str());
        let task = match kind {
            "claim" => {
                self.twice(key, async |client| client.claim_task(&claim).await)
                    .await
            }
            _ => self
                .holder
                .client
                .claim_task(&claim)
                .await
                .expect("a claim"),
        };
        let task = task.expect("its own task");
        assert_eq!(task.title, name, "the same task, not another one");
        let (id, attempt) = (task.id, task.attempt);
        if kind == "claim" {
            let done = completion(attempt, "done");
            self.holder
                .client
                .complete_task(id, &done)
                .await
                .expect("it holds the task");
            return;
        }
        let way = dice.below(3);
        self.twice(key, async |client| match way {
            0 => client.complete_task(id, &completion(attempt, "done")).await,
            1 => client.fail_task(id, &failure(attempt, "not_retried")).await,
            _ => client.release_task(id, &release(attempt)).await,
        })
        .await;
        if way == 2 {
            // Out of the way of the next claim.
            self.tenant
                .client
                .cancel_task(id, &Self::body(json!({})))
                .await
                .expect("it is ready");
        }
    }
}

async fn writer(
    cluster: &mut Cluster,
    tenant: &Arc<Tenant>,
    number: usize,
    run: &serde_json::Value,
) -> Writer {
    let name = format!("writer-{number}");
    let deaf = cluster.link().await;
    cluster
        .links
        .last()
        .expect("it was just made")
        .set(Effect::DropAnswer);
    let whole = cluster.replicas[(cluster.links.len()) % 2].url.clone();
    let client = |url: &str| Client::new(url, &tenant.key).expect("a key");
    Writer {
        deaf: client(&deaf),
        whole: client(&whole),
        holder: Holder::register(tenant, &name).await,
        needed: tenant.create("nobody").await,
        tenant: Arc::clone(tenant),
        run: run.clone(),
        name,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers() {
    let wanted = Wanted::read("lost_answers");
    let writes = wanted.either(10_000, 480) / CLIENTS;
    let mut cluster = Cluster::start(Dice::new(wanted.seed)).await;
    let tenant = Arc::new(Tenant::first_of(&cluster.replicas[0]));
    let workspace = Writer::body(json!({ "name": "Place", "slug": "place" }));
    let workspace = tenant
        .client
        .create_workspace(&workspace)
        .await
        .expect("a workspace")
        .id;
    let definition =
        json!({ "kind": "graph", "steps": { "one": { "kind": "task", "role": "nobody" } } });
    let playbook = Writer::body(
        json!({ "name": "One step", "outcome": "It is done", "definition": definition }),
    );
    let playbook = tenant
        .client
        .create_playbook(&playbook)
        .await
        .expect("it has no mistake")
        .id;
    let run = json!({ "playbook_id": playbook, "workspace_id": workspace });
    let mut writers = Vec::new();
    for number in 0..CLIENTS {
        writers.push(writer(&mut cluster, &tenant, number, &run).await);
    }
    let dice = Dice::new(wanted.seed);
    let write_all = writers.iter().enumerate().map(|(number, writer)| {
        let mut dice = dice.fork(number as u64);
        async move {
            let mut names = Vec::new();
            for count in 0..writes {
                let (kind, _) = dice.pick(WRITES);
                let name = format!("{kind}-{number}-{count}");
                writer.write(kind, &name, &mut dice).await;
                names.push(name);
            }
            names
        }
    });
    let names: Vec<String> = join_all(write_all).await.into_iter().flatten().collect();

    let mut db = cluster.connect().await.expect("the database answers");
    let mut made: BTreeMap<String, i64> = BTreeMap::new();
    for (_, count) in WRITES {
        let rows = sqlx::query(*count)
            .fetch_all(&mut db)
            .await
            .expect("effects can be counted");
        made.extend(rows.iter().map(|row| (row.get("name"), row.get("count"))));
    }
    let violations = names.iter().filter_map(|name| {
        let count = made.get(name).copied().unwrap_or(0);
        (count != 1).then(|| format!("{name} had {count} effects"))
    });
    Outcome {
        scenario: "lost_answers".to_owned(),
        seed: wanted.seed,
        faults: names.len(),
        operations: names.len() as u64 * 2,
        violations: violations.collect(),
        recovery_ratio: None,
        figures: json!({ "writes": names.len(), "kinds": WRITES.len() }),
    }
    .conclude();
}
