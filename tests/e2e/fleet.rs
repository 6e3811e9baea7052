//! Workers at work, and what becomes of their tasks when they die, sleep, drain or are replaced.

use stint_protocol::client::Client;
use stint_protocol::{CancelTask, DeliveryState, ReasonCode, SendMessage, TaskId, TaskState};
use stint_tests::json;

use stint_tests::holder::{Holder, completion};
use stint_tests::place::until;
use stint_tests::processes::{Stage, Tenant, WorkerProcess, is_alive};

/// Notes that it began, waits for the file "open", and tells who it was.
const HOLD: &str = r#"
echo "$STINT_ATTEMPT" >> "$GATE/began-$STINT_WORKER_NAME"
echo "$$" > "$GATE/pid-$STINT_WORKER_NAME"
while [ -d "$GATE" ] && [ ! -e "$GATE/open" ]; do sleep 0.05; done
echo "{\"by\": \"$STINT_WORKER_NAME\", \"attempt\": $STINT_ATTEMPT}" > "$STINT_OUTPUT_FILE"
"#;

/// Tells who it was, at once.
const QUICK: &str = r#"echo "{\"by\": \"$STINT_WORKER_NAME\", \"attempt\": $STINT_ATTEMPT}""#;

fn worker(stage: &Stage, tenant: &Tenant, name: &str) -> WorkerProcess {
    stage
        .worker(name, &tenant.url, &tenant.key)
        .with("lease_seconds = 10")
}

/// Waits until a worker's handler has begun an attempt.
async fn began(stage: &Stage, name: &str) {
    until(&format!("a handler of {name} has begun"), async || {
        !stage.read(&format!("pid-{name}")).is_empty()
    })
    .await;
}

/// The lines a task has printed, with their numbers.
async fn lines(tenant: &Tenant, task: TaskId) -> Vec<(i64, String)> {
    let task = task.to_string();
    let filters = [
        ("task_id", task.as_str()),
        ("order", "asc"),
        ("per_page", "500"),
    ];
    let entries = tenant.client.list_logs(&filters).await.expect("the log");
    entries
        .data
        .iter()
        .filter(|entry| entry.operation == "command.output")
        .map(|entry| {
            let payload = entry.payload.as_ref().expect("a payload").members();
            let line = payload["line"].as_str().expect("text").to_owned();
            (entry.seq.expect("a number"), line)
        })
        .collect()
}

#[tokio::test]
async fn two_workers_do_fifty_tasks_once_each_and_every_line_arrives_in_order() {
    let stage = Stage::new();
    let platform = stage.shared_platform().await;
    let tenant = platform.tenant().await;
    let script = r#"
        for n in 1 2 3 4 5 6 7 8 9 10; do echo "line $n of $STINT_TASK_ID"; done
        echo "{\"by\": \"$STINT_WORKER_NAME\"}" > "$STINT_OUTPUT_FILE"
    "#;
    let _workers = ["one", "two"].map(|name| {
        worker(&stage, &tenant, name)
            .with("capacity = 4")
            .handler("count", script)
            .start()
    });
    let mut tasks = Vec::new();
    for _ in 0..50 {
        tasks.push(tenant.create("count").await);
    }
    for id in tasks {
        let task = tenant.completed(id).await;
        assert_eq!((task.attempt, task.abandon_count), (1, 0));
        let expected: Vec<_> = (1..=10).map(|n| (n, format!("line {n} of {id}"))).collect();
        assert_eq!(lines(&tenant, id).await, expected);
    }
}

#[tokio::test]
async fn a_killed_workers_task_is_finished_by_another_one() {
    let stage = Stage::new();
    let platform = stage.shared_platform().await;
    let tenant = platform.tenant().await;
    let mut first = worker(&stage, &tenant, "first")
        .handler("hold", HOLD)
        .start();
    let id = tenant.create("hold").await;
    began(&stage, "first").await;
    first.kill9();
    let _second = worker(&stage, &tenant, "second")
        .handler("hold", QUICK)
        .start();
    let task = tenant.completed(id).await;
    assert_eq!(
        (task.attempt, task.abandon_count, task.retry_count),
        (2, 1, 0)
    );
    let output = task.output.expect("an output").value();
    assert_eq!(output["by"], "second");
}

#[tokio::test]
async fn a_sleeping_worker_loses_its_task_and_its_late_result_changes_nothing() {
    let stage = Stage::new();
    let platform = stage.shared_platform().await;
    let tenant = platform.tenant().await;
    // The one handler ends while its worker sleeps, the other would go on for ever.
    let mut sleeper = worker(&stage, &tenant, "sleeper")
        .with("capacity = 2")
        .handler("hold", HOLD)
        .handler(
            "endless",
            &HOLD.replace("/open", "/never").replace("pid-", "endless-"),
        )
        .start();
    let (late, endless) = (tenant.create("hold").await, tenant.create("endless").await);
    began(&stage, "sleeper").await;
    until("both have begun", async || {
        !stage.read("endless-sleeper").is_empty()
    })
    .await;
    sleeper.pause();
    let _other = worker(&stage, &tenant, "other")
        .with("capacity = 2")
        .handler("hold", QUICK)
        .handler("endless", QUICK)
        .start();
    for id in [late, endless] {
        tenant.completed(id).await;
    }
    stage.open("open");
    let process = stage.read("pid-sleeper");
    until("the late handler has ended", async || !is_alive(&process)).await;
    sleeper.resume();

    let process = stage.read("endless-sleeper");
    until("the command of the lost attempt was stopped", async || {
        !is_alive(&process)
    })
    .await;
    until("the sleeper has come to terms with it", async || {
        let log = sleeper.log();
        log.contains("refused") || log.contains("stopped, nothing to report")
    })
    .await;
    sleeper.ask_to_stop();
    assert!(sleeper.ended().await.success());
    for id in [late, endless] {
        let task = tenant.task(id).await;
        assert_eq!((task.attempt, task.abandon_count), (2, 1));
        assert_eq!(task.output.expect("an output").value()["by"], "other");
        let moves = tenant.moves(id).await;
        assert_eq!(
            moves.iter().filter(|reason| *reason == "complete").count(),
            1,
            "{moves:?}"
        );
    }
}

#[tokio::test]
async fn a_drained_worker_finishes_what_it_has_and_takes_nothing_new() {
    let stage = Stage::new();
    let platform = stage.shared_platform().await;
    let tenant = platform.tenant().await;
    let mut drained = worker(&stage, &tenant, "drained")
        .handler("hold", HOLD)
        .start();
    let running = tenant.create("hold").await;
    began(&stage, "drained").await;
    let waiting = tenant.create("hold").await;
    drained.ask_to_stop();
    drained.says("claiming nothing new").await;
    stage.open("open");
    assert!(drained.ended().await.success());
    let task = tenant.task(running).await;
    assert_eq!((task.state, task.attempt), (TaskState::Completed, 1));
    let task = tenant.task(waiting).await;
    assert_eq!((task.state, task.attempt), (TaskState::Ready, 0));
}

#[tokio::test]
async fn a_drained_worker_hands_back_what_does_not_end_in_time() {
    let stage = Stage::new();
    let platform = stage.shared_platform().await;
    let tenant = platform.tenant().await;
    let mut drained = worker(&stage, &tenant, "drained")
        .with("drain_grace_seconds = 1")
        .handler("hold", HOLD)
        .start();
    let id = tenant.create("hold").await;
    began(&stage, "drained").await;
    drained.ask_to_stop();
    assert!(drained.ended().await.success());
    assert!(
        !is_alive(&stage.read("pid-drained")),
        "its command is stopped"
    );
    let task = tenant.task(id).await;
    assert_eq!((task.state, task.abandon_count), (TaskState::Ready, 0));
    let filters = id.to_string();
    let events = tenant
        .client
        .list_events(&[("entity_id", filters.as_str())])
        .await;
    let events = events.expect("the events").data;
    let last = events.last().expect("an event").data.members();
    assert_eq!(
        (&last["reason"], &last["release_reason"]),
        (&"release".into(), &"drain".into())
    );

    let _next = worker(&stage, &tenant, "next")
        .handler("hold", QUICK)
        .start();
    let task = tenant.completed(id).await;
    assert_eq!((task.attempt, task.abandon_count), (2, 0));
}

#[tokio::test]
async fn a_cancelled_task_stops_with_its_whole_process_group() {
    let stage = Stage::new();
    let platform = stage.shared_platform().await;
    let tenant = platform.tenant().await;
    // A child that does not heed TERM, and a parent that does nothing about it.
    let script = r#"
        (trap '' TERM; while [ -d "$GATE" ]; do sleep 0.05; done) &
        echo $! > "$GATE/child"
        echo $$ > "$GATE/leader"
        while [ -d "$GATE" ]; do sleep 0.05; done
    "#;
    let mut worker = worker(&stage, &tenant, "worker")
        .handler("group", script)
        .handler("next", QUICK)
        .start();
    let id = tenant.create("group").await;
    until("the group runs", async || !stage.read("leader").is_empty()).await;
    let (leader, child) = (stage.read("leader"), stage.read("child"));
    assert!(is_alive(&leader) && is_alive(&child));
    let cancel = CancelTask::default();
    let task = tenant
        .client
        .cancel_task(id, &cancel)
        .await
        .expect("it runs");
    assert_eq!(task.state, TaskState::Cancelled);
    until("the group has ended", async || {
        !is_alive(&leader) && !is_alive(&child)
    })
    .await;
    assert!(worker.is_running());
    let next = tenant.create("next").await;
    tenant.completed(next).await;
    assert!(tenant.is_in(id, TaskState::Cancelled).await);
}

#[tokio::test]
async fn an_agent_started_again_takes_its_task_over_from_its_older_process() {
    let stage = Stage::new();
    let platform = stage.shared_platform().await;
    let tenant = platform.tenant().await;
    let id = tenant.create("alone").await;
    let agent = Holder::register(&tenant, "agent").await;
    for attempt in 1..=2 {
        // The second one is asked for by a new process, which knows nothing of the first.
        let process = Client::new(&tenant.url, &agent.key).expect("a key");
        let claimed = process.claim_task(&agent.claim()).await.expect("an answer");
        let claimed = claimed.expect("a task");
        assert_eq!((claimed.id, claimed.attempt), (id, attempt));
        assert_eq!(claimed.abandon_count, 0);
    }
    let late = agent
        .client
        .complete_task(id, &completion(1, "older"))
        .await;
    let refusal = late.expect_err("the older process is stale");
    assert_eq!(refusal.reason(), Some(ReasonCode::LeaseLost), "{refusal}");
    let task = agent
        .client
        .complete_task(id, &completion(2, "newer"))
        .await;
    assert_eq!(task.expect("it holds the task").output, Some(json("newer")));
}

#[tokio::test]
async fn a_worker_started_again_under_its_name_finishes_what_it_left_behind() {
    let stage = Stage::new();
    let platform = stage.shared_platform().await;
    let tenant = platform.tenant().await;
    let mut older = worker(&stage, &tenant, "same")
        .handler("hold", HOLD)
        .start();
    let id = tenant.create("hold").await;
    began(&stage, "same").await;
    older.kill9();
    let mut newer = worker(&stage, &tenant, "same")
        .handler("hold", QUICK)
        .start();
    let task = tenant.completed(id).await;
    assert_eq!(task.attempt, 2);
    assert_eq!(task.output.expect("an output").value()["attempt"], 2);
    assert!(newer.is_running());
}

#[tokio::test]
async fn a_program_finds_what_is_said_to_its_attempt_in_a_file() {
    let stage = Stage::new();
    let platform = stage.shared_platform().await;
    let tenant = platform.tenant().await;
    let listen = r#"
echo "$$" > "$GATE/pid-$STINT_WORKER_NAME"
while [ -d "$GATE" ] && [ ! -e "$GATE/open" ]; do sleep 0.05; done
head -n 1 "$STINT_MESSAGES_FILE"
"#;
    let _listener = worker(&stage, &tenant, "listener")
        .handler("listen", listen)
        .start();
    let task = tenant.create("listen").await;
    began(&stage, "listener").await;
    let words = SendMessage {
        message: "use the red ones".to_owned(),
        ..SendMessage::default()
    };
    let sent = tenant.client.send_message(task, &words).await;
    let sent = sent.expect("the message is taken");
    until("the attempt has received it", async || {
        let listed = tenant.client.list_messages(task).await.expect("a list");
        listed[0].delivery_state == DeliveryState::Delivered
    })
    .await;
    stage.open("open");
    let done = tenant.completed(task).await;
    let output = done.output.expect("it printed the message").value();
    assert_eq!(output["message"], "use the red ones");
    assert_eq!(output["id"], sent.id.to_string());
}
