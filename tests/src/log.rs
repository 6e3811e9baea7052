//! What the platform logs: shown when the test fails, and searched for errors when it passes.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

/// The errors that were logged since the test began.
#[derive(Clone, Default)]
pub(crate) struct Errors(Arc<Mutex<Vec<String>>>);

impl Errors {
    /// Logs of this thread, on which the whole test runs, go to the test's output, and errors to `self`.
    pub(crate) fn capture(&self) -> DefaultGuard {
        let lines = tracing_subscriber::fmt::layer()
            .with_test_writer()
            .with_filter(EnvFilter::new("info,sqlx=warn"));
        tracing_subscriber::registry()
            .with(lines)
            .with(self.clone().with_filter(LevelFilter::ERROR))
            .set_default()
    }

    /// Takes out what was logged.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no panic under this lock"))
    }
}

impl<S: Subscriber> Layer<S> for Errors {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::ERROR {
            let mut line = Line(String::new());
            event.record(&mut line);
            self.0
                .lock()
                .expect("no panic under this lock")
                .push(line.0);
        }
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).expect("a string takes everything");
    }
}
