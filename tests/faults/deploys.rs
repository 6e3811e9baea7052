//! A new version is rolled out under load: workers and replicas are restarted one after the other.

use std::time::Duration;

use stint_tests::place::until;

use crate::chaos::Running;
use crate::checker::check;
use crate::history::Phase;
use crate::load::Strength;
use crate::wanted::{Outcome, Wanted};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restart() {
    let wanted = Wanted::read("rolling_restart");
    let workers = wanted.either(20, 6);
    let strength = Strength {
        pause: Duration::from_millis(200),
        slow_percent: 20,
        agents_percent: 0,
    };
    let mut running = Running::start(wanted.seed, workers, 2, strength).await;
    let mut restarts = 0;
    for number in 0..workers {
        running.cluster.workers[number].ask_to_stop();
        let status = running.cluster.workers[number].ended().await;
        assert!(status.success(), "a worker ended with {status}");
        running.cluster.workers[number].revive();
        restarts += 1;
        // The replicas in the middle of it.
        if number == workers / 3 || number == workers * 2 / 3 {
            let replica = &mut running.cluster.replicas[usize::from(number > workers / 2)];
            replica.terminate().await;
            replica.restart().await;
            restarts += 1;
        }
    }
    let runs = running.cluster.stage.read("runs").lines().count();
    until("the workers of the new version are at work", async || {
        running.cluster.stage.read("runs").lines().count() > runs + workers
    })
    .await;
    let (evidence, operations) = running.evidence().await;
    let mut violations = check(&evidence);
    // No attempt was lost or failed: programs that ask for another one are meant to.
    let failed = |reason: &Option<String>| matches!(reason.as_deref(), Some("lose_lease" | "fail"));
    for event in evidence.events.iter().filter(|event| failed(&event.reason)) {
        violations.push(format!(
            "attempt {} of task {} made the move {:?}",
            event.attempt, event.task, event.reason
        ));
    }
    // Whatever a client was refused, the repetition was accepted.
    for op in &evidence.ops {
        if let Some(Phase::Fail { status, why }) = &op.end
            && !matches!(status, 429 | 503)
        {
            violations.push(format!("{:?} was refused for good: {why}", op.call));
        }
    }
    Outcome {
        scenario: "rolling_restart".to_owned(),
        seed: wanted.seed,
        faults: restarts,
        operations,
        violations,
        recovery_ratio: None,
        figures: serde_json::json!({ "workers": workers, "tasks": evidence.tasks.len() }),
    }
    .conclude();
}
