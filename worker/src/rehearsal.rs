//! The whole worker against a platform of a few lines, for what needs both sides.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use stint_protocol::{ClaimedTask, JsonObject};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::lease::tests::claimed_task;
use crate::{Failure, Match, Shutdown, Summary, TaskRun, Worker, WorkerError};

/// Answers with a status and `data`, or with nothing at all.
type Answer = Option<(u16, Value)>;

/// A platform that has one task to give.
#[derive(Clone, Default)]
struct Stage {
    calls: Arc<Mutex<Vec<(String, Value)>>>,
    task: Arc<Mutex<Option<ClaimedTask>>>,
    /// How many claims lose their answer.
    claims_lost: usize,
    /// Calls, by name and number, over whose connections nothing is ever heard again.
    unanswered: &'static [(&'static str, usize)],
    /// Whether heartbeats tell of the lease that a first claim was granted.
    tells_of_lease: bool,
    /// Whether heartbeats call off what they list.
    cancels: bool,
    refuses_registration: bool,
    /// How often the call that ends the work is made before it does.
    more_calls: usize,
}

impl Stage {
    async fn open(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stage = self.clone();
        *stage.task.lock().unwrap() = Some(claimed_task());
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(stage.clone().serve(connection));
            }
        });
        url
    }

    async fn serve(self, connection: TcpStream) {
        let mut connection = BufReader::new(connection);
        let mut line = String::new();
        connection.read_line(&mut line).await.unwrap();
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut length = 0;
        while line.trim() != "" {
            line.clear();
            connection.read_line(&mut line).await.unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let Some((status, data)) = self.answer(&path, body).await else {
            return;
        };
        let meta = json!({"request_id": "r", "timestamp": "2026-01-31T12:00:00.000Z"});
        let content = match status {
            204 => String::new(),
            400.. => json!({"error": data, "meta": meta}).to_string(),
            _ => json!({"data": data, "meta": meta}).to_string(),
        };
        let length = content.len();
        let head =
            format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        // The worker may have gone away meanwhile, as a draining one does.
        drop(connection.write_all((head + &content).as_bytes()).await);
    }

    async fn answer(&self, path: &str, body: Value) -> Answer {
        let id = claimed_task().id;
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let earlier = self.calls(&name).len();
        self.calls
            .lock()
            .unwrap()
            .push((name.clone(), body.clone()));
        if self.unanswered.contains(&(name.as_str(), earlier)) {
            std::future::pending::<()>().await;
        }
        let ok = |data| Some((200, data));
        match name.as_str() {
            "register" if self.refuses_registration => Some((
                409,
                json!({"code": "CONFLICT", "message": "too old", "details": {"reason_code": "upgrade_required"}}),
            )),
            "register" => ok(json!({
                "worker_id": id, "worker_api_key": "st_worker_own_key", "protocol_version": 1,
                "agents": [{"id": id, "name": "a", "routing_tags": [], "api_key": "st_agent_own_key"}],
                "heartbeat_interval_seconds": 1,
            })),
            "heartbeat" => {
                let leases = body["leases"].as_array().cloned().unwrap_or_default();
                let is_told = self.tells_of_lease && earlier > 0;
                let given = self.task.lock().unwrap();
                let unlisted: Vec<Value> = given
                    .iter()
                    .filter(|_| is_told)
                    .map(|task| json!({"task_id": task.id, "attempt": task.attempt}))
                    .collect();
                let cancelled: Vec<Value> = leases.into_iter().filter(|_| self.cancels).collect();
                ok(json!({
                    "ack": true, "status": "online", "pending_signals": [], "lost": [],
                    "cancelled": cancelled, "unlisted": unlisted,
                }))
            }
            "claim" if earlier < self.claims_lost => None,
            "claim" => {
                let task = self.task.lock().unwrap().take();
                match task {
                    Some(task) => ok(serde_json::to_value(task).unwrap()),
                    None => {
                        tokio::time::sleep(Duration::from_secs(20)).await;
                        Some((204, Value::Null))
                    }
                }
            }
            "ingest" => ok(json!({"accepted": 1, "rejected": 0, "rejection_details": []})),
            _ => {
                let mut task = serde_json::to_value(claimed_task()).unwrap();
                let more = json!({
                    "state_changed_at": "2026-01-31T12:00:00.000Z", "available_actions": [],
                    "blocked_count": 0, "on_dependency_failure": "fail", "context": {},
                    "auto_retry": false, "max_retries": 0, "max_abandons": 3, "max_reworks": 10,
                    "requires_approval": false,
                    "updated_at": "2026-01-31T12:00:00.000Z",
                });
                let more = more.as_object().unwrap().clone();
                task.as_object_mut().unwrap().extend(more);
                ok(task)
            }
        }
    }

    fn calls(&self, name: &str) -> Vec<Value> {
        let calls = self.calls.lock().unwrap();
        let named = calls.iter().filter(|(called, _)| called == name);
        named.map(|(_, body)| body.clone()).collect()
    }

    /// Works until `end` has been called, or the worker ends by itself.
    async fn work<F, E>(&self, handler: F, end: &str) -> Result<Summary, WorkerError>
    where
        F: Fn(TaskRun) -> E + Send + Sync + 'static,
        E: Future<Output = Result<&'static str, Failure>> + Send + 'static,
    {
        let shutdown = Shutdown::new();
        let worker = Worker::builder(self.open().await, "st_worker_configured")
            .handler(Match::NoRole, handler)
            .drain_grace(Duration::ZERO)
            .build()?;
        let end_is_seen = async {
            while self.calls(end).len() <= self.more_calls {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            shutdown.drain();
            std::future::pending::<()>().await;
        };
        let played = async {
            tokio::select! {
                summary = worker.run(shutdown.clone()) => summary,
                () = end_is_seen => unreachable!("it waits for ever"),
            }
        };
        // Less than what a claim may wait.
        timeout(Duration::from_secs(19), played)
            .await
            .expect("the worker must end")
    }
}

#[tokio::test]
async fn a_task_is_claimed_run_logged_and_completed() {
    let stage = Stage::default();
    let summary = stage
        .work(
            async |run: TaskRun| {
                run.log("one\ntwo");
                Ok("done")
            },
            "complete",
        )
        .await
        .unwrap();
    assert_eq!((summary.claimed, summary.completed), (1, 1));
    let completion = &stage.calls("complete")[0];
    assert_eq!(
        (&completion["output"], &completion["attempt"]),
        (&json!("done"), &json!(1))
    );
    let entries = &stage.calls("ingest")[0]["entries"];
    assert_eq!(
        entries[1]["payload"],
        json!({"stream": "stdout", "line": "two", "seq": 2})
    );
    assert_eq!(
        (&entries[0]["seq"], &entries[1]["seq"]),
        (&json!(1), &json!(2))
    );
    let calls = stage.calls.lock().unwrap();
    let position = |name: &str| calls.iter().position(|(called, _)| called == name);
    assert!(
        position("ingest") < position("complete"),
        "the log comes before the end"
    );
    assert_eq!(calls.last().unwrap().1["status"], "offline");
}

/// The task is completed, and was claimed under one request id, however often it was asked for.
async fn is_claimed_once(stage: Stage, claims: usize) {
    let summary = stage
        .work(async |_run: TaskRun| Ok("done"), "complete")
        .await
        .unwrap();
    assert_eq!((summary.claimed, summary.completed), (1, 1));
    let sent = stage.calls("claim");
    assert!(sent.len() >= claims);
    for claim in &sent[..claims] {
        assert_eq!(claim["request_id"], sent[0]["request_id"]);
    }
    let released = stage.calls("release");
    assert!(released.is_empty(), "it may not be handed back");
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_repeated_under_its_id() {
    let stage = Stage {
        claims_lost: 2,
        ..Stage::default()
    };
    is_claimed_once(stage, 3).await;
}

#[tokio::test]
async fn a_claim_on_a_silent_wire_is_repeated_when_a_heartbeat_finds_it_silent() {
    let stage = Stage {
        unanswered: &[("claim", 0), ("heartbeat", 1)],
        ..Stage::default()
    };
    is_claimed_once(stage, 2).await;
}

#[tokio::test]
async fn a_claim_is_repeated_when_its_lease_is_told_and_its_answer_is_not() {
    let stage = Stage {
        unanswered: &[("claim", 0)],
        tells_of_lease: true,
        ..Stage::default()
    };
    is_claimed_once(stage, 2).await;
}

#[tokio::test]
async fn a_lease_that_no_claim_explains_has_claims_repeated_once() {
    let stage = Stage {
        unanswered: &[("claim", 0), ("claim", 1)],
        tells_of_lease: true,
        more_calls: 5,
        ..Stage::default()
    };
    let summary = stage
        .work(async |_run: TaskRun| Ok("done"), "heartbeat")
        .await
        .unwrap();
    assert_eq!(summary.claimed, 0);
    assert_eq!(stage.calls("claim").len(), 2);
}

#[tokio::test]
async fn a_cancelled_attempt_is_stopped_and_not_reported() {
    let stage = Stage {
        cancels: true,
        ..Stage::default()
    };
    let heard = Arc::new(tokio::sync::Notify::new());
    let hears = Arc::clone(&heard);
    let marked = stage.clone();
    let handler = move |run: TaskRun| {
        let (hears, marked) = (Arc::clone(&hears), marked.clone());
        async move {
            run.stopped().await;
            hears.notify_one();
            marked
                .calls
                .lock()
                .unwrap()
                .push(("stopped".to_owned(), Value::Null));
            Err(Failure::new("stopped"))
        }
    };
    let summary = stage.work(handler, "stopped").await.unwrap();
    heard.notified().await;
    assert_eq!((summary.claimed, summary.lost), (1, 1));
    assert!(stage.calls("fail").is_empty() && stage.calls("release").is_empty());
}

#[tokio::test]
async fn draining_hands_back_what_runs_with_its_progress() {
    let stage = Stage::default();
    let handler = async |run: TaskRun| {
        run.set_progress(JsonObject::from_text(r#"{"step":3}"#.to_owned())?)?;
        run.log("begun");
        run.stopped().await;
        Err(Failure::new("stopped"))
    };
    let summary = stage.work(handler, "ingest").await.unwrap();
    assert_eq!(summary.released, 1);
    let release = &stage.calls("release")[0];
    assert_eq!(
        (&release["reason"], &release["progress"]),
        (&json!("drain"), &json!({"step": 3}))
    );
}

#[tokio::test]
async fn an_old_worker_is_told_to_upgrade() {
    let stage = Stage {
        refuses_registration: true,
        ..Stage::default()
    };
    let ended = stage.work(async |_run: TaskRun| Ok("done"), "never").await;
    let error = ended.expect_err("it must not work").to_string();
    assert!(error.contains("upgrade_required"), "{error}");
}
