//! Gauges: what is true now, read when someone asks, and remembered for some seconds.
//!
//! They are written as text here and not kept in the recorder, so that a tag which is gone is gone, and
//! the numbers of one tenant are never shown to another.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use protocol::TenantId;

use super::store::{self, Counts, Lane, Runs};
use crate::app::App;
use crate::db::PoolUsage;
use crate::error::Error;

/// How long what was read is shown again, so that many scrapers cost as much as one.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);
/// Tags that are shown by name; the rest is added up as `other`.
const TAGS_MAX: usize = 100;

/// The gauges that were read last, per tenant.
#[derive(Default)]
pub struct FleetGauges(DashMap<TenantId, (Instant, String)>);

/// The gauges of a tenant's fleet and of this replica's connections, in the text format of Prometheus.
pub(super) async fn render(app: &App, tenant: TenantId) -> Result<String, Error> {
    let known = app
        .gauges
        .0
        .get(&tenant)
        .filter(|known| known.0.elapsed() < REMEMBERED_FOR)
        .map(|known| known.1.clone());
    let mut text = match known {
        Some(text) => text,
        None => {
            let mut db = app.db.reader().await?;
            let lanes = store::lanes(&mut db, tenant).await?;
            let counts = store::counts(&mut db, tenant).await?;
            let runs = store::runs(&mut db, tenant).await?;
            drop(db);
            let mut text = fleet(lanes, counts);
            text.push_str(&of_runs(runs));
            app.gauges.0.insert(tenant, (Instant::now(), text.clone()));
            text
        }
    };
    text.push_str(&pools(app.db.usage()));
    Ok(text)
}

fn fleet(lanes: Vec<Lane>, counts: Counts) -> String {
    let tags = by_tag(lanes);
    let ready: i64 = tags.iter().map(|(_, tag)| tag.ready).sum();
    let mut text = String::new();
    gauge(
        &mut text,
        "stint_queue_ready_tasks",
        "Tasks that can be claimed now, by routing tag; counted up to 100000 each.",
        tags.iter()
            .map(|(name, tag)| (label("tag", name), tag.ready as f64)),
    );
    gauge(
        &mut text,
        "stint_queue_oldest_ready_seconds",
        "How long the first task in line has been waiting to be claimed, by routing tag.",
        tags.iter()
            .map(|(name, tag)| (label("tag", name), tag.oldest_seconds)),
    );
    gauge(
        &mut text,
        "stint_tasks",
        "Tasks that have not ended, by state; counted up to 100000 each.",
        [
            ("pending", counts.pending),
            ("ready", ready),
            ("claimed", counts.claimed),
            ("in_progress", counts.in_progress),
            ("parked", counts.parked),
        ]
        .map(|(state, number)| (label("state", state), number as f64)),
    );
    gauge(
        &mut text,
        "stint_slots_used",
        "Live leases: slots of workers and agents that have a task.",
        [(String::new(), (counts.claimed + counts.in_progress) as f64)],
    );
    gauge(
        &mut text,
        "stint_slots_capacity",
        "Slots of the workers, and of the agents without a worker, that were heard from in time.",
        [(String::new(), counts.slots as f64)],
    );
    text
}

fn of_runs(runs: Runs) -> String {
    let mut text = String::new();
    gauge(
        &mut text,
        "stint_runs",
        "Runs that have not ended, by state; counted up to 100000 together.",
        [
            ("pending", runs.pending),
            ("active", runs.active),
            ("paused", runs.paused),
        ]
        .map(|(state, number)| (label("state", state), number as f64)),
    );
    gauge(
        &mut text,
        "stint_approvals_open",
        "Tasks, steps and stage gates that wait for a person.",
        [(String::new(), runs.approvals as f64)],
    );
    gauge(
        &mut text,
        "stint_approvals_oldest_seconds",
        "How long the oldest of them has been waiting; 0 when there is none.",
        [(String::new(), runs.oldest_approval_seconds)],
    );
    gauge(
        &mut text,
        "stint_gates_open",
        "Stage gates that wait for a person.",
        [(String::new(), runs.gates as f64)],
    );
    gauge(
        &mut text,
        "stint_gates_oldest_seconds",
        "How long the oldest of them has been waiting; 0 when there is none.",
        [(String::new(), runs.oldest_gate_seconds)],
    );
    gauge(
        &mut text,
        "stint_orchestrators_woken",
        "Orchestrators that were woken and are not done, by how it goes; one that is stuck needs a person.",
        [
            ("processing", runs.processing),
            ("retrying", runs.retrying),
            ("stuck", runs.stuck),
        ]
        .map(|(state, number)| (label("state", state), number as f64)),
    );
    text
}

/// One number of a pool.
type OfPool = fn(&PoolUsage) -> u32;

fn pools(usage: [PoolUsage; 3]) -> String {
    let mut text = String::new();
    let kinds: [(&str, &str, OfPool); 3] = [
        (
            "stint_db_connections_in_use",
            "Connections to the database that someone holds, by pool.",
            |pool| pool.in_use,
        ),
        (
            "stint_db_connections_open",
            "Connections to the database that are open, by pool.",
            |pool| pool.open,
        ),
        (
            "stint_db_connections_limit",
            "Connections to the database that may be open, by pool.",
            |pool| pool.most,
        ),
    ];
    for (name, meaning, of) in kinds {
        gauge(
            &mut text,
            name,
            meaning,
            usage
                .iter()
                .map(|pool| (label("pool", pool.name), f64::from(of(pool)))),
        );
    }
    text
}

/// Ready tasks of one routing tag.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tag {
    ready: i64,
    oldest_seconds: f64,
}

impl Tag {
    fn add(&mut self, other: Self) {
        self.ready += other.ready;
        self.oldest_seconds = self.oldest_seconds.max(other.oldest_seconds);
    }
}

/// Adds lanes up by tag, and keeps the tags with the most tasks.
fn by_tag(lanes: Vec<Lane>) -> Vec<(String, Tag)> {
    let mut tags: BTreeMap<String, Tag> = BTreeMap::new();
    for lane in lanes {
        // A task that waits for one holder lies in a lane `tag@holder`.
        let tag = lane.lane.split('@').next().unwrap_or_default().to_owned();
        tags.entry(tag).or_default().add(Tag {
            ready: lane.ready,
            oldest_seconds: lane.oldest_seconds.unwrap_or_default(),
        });
    }
    let mut tags: Vec<_> = tags.into_iter().collect();
    tags.sort_by(|one, two| {
        two.1
            .ready
            .cmp(&one.1.ready)
            .then_with(|| one.0.cmp(&two.0))
    });
    if tags.len() > TAGS_MAX {
        let mut rest = Tag::default();
        for (_, tag) in tags.drain(TAGS_MAX..) {
            rest.add(tag);
        }
        tags.push(("other".to_owned(), rest));
    }
    tags
}

fn label(name: &str, value: &str) -> String {
    let escaped = value
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n");
    format!("{{{name}=\"{escaped}\"}}")
}

fn gauge(
    text: &mut String,
    name: &str,
    meaning: &str,
    values: impl IntoIterator<Item = (String, f64)>,
) {
    write!(text, "# HELP {name} {meaning}\n# TYPE {name} gauge\n").expect("text can be written");
    for (labels, value) in values {
        writeln!(text, "{name}{labels} {value}").expect("text can be written");
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(name: &str, ready: i64, oldest_seconds: f64) -> Lane {
        Lane {
            lane: name.to_owned(),
            ready,
            oldest_seconds: Some(oldest_seconds),
        }
    }

    #[test]
    fn lanes_of_one_holder_count_for_their_tag() {
        let tags = by_tag(vec![
            lane("role:a", 2, 1.0),
            lane("role:a@0190f5d2-0000-7000-8000-000000000000", 3, 9.0),
            lane("", 1, 2.0),
        ]);
        assert_eq!(
            tags,
            [
                (
                    "role:a".to_owned(),
                    Tag {
                        ready: 5,
                        oldest_seconds: 9.0
                    }
                ),
                (
                    String::new(),
                    Tag {
                        ready: 1,
                        oldest_seconds: 2.0
                    }
                ),
            ]
        );
    }

    #[test]
    fn beyond_a_hundred_tags_the_rest_is_added_up() {
        let tags = by_tag(
            (0..150)
                .map(|n| lane(&format!("t{n:03}"), 1, f64::from(n)))
                .collect(),
        );
        assert_eq!(tags.len(), 101);
        assert_eq!(tags[100].0, "other");
        assert_eq!(tags[100].1.ready, 50);
        assert_eq!(tags.iter().map(|(_, tag)| tag.ready).sum::<i64>(), 150);
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(label("tag", "a\"b\\c\nd"), r#"{tag="a\"b\\c\nd"}"#);
    }
}
