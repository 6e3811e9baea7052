//! Counters and histograms of this process: what each means, and how it is cut into buckets.

use std::sync::OnceLock;

use metrics::Unit;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Set by the first platform of this process; none when someone else has installed a recorder.
static RECORDED: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Seconds, for what answers requests: from half a millisecond to the longest wait.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Members of a batch, up to the most a batch may have.
const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// What is measured: name, unit, what it means.
enum Kind {
    Counter,
    Histogram(&'static [f64]),
}

use Kind::{Counter, Histogram};

const MEASURED: &[(&str, Kind, Unit, &str)] = &[
    (
        "stint_http_requests_total",
        Counter,
        Unit::Count,
        "Requests answered, by operation and status.",
    ),
    (
        "stint_http_request_duration_seconds",
        Histogram(SECONDS),
        Unit::Seconds,
        "How long requests took, by operation; streams and waiting claims included.",
    ),
    (
        "stint_claims_total",
        Counter,
        Unit::Count,
        "Claims answered, by outcome: claimed, replayed, empty.",
    ),
    (
        "stint_claim_duration_seconds",
        Histogram(SECONDS),
        Unit::Seconds,
        "How long claims took, without the time they waited for work.",
    ),
    (
        "stint_runs_launched_total",
        Counter,
        Unit::Count,
        "Runs that were launched, redrives included.",
    ),
    (
        "stint_runs_ended_total",
        Counter,
        Unit::Count,
        "Runs that came to an end, by state: completed, failed, cancelled; again when a retry opened one.",
    ),
    (
        "stint_steps_ended_total",
        Counter,
        Unit::Count,
        "Steps of graphs that ended, by state: completed, failed, skipped.",
    ),
    (
        "stint_approvals_expired_total",
        Counter,
        Unit::Count,
        "Questions of steps that nobody answered in time.",
    ),
    (
        "stint_gates_requested_total",
        Counter,
        Unit::Count,
        "Requests of orchestrators that a person look at a stage.",
    ),
    (
        "stint_gates_decided_total",
        Counter,
        Unit::Count,
        "Decisions of people about stage gates, by action: approve, reject, request_changes, block.",
    ),
    (
        "stint_lease_losses_total",
        Counter,
        Unit::Count,
        "Leases that expired and whose tasks went back to the queue or failed.",
    ),
    (
        "stint_log_entries_total",
        Counter,
        Unit::Count,
        "Log entries handed in, by outcome: stored, repeated, rejected.",
    ),
    (
        "stint_batch_size",
        Histogram(SIZES),
        Unit::Count,
        "Requests that shared one batch of the hot path, by lane.",
    ),
    (
        "stint_batch_failures_total",
        Counter,
        Unit::Count,
        "Batches that failed and were run again member by member, by lane.",
    ),
    (
        "stint_batch_conflicts_total",
        Counter,
        Unit::Count,
        "Batches that were run again after a deadlock or another passing conflict, by lane.",
    ),
    (
        "stint_lane_full_total",
        Counter,
        Unit::Count,
        "Requests that were refused because too many were waiting, by lane.",
    ),
    (
        "stint_loop_errors_total",
        Counter,
        Unit::Count,
        "Turns of background loops that failed, by loop.",
    ),
    (
        "stint_internal_errors_total",
        Counter,
        Unit::Count,
        "Requests that failed by our own fault.",
    ),
];

/// Begins to count, once per process. Whoever installed another recorder before keeps it.
pub fn install_metrics() {
    RECORDED.get_or_init(|| {
        let mut builder = PrometheusBuilder::new();
        for (name, kind, _, _) in MEASURED {
            if let Histogram(buckets) = kind {
                builder = builder
                    .set_buckets_for_metric(Matcher::Full((*name).to_owned()), buckets)
                    .expect("buckets are not empty");
            }
        }
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("metrics are recorded elsewhere; /metrics shows the gauges alone");
            return None;
        }
        for (name, kind, unit, meaning) in MEASURED {
            match kind {
                Counter => metrics::describe_counter!(*name, *unit, *meaning),
                Histogram(_) => metrics::describe_histogram!(*name, *unit, *meaning),
            }
        }
        Some(handle)
    });
}

/// What was counted, in the text format of Prometheus.
pub(super) fn render() -> String {
    RECORDED
        .get()
        .and_then(Option::as_ref)
        .map(PrometheusHandle::render)
        .unwrap_or_default()
}

/// Moves what histograms have gathered into their buckets.
pub(super) fn drain() {
    if let Some(handle) = RECORDED.get().and_then(Option::as_ref) {
        handle.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_in_what_they_count() {
        for (name, kind, unit, meaning) in MEASURED {
            assert!(
                name.starts_with("stint_") && meaning.ends_with('.'),
                "{name}"
            );
            match kind {
                Counter => assert!(name.ends_with("_total"), "{name}"),
                Histogram(buckets) => {
                    assert!(buckets.is_sorted(), "{name}");
                    assert_eq!(name.ends_with("_seconds"), *unit == Unit::Seconds, "{name}");
                }
            }
        }
    }

    #[test]
    fn what_is_counted_is_shown_with_its_meaning() {
        install_metrics();
        metrics::counter!("stint_internal_errors_total").increment(1);
        metrics::histogram!("stint_batch_size", "lane" => "none").record(3.0);
        let text = render();
        assert!(text.contains("# HELP stint_internal_errors_total Requests that failed"));
        assert!(text.contains("stint_batch_size_bucket{lane=\"none\",le=\"4\"}"));
    }
}
