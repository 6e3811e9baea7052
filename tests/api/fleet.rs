//! Workers and agents: how they register, beat, are signalled, fall silent and are deleted.

use stint_protocol::{
    ErrorCode, HeartbeatLease, ReasonCode, RegisterWorker, SignalType, SignalWorker,
    WorkerHeartbeat, WorkerStatus,
};
use stint_tests::{TestWorker, refused, refused_because, test};

fn beat(leases: &[(stint_protocol::TaskId, i32)]) -> WorkerHeartbeat {
    WorkerHeartbeat {
        leases: Some(
            leases
                .iter()
                .map(|(task_id, attempt)| HeartbeatLease {
                    task_id: *task_id,
                    attempt: *attempt,
                    progress: None,
                })
                .collect(),
        ),
        ..WorkerHeartbeat::default()
    }
}

async fn status(worker: &TestWorker, t: &stint_tests::TestPlatform) -> WorkerStatus {
    t.admin()
        .get_worker(worker.worker_id)
        .await
        .expect("it is accepted")
        .status
}

#[test]
fn a_worker_registers_with_its_agents() {
    test(async |t| {
        let worker = t.worker("w1").capacity(3).tags(&["role:painter"]).await;
        let read = t.admin().get_worker(worker.worker_id).await.unwrap();
        assert_eq!(
            (read.name.as_str(), read.capacity, read.leases),
            ("w1", 3, 0)
        );
        assert_eq!(read.routing_tags, ["role:painter"]);
        let id = worker.worker_id.to_string();
        let agents = t.admin().list_agents(&[("worker_id", &id)]).await.unwrap();
        assert_eq!(agents.data.len(), 1);
        assert_eq!(agents.data[0].id, worker.agent_id);
        assert_eq!(
            worker.agent.get_agent(worker.agent_id).await.unwrap().name,
            "w1"
        );
    });
}

#[test]
fn a_worker_of_an_older_protocol_must_upgrade() {
    test(async |t| {
        let old = RegisterWorker {
            name: "old".to_owned(),
            runtime_type: None,
            connection_mode: None,
            routing_tags: vec![],
            capacity: None,
            host_info: None,
            heartbeat_interval_seconds: None,
            protocol_version: Some(0),
            metadata: None,
            agents: vec![],
            request_id: None,
        };
        refused_because(
            t.admin().register_worker(&old).await,
            ReasonCode::UpgradeRequired,
        );
        assert_eq!(t.admin().list_workers(&[]).await.unwrap().meta.total, 0);
    });
}

#[test]
fn a_heartbeat_tells_what_was_lost_and_what_is_not_listed() {
    test(async |t| {
        let worker = t.worker("w1").capacity(3).await;
        t.create("one").await;
        t.create("two").await;
        let (one, two) = (worker.begin().await, worker.begin().await);
        let answer = worker
            .worker
            .heartbeat_worker(worker.worker_id, &beat(&[(one.id, one.attempt)]))
            .await
            .unwrap();
        assert!(answer.ack && answer.lost.is_empty() && answer.cancelled.is_empty());
        assert_eq!(answer.unlisted.len(), 1);
        assert_eq!(answer.unlisted[0].task_id, two.id);
        t.lose_lease(one.id).await;
        let both = [(one.id, one.attempt), (two.id, two.attempt)];
        let answer = worker
            .worker
            .heartbeat_worker(worker.worker_id, &beat(&both))
            .await
            .unwrap();
        assert_eq!(answer.lost.len(), 1);
        assert_eq!(answer.lost[0].task_id, one.id);
        assert!(answer.unlisted.is_empty());
    });
}

#[test]
fn a_heartbeat_tells_what_was_cancelled() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("one").await;
        let held = worker.begin().await;
        t.admin()
            .cancel_task(task.id, &Default::default())
            .await
            .unwrap();
        let answer = worker
            .worker
            .heartbeat_worker(worker.worker_id, &beat(&[(held.id, held.attempt)]))
            .await
            .unwrap();
        assert_eq!(answer.cancelled.len(), 1);
        assert_eq!(answer.cancelled[0].task_id, task.id);
        assert!(answer.lost.is_empty());
    });
}

#[test]
fn a_signal_is_told_until_it_is_acknowledged() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let signal = SignalWorker {
            signal_type: SignalType::ConfigUpdate,
            task_id: None,
            data: None,
            request_id: None,
        };
        let sent = t
            .admin()
            .signal_worker(worker.worker_id, &signal)
            .await
            .unwrap();
        for _ in 0..2 {
            let answer = worker
                .worker
                .heartbeat_worker(worker.worker_id, &beat(&[]))
                .await
                .unwrap();
            assert_eq!(answer.pending_signals.len(), 1);
            assert_eq!(answer.pending_signals[0].id, sent.signal_id);
        }
        let other = t.worker("w2").await;
        refused_because(
            other
                .worker
                .acknowledge_signal(worker.worker_id, sent.signal_id)
                .await,
            ReasonCode::OtherIdentity,
        );
        worker
            .worker
            .acknowledge_signal(worker.worker_id, sent.signal_id)
            .await
            .unwrap();
        let answer = worker
            .worker
            .heartbeat_worker(worker.worker_id, &beat(&[]))
            .await
            .unwrap();
        assert!(answer.pending_signals.is_empty());
    });
}

#[test]
fn a_worker_beats_for_itself_alone() {
    test(async |t| {
        let (one, two) = (t.worker("w1").await, t.worker("w2").await);
        refused_because(
            one.worker.heartbeat_worker(two.worker_id, &beat(&[])).await,
            ReasonCode::OtherIdentity,
        );
    });
}

#[test]
fn a_silent_worker_is_shown_as_such_and_comes_back_with_its_beat() {
    test(async |t| {
        let worker = t.worker("w1").await;
        assert_eq!(status(&worker, t).await, WorkerStatus::Online);
        t.age_holders(100_000.0).await;
        let silent = status(&worker, t).await;
        assert!(
            matches!(silent, WorkerStatus::Offline | WorkerStatus::Disconnected),
            "{silent}"
        );
        worker
            .worker
            .heartbeat_worker(worker.worker_id, &beat(&[]))
            .await
            .unwrap();
        assert_eq!(status(&worker, t).await, WorkerStatus::Online);
    });
}

#[test]
fn a_draining_worker_stays_so_while_it_beats() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let drained = t.admin().drain_worker(worker.worker_id).await.unwrap();
        assert_eq!(drained.status, WorkerStatus::Draining);
        let answer = worker
            .worker
            .heartbeat_worker(worker.worker_id, &beat(&[]))
            .await
            .unwrap();
        assert_eq!(answer.status, WorkerStatus::Draining);
        assert_eq!(answer.pending_signals.len(), 1);
        t.create("one").await;
        assert!(worker.claim().await.is_none());
    });
}

#[test]
fn a_deleted_worker_is_gone_with_its_agents_and_keys() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let task = t.create("one").await;
        worker.begin().await;
        t.admin().delete_worker(worker.worker_id).await.unwrap();
        refused(worker.agent.get_identity().await, ErrorCode::Unauthorized);
        refused(worker.worker.get_identity().await, ErrorCode::Unauthorized);
        refused(
            t.admin().get_worker(worker.worker_id).await,
            ErrorCode::NotFound,
        );
        refused(
            t.admin().get_agent(worker.agent_id).await,
            ErrorCode::NotFound,
        );
        t.expire_leases().await;
        assert_eq!(t.state(task.id).await.as_str(), "ready");
    });
}
