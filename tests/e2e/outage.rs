//! What survives when the platform itself dies, stops, or is away.

use std::time::{Duration, Instant};

use stint_protocol::{AgentHeartbeat, ClaimTask, HeartbeatLease, TaskState};
use stint_tests::json;

use crate::raw::Begun;
use stint_tests::holder::{Holder, completion};
use stint_tests::place::until;
use stint_tests::processes::{Stage, Tenant};

#[tokio::test]
async fn a_killed_platform_has_every_acknowledged_task_and_hears_of_every_result() {
    let stage = Stage::new();
    let mut platform = stage.platform().await;
    let tenant = Tenant::first_of(&platform);
    // One handler ends while the platform is down, and is told by a file when.
    let hold = r#"
        echo began > "$GATE/began"
        while [ -d "$GATE" ] && [ ! -e "$GATE/open" ]; do sleep 0.05; done
        echo '{"ended": "meanwhile"}' > "$STINT_OUTPUT_FILE"
        echo ended > "$GATE/ended"
    "#;
    let mut worker = stage
        .worker("worker", &tenant.url, &tenant.key)
        .with("capacity = 3")
        .handler("hold", hold)
        .handler("quick", r#"echo "{\"attempt\": $STINT_ATTEMPT}""#)
        .start();
    let held = tenant.create("hold").await;
    until("the handler has begun", async || {
        !stage.read("began").is_empty()
    })
    .await;
    let mut acknowledged = Vec::new();
    for _ in 0..30 {
        acknowledged.push(tenant.create("quick").await);
    }
    platform.kill9();
    stage.open("open");
    until("the handler has ended", async || {
        !stage.read("ended").is_empty()
    })
    .await;
    platform.restart().await;

    let task = tenant.completed(held).await;
    assert_eq!((task.attempt, task.abandon_count), (1, 0));
    assert_eq!(
        task.output.expect("an output").value()["ended"],
        "meanwhile"
    );
    for id in acknowledged {
        let task = tenant.completed(id).await;
        assert_eq!(task.abandon_count, 0);
        let output = task.output.expect("an output").value();
        assert_eq!(
            output["attempt"], task.attempt,
            "the output of the attempt that counts"
        );
    }
    assert!(worker.is_running());
}

#[tokio::test]
async fn an_outage_of_two_leases_takes_no_task_away() {
    let stage = Stage::new();
    let mut platform = stage.platform().await;
    let tenant = Tenant::first_of(&platform);
    let hold = r#"
        echo "$STINT_ATTEMPT" > "$GATE/began"
        while [ -d "$GATE" ] && [ ! -e "$GATE/open" ]; do sleep 0.05; done
        echo "{\"attempt\": $STINT_ATTEMPT}" > "$STINT_OUTPUT_FILE"
    "#;
    let _worker = stage
        .worker("worker", &tenant.url, &tenant.key)
        .with("lease_seconds = 10")
        .handler("hold", hold)
        .start();
    let of_worker = tenant.create("hold").await;
    let agent = Holder::register(&tenant, "alone").await;
    let of_agent = tenant.create("alone").await;
    let claimed = agent.client.claim_task(&agent.claim()).await;
    let claimed = claimed.expect("an answer").expect("a task");
    assert_eq!((claimed.id, claimed.lease_seconds), (of_agent, 10));
    until("the handler has begun", async || {
        !stage.read("began").is_empty()
    })
    .await;

    platform.terminate().await;
    let down_since = Instant::now();
    until("two leases have passed", async || {
        down_since.elapsed() > Duration::from_secs(21)
    })
    .await;
    platform.restart().await;
    // The loops have had their turns, and with them every chance to take the tasks away.
    until("leases are looked at", async || {
        let loops = tenant.client.list_loops().await.unwrap_or_default();
        let looked = loops.iter().find(|row| row.name == "expire_leases");
        looked.is_some_and(|row| row.runs >= 2)
    })
    .await;
    let beat = AgentHeartbeat {
        leases: Some(vec![HeartbeatLease {
            task_id: of_agent,
            attempt: 1,
            progress: None,
        }]),
        request_id: None,
    };
    let answer = agent.client.heartbeat_agent(agent.id, &beat).await;
    assert_eq!(answer.expect("an answer").lost, []);
    let completion = completion(1, "kept");
    let task = agent.client.complete_task(of_agent, &completion).await;
    assert_eq!(task.expect("it still holds").abandon_count, 0);

    stage.open("open");
    let task = tenant.completed(of_worker).await;
    assert_eq!((task.attempt, task.abandon_count), (1, 0));
}

#[tokio::test]
async fn a_platform_that_is_asked_to_stop_answers_what_waits_and_finishes_what_runs() {
    let stage = Stage::new();
    let mut platform = stage.platform().await;
    let tenant = Tenant::first_of(&platform);
    let agent = Holder::register(&tenant, "waiter").await;
    let waiting = ClaimTask {
        wait_seconds: Some(25),
        ..agent.claim()
    };
    let body = json(&waiting).text().to_owned();
    let mut waiting = Begun::post(&agent.client, &agent.key, "/api/v1/tasks/claim", body).await;
    waiting.send_body().await;
    let body = r#"{"title": "late", "type": "code", "role": "other"}"#.to_owned();
    let mut creating = Begun::post(&tenant.client, &tenant.key, "/api/v1/tasks", body).await;

    let asked_at = Instant::now();
    platform.ask_to_stop();
    let answer = waiting.answer().await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    assert!(
        asked_at.elapsed() < Duration::from_secs(15),
        "it was not left to its wait"
    );
    creating.send_body().await;
    let answer = creating.answer().await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let id = body["data"]["id"].as_str().expect("an id").parse();
    assert!(platform.stopped().await.success());

    platform.restart().await;
    assert!(tenant.is_in(id.expect("an id"), TaskState::Ready).await);
}
