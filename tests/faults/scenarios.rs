//! Five named faults, each against the completions a second before and after it.

use std::time::Duration;

use crate::chaos::Running;
use crate::checker::check;
use crate::faults::Fault;
use crate::load::Strength;
use crate::wanted::{Outcome, Wanted};

/// How many completions a second there must be afterwards, against before, when it is measured for long enough.
const RECOVERY_MIN: f64 = 0.95;

/// A scenario: what happens, how often, how long each time, and what comes between.
struct Scenario {
    name: &'static str,
    faults: &'static [Fault],
    lasts: Duration,
    between: Duration,
}

const fn scenario(
    name: &'static str,
    faults: &'static [Fault],
    lasts: u64,
    between: u64,
) -> Scenario {
    Scenario {
        name,
        faults,
        lasts: Duration::from_secs(lasts),
        between: Duration::from_secs(between),
    }
}

const SCENARIOS: &[Scenario] = &[
    scenario("postgres_restart", &[Fault::RestartDatabase], 1, 2),
    scenario("pg_backend_kill", &[Fault::KillSessions; 5], 0, 1),
    scenario("pool_exhaustion", &[Fault::UseUpConnections], 8, 1),
    scenario("crash_recovery", &[Fault::KillWorker(0)], 5, 1),
    scenario(
        "repeated_kills",
        &[
            Fault::KillWorker(0),
            Fault::KillWorker(1),
            Fault::KillWorker(0),
            Fault::KillWorker(1),
        ],
        1,
        2,
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scenarios() {
    let wanted = Wanted::read("scenarios");
    let window = Duration::from_secs(wanted.either(40, 4));
    // Everything is for workers, and soon done: a load that two workers carry easily.
    let strength = Strength {
        pause: Duration::from_millis(200),
        slow_percent: 0,
        agents_percent: 0,
    };
    let mut running = Running::start(wanted.seed, 2, 4, strength).await;
    let mut outcomes = Vec::new();
    for scenario in SCENARIOS {
        let before = running.completions_per_second(window).await;
        for fault in scenario.faults {
            running
                .saboteur
                .begin(&mut running.cluster, *fault, scenario.lasts)
                .await;
            let rest = std::time::Instant::now() + scenario.lasts + scenario.between;
            running.saboteur.keep_up(&mut running.cluster, rest).await;
        }
        running.heal().await;
        let after = running.completions_per_second(window).await;
        let ratio = (after / before * 100.0).round() / 100.0;
        let least = wanted.either(RECOVERY_MIN, 0.5);
        let mut violations = Vec::new();
        if ratio < least {
            violations.push(format!(
                "{} recovers to {ratio} of what it was",
                scenario.name
            ));
        }
        outcomes.push(Outcome {
            scenario: scenario.name.to_owned(),
            seed: wanted.seed,
            faults: scenario.faults.len(),
            operations: 0,
            violations,
            recovery_ratio: Some(ratio),
            figures: serde_json::json!({ "completions_per_second": (before * 10.0).round() / 10.0 }),
        });
    }
    let (evidence, operations) = running.evidence().await;
    let violations = check(&evidence);
    for mut outcome in outcomes {
        outcome.operations = operations;
        outcome.violations.extend(violations.iter().cloned());
        outcome.conclude();
    }
}
