//! Two platforms on one database.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use secrecy::ExposeSecret as _;
use stint_protocol::client::Client;
use stint_protocol::{ClaimTask, HostedAgent, RegisterWorker, RegisteredWorker};

use stint_tests::place::Place;
use stint_tests::processes::{PlatformProcess, Stage, Tenant};

/// 32 bytes in base64, the same for both.
const SEAL_KEY: &str = "c2l4dGVlbiBieXRlcyBhbmQgc2l4dGVlbiBieXRlcyE=";

async fn two(stage: &Stage, url: &str) -> (PlatformProcess, PlatformProcess) {
    let settings = [("DATABASE_URL", url), ("STINT_SEAL_KEY", SEAL_KEY)];
    tokio::join!(
        stage.replica("one", &settings),
        stage.replica("two", &settings)
    )
}

async fn register(tenant: &Tenant, role: &str, capacity: i32) -> RegisteredWorker {
    let worker = RegisterWorker {
        name: role.to_owned(),
        runtime_type: None,
        connection_mode: None,
        routing_tags: Vec::new(),
        capacity: Some(capacity),
        host_info: None,
        heartbeat_interval_seconds: None,
        protocol_version: Some(stint_protocol::PROTOCOL_VERSION),
        metadata: None,
        agents: vec![HostedAgent {
            name: role.to_owned(),
            routing_tags: Vec::new(),
            execution_mode: None,
            capacity: Some(capacity),
            metadata: None,
        }],
        request_id: None,
    };
    tenant
        .client
        .register_worker(&worker)
        .await
        .expect("a worker")
}

fn claim(worker: &RegisteredWorker, role: &str, wait_seconds: u32) -> ClaimTask {
    ClaimTask {
        agent_id: worker.agents[0].id,
        worker_id: None,
        routing_tags: vec![format!("role:{role}")],
        workflow_id: None,
        playbook_id: None,
        include_context: None,
        start: None,
        wait_seconds: Some(wait_seconds),
        lease_seconds: None,
        request_id: None,
    }
}

#[tokio::test]
async fn two_replicas_share_capacity_and_wake_each_others_claims() {
    let place = Place::new();
    let keeper = place.start().await;
    let stage = Stage::new();
    let (one, two) = two(&stage, keeper.url().expose_secret()).await;
    let tenant = Tenant::first_of(&one);

    let eager = register(&tenant, "eager", 8).await;
    for _ in 0..60 {
        tenant.create("eager").await;
    }
    let clients = [&one, &two]
        .map(|replica| Client::new(&replica.url, &eager.worker_api_key).expect("a key"));
    let claim_now = claim(&eager, "eager", 0);
    let claims = (0..40).map(|number| clients[number % 2].claim_task(&claim_now));
    let granted: Vec<_> = join_all(claims)
        .await
        .into_iter()
        .filter_map(|answer| answer.expect("an answer"))
        .map(|task| task.id)
        .collect();
    assert_eq!(granted.len(), 8, "the capacity, on both together");
    assert_eq!(granted.iter().collect::<BTreeSet<_>>().len(), 8);
    let holder = tenant.client.get_worker(eager.worker_id).await;
    assert_eq!(holder.expect("the worker").leases, 8);

    // Also without being woken a waiting claim looks again every two seconds: most rounds are faster.
    let patient = register(&tenant, "patient", 8).await;
    let elsewhere = Client::new(&two.url, &patient.worker_api_key).expect("a key");
    let claim_later = claim(&patient, "patient", 20);
    let mut quick_rounds = 0;
    for _ in 0..6 {
        let claimed = elsewhere.claim_task(&claim_later);
        let created = async {
            // Long enough for the claim to be waiting; if it is not, it finds the task at once.
            tokio::time::sleep(Duration::from_millis(200)).await;
            (tenant.create("patient").await, Instant::now())
        };
        let (claimed, (created, created_at)) = tokio::join!(claimed, created);
        assert_eq!(claimed.expect("an answer").expect("a task").id, created);
        quick_rounds += u32::from(created_at.elapsed() < Duration::from_millis(500));
    }
    assert!(
        quick_rounds >= 4,
        "only {quick_rounds} of 6 claims were woken"
    );
    drop((one, two));
    keeper.stop().await;
}
