//! The operation that a request turned out to be, and how often and how long it was asked for.

use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::Duration;

use http::StatusCode;
use metrics::{Counter, Histogram};

/// The operation that answered: rides on the response, for the metrics.
#[derive(Clone, Copy, Debug)]
pub struct Operation(&'static Measured);

/// An operation with its series, looked up once: a look-up by labels for each request costs more than the
/// counting.
struct Measured {
    name: &'static str,
    duration: OnceLock<Histogram>,
    /// A handful for each operation.
    by_status: RwLock<Vec<(StatusCode, Counter)>>,
}

/// What no route answered.
static UNKNOWN: Measured = Measured::named("unknown");

impl Operation {
    /// An operation of the route table, which lives as long as the process.
    pub(super) fn named(name: String) -> Self {
        Self(Box::leak(Box::new(Measured::named(name.leak()))))
    }

    pub(super) fn unknown() -> Self {
        Self(&UNKNOWN)
    }

    /// As in the API description.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Counts one answer.
    pub(super) fn measure(self, status: StatusCode, took: Duration) {
        self.0.count(status);
        self.0
            .duration
            .get_or_init(|| metrics::histogram!("stint_http_request_duration_seconds", "operation" => self.0.name))
            .record(took);
    }
}

impl Measured {
    const fn named(name: &'static str) -> Self {
        Self {
            name,
            duration: OnceLock::new(),
            by_status: RwLock::new(Vec::new()),
        }
    }

    fn count(&self, status: StatusCode) {
        let known = self
            .by_status
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counter)) = known.iter().find(|(known, _)| *known == status) {
            counter.increment(1);
            return;
        }
        drop(known);
        let counter = metrics::counter!("stint_http_requests_total", "operation" => self.name, "status" => status.as_u16().to_string());
        counter.increment(1);
        self.by_status
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push((status, counter));
    }
}

impl std::fmt::Debug for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
