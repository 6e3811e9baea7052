//! What a run was asked for, in the environment; `scripts/chaos` sets it.

use std::time::{Duration, SystemTime};

/// How much is to be done. As a part of all tests it is little.
pub(crate) struct Wanted {
    /// What chance is made from.
    pub(crate) seed: u64,
    /// How long things go wrong.
    pub(crate) length: Duration,
    /// Whether the figures of the reliability page are wanted.
    pub(crate) is_full: bool,
}

impl Wanted {
    /// Reads it, and says what it is, so that a run can be repeated.
    pub(crate) fn read(scenario: &str) -> Self {
        let number = |name: &str| variable(name)?.parse::<u64>().ok();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seed = number("STINT_CHAOS_SEED")
            .unwrap_or_else(|| u64::from(now.unwrap_or_default().subsec_micros()));
        let seconds = number("STINT_CHAOS_SECONDS").unwrap_or(60);
        say(&format!(
            "{scenario}: seed {seed}; repeat it with `scripts/chaos --only {scenario} --seed {seed}`"
        ));
        Self {
            seed,
            length: Duration::from_secs(seconds),
            is_full: variable("STINT_CHAOS_FULL").is_some(),
        }
    }

    /// The one of two figures that is meant.
    pub(crate) fn either<T>(&self, full: T, short: T) -> T {
        if self.is_full { full } else { short }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What a run came to.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    pub(crate) seed: u64,
    pub(crate) faults: usize,
    pub(crate) operations: u64,
    pub(crate) violations: Vec<String>,
    /// Completions a second after the faults, against before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recovery_ratio: Option<f64>,
    /// What else was counted.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub(crate) figures: serde_json::Value,
}

impl Outcome {
    /// Says what it is, writes it down where that is wanted, and fails if something was violated.
    pub(crate) fn conclude(self) {
        let mut told = serde_json::to_value(&self).expect("plain data");
        if let Some(commit) = variable("STINT_CHAOS_COMMIT") {
            told["commit"] = commit.into();
        }
        say(&told.to_string());
        if let Some(folder) = variable("STINT_CHAOS_RESULTS") {
            let file = format!("{folder}/{}-{}.json", self.scenario, self.seed);
            let text = serde_json::to_string_pretty(&told).expect("plain data") + "\n";
            std::fs::write(file, text).expect("the folder for results is there");
        }
        assert!(
            self.violations.is_empty(),
            "{} with seed {}: {:#?}",
            self.scenario,
            self.seed,
            self.violations
        );
    }
}

#[expect(
    clippy::print_stdout,
    reason = "what a failing run prints is how it is repeated"
)]
pub(crate) fn say(text: &str) {
    println!("{text}");
}
