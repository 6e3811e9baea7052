//! Registration, and what the parts of a registered worker have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stint_protocol::client::{Client, ClientError};
use stint_protocol::{
    AgentId, HostedAgent, JsonObject, PROTOCOL_VERSION, RegisterWorker, RegisteredWorker, WorkerId,
};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::claim::ClaimsInFlight;
use crate::handler::Handlers;
use crate::lease::Leases;
use crate::mask::Mask;
use crate::report::{Delivery, Reporter};
use crate::worker::{Summary, Worker, WorkerError};

/// A worker that has registered.
pub(crate) struct Registered {
    pub(crate) worker_id: WorkerId,
    pub(crate) agent_id: AgentId,
    /// Presents the worker's own key.
    pub(crate) client: Client,
    pub(crate) reporter: Reporter,
    pub(crate) handlers: Handlers,
    pub(crate) routing_tags: Vec<String>,
    pub(crate) lease_seconds: Option<i32>,
    pub(crate) heartbeat: Duration,
    pub(crate) leases: Leases,
    pub(crate) mask: Mask,
    /// True once a heartbeat was answered: what an earlier process left behind is known by then.
    pub(crate) was_heard: CancellationToken,
    /// Wakes the heartbeat before its time.
    pub(crate) beat_soon: Notify,
    /// No claim is made once this is true.
    pub(crate) draining: CancellationToken,
    pub(crate) claims: ClaimsInFlight,
    /// Every attempt, from its claim to its report.
    pub(crate) attempts: TaskTracker,
    /// Ends attempts that could not be reported in time.
    pub(crate) abandon: CancellationToken,
    pub(crate) tally: Tally,
}

/// Counts what was done.
#[derive(Default)]
pub(crate) struct Tally {
    claimed: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
    released: AtomicU64,
    lost: AtomicU64,
}

impl Tally {
    pub(crate) fn count_claim(&self) {
        self.claimed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an attempt that is over; nothing means that nothing was reported.
    pub(crate) fn count(&self, delivery: Option<Delivery>) {
        let counter = match delivery {
            Some(Delivery::Completed) => &self.completed,
            Some(Delivery::Failed) => &self.failed,
            Some(Delivery::Released) => &self.released,
            Some(Delivery::Refused) | None => &self.lost,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary {
            claimed: self.claimed.load(Ordering::Relaxed),
            completed: self.completed.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            released: self.released.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }
}

/// Registers, for as long as it takes. The configured key is used for nothing else.
pub(crate) async fn register(worker: &Worker) -> Result<Arc<Registered>, WorkerError> {
    let request = registration(worker);
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
    let registered = loop {
        match worker.client.register_worker(&request).await {
            Ok(registered) => break registered,
            Err(error) if error.is_safe_to_repeat() || error.status() == Some(500) => {
                let pause = backoff.next(error.retry_after());
                warn!(%error, "not registered yet, trying again in {pause:.1?}");
                sleep(pause).await;
            }
            Err(error) => return Err(WorkerError::Registration(error)),
        }
    };
    info!(
        worker.id = %registered.worker_id, worker.name = worker.name, capacity = worker.capacity,
        "registered"
    );
    assemble(worker, &registered)
}

fn registration(worker: &Worker) -> RegisterWorker {
    let routing_tags = worker.handlers.routing_tags();
    let host = serde_json::json!({
        "os": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "pid": std::process::id(),
    });
    let host = JsonObject::from_text(host.to_string()).expect("made of an object");
    let build =
        serde_json::json!({"program": "stint-worker", "version": env!("CARGO_PKG_VERSION")});
    let build = JsonObject::from_text(build.to_string()).expect("made of an object");
    RegisterWorker {
        name: worker.name.clone(),
        runtime_type: None,
        connection_mode: None,
        routing_tags: routing_tags.clone(),
        capacity: Some(worker.capacity),
        host_info: Some(host),
        heartbeat_interval_seconds: i32::try_from(worker.heartbeat.as_secs()).ok(),
        protocol_version: Some(PROTOCOL_VERSION),
        metadata: Some(build),
        agents: vec![HostedAgent {
            name: worker.name.clone(),
            routing_tags,
            execution_mode: worker.handlers.execution_mode(),
            capacity: Some(worker.capacity),
            metadata: None,
        }],
        // One id for all tries, so that a lost answer does not register twice.
        request_id: Some(format!("register-{}", Uuid::now_v7())),
    }
}

fn assemble(
    worker: &Worker,
    registered: &RegisteredWorker,
) -> Result<Arc<Registered>, WorkerError> {
    let contract_broken = |message: &str| {
        WorkerError::Registration(ClientError::Unexpected {
            status: 201,
            message: message.to_owned(),
        })
    };
    let agent = registered
        .agents
        .first()
        .ok_or_else(|| contract_broken("no agent was registered with the worker"))?;
    for key in [&registered.worker_api_key, &agent.api_key] {
        worker
            .mask
            .add(key)
            .map_err(|_| contract_broken("the worker was given a key that is no key"))?;
    }
    let client = worker
        .client
        .with_key(&registered.worker_api_key)
        .map_err(WorkerError::Registration)?;
    let seconds = u64::try_from(registered.heartbeat_interval_seconds).unwrap_or(0);
    Ok(Arc::new(Registered {
        worker_id: registered.worker_id,
        agent_id: agent.id,
        reporter: Reporter {
            client: client.clone(),
            agent_id: agent.id,
            mask: worker.mask.clone(),
        },
        client,
        handlers: worker.handlers.clone(),
        routing_tags: worker.handlers.routing_tags(),
        lease_seconds: worker.lease_seconds,
        heartbeat: Duration::from_secs(seconds.max(1)),
        leases: Leases::default(),
        mask: worker.mask.clone(),
        was_heard: CancellationToken::new(),
        beat_soon: Notify::new(),
        draining: CancellationToken::new(),
        claims: ClaimsInFlight::default(),
        attempts: TaskTracker::new(),
        abandon: CancellationToken::new(),
        tally: Tally::default(),
    }))
}
