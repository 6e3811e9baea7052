//! Rows of results: a table for people, JSON for programs.

use serde_json::{Map, Value, json};

use crate::load::{Outcome, Times};
use crate::measure::Usage;
use crate::pgbench::Around;

/// A run counts when strangers used no more of the machine than this.
const OTHER_PERCENT_MAX: f64 = 10.0;

/// What a figure should be.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    what: String,
    is: f64,
    holds: bool,
}

impl Goal {
    pub(crate) fn at_least(what: &str, is: f64, bound: f64) -> Self {
        Self {
            what: format!("{what} >= {}", short(bound)),
            is,
            holds: is >= bound,
        }
    }

    pub(crate) fn at_most(what: &str, is: f64, bound: f64) -> Self {
        Self {
            what: format!("{what} <= {}", short(bound)),
            is,
            holds: is <= bound,
        }
    }
}

/// One line of results.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    /// Tells rows of one scenario apart that have the same connections.
    pub(crate) variant: String,
    pub(crate) connections: usize,
    /// Units a second, or what `unit` says.
    pub(crate) ours: f64,
    pub(crate) unit: &'static str,
    pub(crate) yardstick: Option<f64>,
    yardstick_other_percent: Option<f64>,
    percentiles: [Option<f64>; 3],
    usage: Usage,
    /// What costs are divided by.
    units: f64,
    more: Vec<(String, Value)>,
    goals: Vec<Goal>,
    pub(crate) run: usize,
}

impl Row {
    /// A row about a stretch of load, with its rate and the times of its main call.
    pub(crate) fn of(
        scenario: &'static str,
        variant: impl Into<String>,
        connections: usize,
        outcome: &mut Outcome,
    ) -> Self {
        Self {
            scenario,
            variant: variant.into(),
            connections,
            ours: outcome.per_second(),
            unit: "tasks/s",
            percentiles: outcome.tally.times.percentiles([50.0, 95.0, 99.0]),
            usage: outcome.usage,
            units: outcome.tally.done as f64,
            ..Self::default()
        }
    }

    /// A row that sums up others, with a rate and no costs of its own. It counts when they do.
    pub(crate) fn summary(
        scenario: &'static str,
        variant: &str,
        connections: usize,
        ours: f64,
        other_percent: f64,
    ) -> Self {
        Self {
            scenario,
            variant: variant.to_owned(),
            connections,
            ours,
            unit: "tasks/s",
            usage: Usage {
                other_percent,
                ..Usage::default()
            },
            ..Self::default()
        }
    }

    pub(crate) fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// Sets the main figure to something other than the rate.
    pub(crate) fn figure(mut self, ours: f64, unit: &'static str) -> Self {
        self.ours = ours;
        self.unit = unit;
        self
    }

    pub(crate) fn yardstick(mut self, around: Around) -> Self {
        self.yardstick = Some(around.per_second);
        self.see_strangers(around);
        self.more("yardstick_clients", around.clients)
    }

    /// Compares with another row of ours instead of with pgbench.
    pub(crate) fn compared_with(mut self, ours: f64) -> Self {
        self.yardstick = Some(ours);
        self
    }

    /// One more yardstick, as fields of its own.
    pub(crate) fn second_yardstick(mut self, name: &str, around: Around) -> Self {
        self.see_strangers(around);
        let ratio = self.ours / around.per_second;
        self.more(&format!("yardstick_{name}"), round(around.per_second))
            .more(&format!("ratio_{name}"), round(ratio))
    }

    fn see_strangers(&mut self, around: Around) {
        let before = self.yardstick_other_percent.unwrap_or_default();
        self.yardstick_other_percent = Some(before.max(around.other_percent));
    }

    pub(crate) fn times(mut self, times: &mut Times) -> Self {
        self.percentiles = times.percentiles([50.0, 95.0, 99.0]);
        self
    }

    /// Further times, as fields that begin with this name.
    pub(crate) fn more_times(self, name: &str, times: &mut Times) -> Self {
        let [p50, p95, p99] = times.percentiles([50.0, 95.0, 99.0]);
        self.more(&format!("{name}_p50_ms"), p50)
            .more(&format!("{name}_p95_ms"), p95)
            .more(&format!("{name}_p99_ms"), p99)
    }

    pub(crate) fn more(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goals.push(goal);
        self
    }

    pub(crate) fn ratio(&self) -> f64 {
        self.yardstick
            .map_or(f64::NAN, |yardstick| self.ours / yardstick)
    }

    pub(crate) fn p(&self, percent: u32) -> f64 {
        let place = match percent {
            50 => 0,
            95 => 1,
            _ => 2,
        };
        self.percentiles[place].unwrap_or(f64::INFINITY)
    }

    /// Seconds of the platform's and the database's processors for one unit.
    pub(crate) fn cpu_each(&self) -> f64 {
        (self.usage.platform_cpu_s + self.usage.postgres_cpu_s) / self.units
    }

    pub(crate) fn statements_each(&self) -> f64 {
        self.usage.statements / self.units
    }

    pub(crate) fn commits_each(&self) -> f64 {
        self.usage.commits / self.units
    }

    pub(crate) fn fsyncs_each(&self) -> f64 {
        self.usage.fsyncs / self.units
    }

    pub(crate) fn wal_each(&self) -> f64 {
        self.usage.wal_bytes / self.units
    }

    fn counts(&self) -> bool {
        self.usage.other_percent <= OTHER_PERCENT_MAX
            && self.yardstick_other_percent.unwrap_or_default() <= OTHER_PERCENT_MAX
    }

    fn holds(&self) -> Option<bool> {
        (!self.goals.is_empty()).then(|| self.goals.iter().all(|goal| goal.holds))
    }

    /// A flat object.
    pub(crate) fn json(&self) -> Value {
        let usage = &self.usage;
        let each = |total: f64| finite(total / self.units);
        let goals: Vec<&str> = self.goals.iter().map(|goal| goal.what.as_str()).collect();
        let misses: Vec<String> = self
            .goals
            .iter()
            .filter(|goal| !goal.holds)
            .map(|goal| format!("{}: {}", goal.what, short(goal.is)))
            .collect();
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("scenario", json!(self.scenario));
        put("variant", json!(self.variant));
        put("run", json!(self.run));
        put("connections", json!(self.connections));
        put("ours", finite(self.ours));
        put("unit", json!(self.unit));
        put("yardstick", json!(self.yardstick.map(round)));
        put("ratio", finite(self.ratio()));
        for (name, time) in ["p50_ms", "p95_ms", "p99_ms"].iter().zip(self.percentiles) {
            put(name, json!(time));
        }
        put("seconds", finite(usage.seconds));
        put("other_percent", finite(usage.other_percent));
        put(
            "yardstick_other_percent",
            json!(self.yardstick_other_percent.map(round)),
        );
        put("counts", json!(self.counts()));
        put(
            "platform_cpu_s_per_1000",
            each(1000.0 * usage.platform_cpu_s),
        );
        put(
            "postgres_cpu_s_per_1000",
            each(1000.0 * usage.postgres_cpu_s),
        );
        put("load_cpu_s_per_1000", each(1000.0 * usage.load_cpu_s));
        put("statements_per_task", each(usage.statements));
        put("commits_per_task", each(usage.commits));
        put("fsyncs_per_task", each(usage.fsyncs));
        put("wal_bytes_per_task", each(usage.wal_bytes));
        put("rss_mib", finite(usage.rss_mib));
        put("goal", json!(goals.join("; ")));
        put("holds", json!(self.holds()));
        put("misses", json!(misses.join("; ")));
        for (name, value) in &self.more {
            object.insert(name.clone(), value.clone());
        }
        Value::Object(object)
    }

    /// The row for people, and below it what it should be.
    pub(crate) fn print(&self) {
        let name = if self.variant.is_empty() {
            self.scenario.to_owned()
        } else {
            format!("{} {}", self.scenario, self.variant)
        };
        let usage = &self.usage;
        let each = |total: f64| cell(Some(total / self.units));
        let ratio = self.ratio();
        println!(
            "{name:<30} {:>5} {:>9} {:<8} {:>9} {:>6} {:>7} {:>7} {:>7} {:>5.1}{} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7} {:>5.0}",
            self.connections,
            cell(Some(self.ours)),
            self.unit,
            cell(self.yardstick),
            cell(ratio.is_finite().then_some(ratio)),
            cell(self.percentiles[0]),
            cell(self.percentiles[1]),
            cell(self.percentiles[2]),
            usage
                .other_percent
                .max(self.yardstick_other_percent.unwrap_or_default()),
            if self.counts() { ' ' } else { '!' },
            each(1000.0 * usage.platform_cpu_s),
            each(1000.0 * usage.postgres_cpu_s),
            each(usage.statements),
            each(usage.commits),
            each(usage.fsyncs),
            each(usage.wal_bytes),
            usage.rss_mib,
        );
        for goal in &self.goals {
            let verdict = if goal.holds { "holds" } else { "MISSES" };
            println!("    {verdict:<6} {} (is {})", goal.what, short(goal.is));
        }
    }
}

/// The head of the table.
pub(crate) fn print_head() {
    println!(
        "{:<30} {:>5} {:>9} {:<8} {:>9} {:>6} {:>7} {:>7} {:>7} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7} {:>5}",
        "scenario",
        "conns",
        "ours",
        "unit",
        "yardstick",
        "ratio",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "other%",
        "plat/k",
        "pg/k",
        "stmts",
        "commit",
        "fsyncs",
        "wal B",
        "MiB",
    );
}

/// What the columns mean.
pub(crate) const LEGEND: &str = "\
other%: share of the machine that strangers used, in our window or in the yardstick's; a row with ! does not count.
plat/k, pg/k: CPU seconds of the platform and of PostgreSQL per 1,000 units; stmts to wal B: per unit; MiB: RSS of the platform.";

fn finite(number: f64) -> Value {
    if number.is_finite() {
        json!(round(number))
    } else {
        Value::Null
    }
}

/// Five digits are more than any of this is good for.
fn round(number: f64) -> f64 {
    if number == 0.0 || !number.is_finite() {
        return number;
    }
    let scale = 10_f64.powi(4 - number.abs().log10().floor() as i32);
    (number * scale).round() / scale
}

fn short(number: f64) -> String {
    cell(Some(number))
}

fn cell(number: Option<f64>) -> String {
    match number {
        None => "-".to_owned(),
        Some(number) if !number.is_finite() => "-".to_owned(),
        Some(number) if number.abs() >= 100.0 => format!("{number:.0}"),
        Some(number) if number.abs() >= 10.0 => format!("{number:.1}"),
        Some(number) if number.abs() >= 0.1 || number == 0.0 => format!("{number:.2}"),
        Some(number) => format!("{number:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_rounded_to_five_digits() {
        assert_eq!(round(123_456.7), 123_460.0);
        assert_eq!(round(0.001_234_567), 0.001_234_6);
        assert_eq!(round(0.0), 0.0);
    }

    #[test]
    fn a_row_says_whether_its_goals_hold() {
        let row = Row {
            scenario: "cycle",
            units: 10.0,
            ..Row::default()
        };
        assert_eq!(row.json()["holds"], Value::Null);
        let row = row.goal(Goal::at_least("x", 2.0, 1.0));
        assert_eq!(row.json()["holds"], true);
        let row = row.goal(Goal::at_most("y", 2.0, 1.0));
        assert_eq!(row.json()["holds"], false);
        assert_eq!(row.json()["misses"], "y <= 1.00: 2.00");
    }
}
