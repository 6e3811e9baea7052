//! One attempt from its claim to its report.

use std::sync::Arc;
use std::time::Duration;

use stint_protocol::ClaimedTask;
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::handler::{Failure, Handler, HandlerResult, TaskRun};
use crate::lease::{Hold, Stop, lease_ref};
use crate::logs;
use crate::register::Registered;
use crate::report::{Delivery, End};

/// How long the log lines of an attempt may hold up its report: longer than a restart of the platform,
/// which could not hear the report meanwhile either.
const LOG_PATIENCE: Duration = Duration::from_secs(60);

/// How long they may do so when the worker is about to end, or there is nothing to report.
const LAST_LOG_PATIENCE: Duration = Duration::from_secs(5);

/// How much longer than its own grace a handler has before its future is dropped.
const STOP_MARGIN: Duration = Duration::from_secs(1);

/// How long a slot rests after a task that no handler serves, so that another worker can take it.
const MISFIT_REST: Duration = Duration::from_secs(5);

/// How the handler came to its end.
enum Outcome {
    /// By itself.
    Ended(HandlerResult),
    /// It was told to stop, and returned this if it still returned something.
    Stopped(Stop, Option<HandlerResult>),
    /// Its time was over.
    TimedOut(Duration, Option<HandlerResult>),
}

/// Runs an attempt and reports its end.
///
/// Ends early when the process must end: the lease then runs out by itself.
pub(crate) async fn run(worker: Arc<Registered>, task: ClaimedTask, hold: Hold) {
    let lease = lease_ref(&task);
    let run = run_to_report(&worker, task, hold);
    if worker.abandon.run_until_cancelled(run).await.is_none() {
        warn!(
            task.id = %lease.task_id, task.attempt = lease.attempt,
            "the end of an attempt could not be reported; its lease will run out"
        );
    }
    worker.leases.let_go(lease);
}

async fn run_to_report(worker: &Registered, task: ClaimedTask, hold: Hold) {
    let delivery = match worker.handlers.find(&task) {
        Some(handler) => with_handler(worker, handler, task, hold).await,
        None => without_handler(worker, &task).await,
    };
    worker.tally.count(delivery);
}

async fn with_handler(
    worker: &Registered,
    handler: Arc<dyn Handler>,
    task: ClaimedTask,
    hold: Hold,
) -> Option<Delivery> {
    let lease = lease_ref(&task);
    info!(task.id = %task.id, task.attempt = task.attempt, task.role = task.role, "started");
    let (sink, shipper) = logs::open(&worker.reporter.client, &task, &worker.mask);
    let limit = time_limit(&task, handler.as_ref());
    let stopped = CancellationToken::new();
    let run = TaskRun {
        task,
        client: worker.reporter.client.clone(),
        logs: sink,
        progress: hold.progress.clone(),
        stopped: stopped.clone(),
        messages: Mutex::new(hold.messages),
    };
    let outcome = conduct(handler, run, hold.stop, limit, &stopped).await;
    // From here on only the platform's word about the report counts, not the lease's clock.
    let end = end_of(outcome, &hold.progress);
    if end.is_some() {
        worker.leases.begin_report(lease);
    } else {
        info!(task.id = %lease.task_id, task.attempt = lease.attempt, "stopped, nothing to report");
    }
    let last_moment = async {
        if end.is_some() {
            worker.draining.cancelled().await;
        }
        sleep(LAST_LOG_PATIENCE).await;
    };
    tokio::select! {
        () = shipper.close(LOG_PATIENCE) => {}
        () = last_moment => warn!(
            task.id = %lease.task_id, task.attempt = lease.attempt,
            "some log lines could not be sent in time and are lost"
        ),
    }
    match end {
        Some(end) => Some(worker.reporter.deliver(lease, end).await),
        None => None,
    }
}

async fn without_handler(worker: &Registered, task: &ClaimedTask) -> Option<Delivery> {
    let lease = lease_ref(task);
    warn!(
        task.id = %task.id, task.role = task.role, task.task_type = %task.task_type,
        "no handler serves this task, handing it back"
    );
    worker.leases.begin_report(lease);
    let end = End::Release {
        reason: "no_handler",
        progress: None,
    };
    let delivery = worker.reporter.deliver(lease, end).await;
    // The slot stays taken for a while, or this worker would get the same task again at once.
    tokio::select! {
        () = sleep(MISFIT_REST) => {}
        () = worker.draining.cancelled() => {}
    }
    Some(delivery)
}

fn time_limit(task: &ClaimedTask, handler: &dyn Handler) -> Duration {
    let minutes = u64::try_from(task.timeout_minutes).unwrap_or(0).max(1);
    let of_task = Duration::from_secs(minutes * 60);
    handler.timeout().map_or(of_task, |own| own.min(of_task))
}

/// Runs the handler until it ends, is told to stop, or its time is over.
async fn conduct(
    handler: Arc<dyn Handler>,
    run: TaskRun,
    mut stop: watch::Receiver<Option<Stop>>,
    limit: Duration,
    stopped: &CancellationToken,
) -> Outcome {
    let patience = handler.stop_grace() + STOP_MARGIN;
    // A task of its own, so that a panic ends the attempt and not the worker.
    let mut running = AbortOnDropHandle::new(tokio::spawn(handler.run(run)));
    let reason = tokio::select! {
        ended = &mut running => return Outcome::Ended(result_of(ended)),
        reason = wait_for_stop(&mut stop) => Some(reason),
        () = sleep(limit) => None,
    };
    stopped.cancel();
    let last = timeout(patience, &mut running).await.ok().map(result_of);
    if last.is_none() {
        warn!("a handler did not stop when it was told to, dropping it");
    }
    match reason {
        Some(reason) => Outcome::Stopped(reason, last),
        None => Outcome::TimedOut(limit, last),
    }
}

async fn wait_for_stop(stop: &mut watch::Receiver<Option<Stop>>) -> Stop {
    match stop.wait_for(Option::is_some).await {
        Ok(reason) => reason.expect("it was waited for"),
        // The attempt was forgotten, which happens only after its end.
        Err(_) => Stop::Lost,
    }
}

fn result_of(ended: Result<HandlerResult, tokio::task::JoinError>) -> HandlerResult {
    ended.unwrap_or_else(|error| {
        let message = match error.try_into_panic() {
            Ok(panic) => panic_message(panic.as_ref()),
            Err(_) => "it was dropped".to_owned(),
        };
        Err(Failure::new(format!("the handler panicked: {message}")).category("crashed"))
    })
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// What to report, if anything.
fn end_of(outcome: Outcome, progress: &crate::lease::Progress) -> Option<End> {
    match outcome {
        Outcome::Ended(Ok(output)) => Some(End::Complete(output)),
        Outcome::Ended(Err(failure)) => Some(End::Fail(failure)),
        // A result that is there counts, even if it came after the word to stop: the platform
        // decides by the attempt.
        Outcome::Stopped(Stop::Drain | Stop::Signalled, Some(Ok(output)))
        | Outcome::TimedOut(_, Some(Ok(output))) => Some(End::Complete(output)),
        Outcome::Stopped(Stop::Drain, _) => Some(End::Release {
            reason: "drain",
            progress: progress.get(),
        }),
        Outcome::Stopped(Stop::Signalled, _) => Some(End::Fail(
            Failure::new("an operator stopped the attempt by a signal to the worker")
                .category("cancelled")
                .recoverable(false),
        )),
        Outcome::Stopped(Stop::Lost | Stop::Cancelled, _) => None,
        Outcome::TimedOut(limit, _) => Some(End::Fail(
            Failure::new(format!("not finished after {limit:.0?}"))
                .category("timeout")
                .recoverable(true),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::HandlerFuture;
    use crate::handler::tests::nowhere;
    use crate::lease::Progress;
    use crate::lease::tests::claimed_task;
    use crate::logs::tests::sink;
    use crate::mask::Mask;
    use stint_protocol::{Json, JsonObject};
    use tokio::sync::mpsc;

    async fn conduct_with<H: Handler>(handler: H, stop: Option<Stop>, limit: Duration) -> Outcome {
        let (logs, _lines) = sink(&Mask::default());
        let stopped = CancellationToken::new();
        let run = TaskRun {
            task: claimed_task(),
            client: nowhere(),
            logs,
            progress: Progress::default(),
            stopped: stopped.clone(),
            messages: Mutex::new(mpsc::unbounded_channel().1),
        };
        let (_teller, told) = watch::channel(stop);
        conduct(Arc::new(handler), run, told, limit, &stopped).await
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_panic_is_a_failure_of_the_attempt() {
        async fn panics(_run: TaskRun) -> Result<(), Failure> {
            panic!("out of cheese")
        }
        let outcome = conduct_with(panics, None, LONG).await;
        let Some(End::Fail(failure)) = end_of(outcome, &Progress::default()) else {
            panic!("a panic must fail the attempt");
        };
        assert_eq!(failure.category.as_deref(), Some("crashed"));
        assert!(failure.message.contains("out of cheese"));
    }

    #[tokio::test]
    async fn a_slow_handler_times_out() {
        async fn sleeps(run: TaskRun) -> Result<(), Failure> {
            run.stopped().await;
            Err(Failure::new("stopped"))
        }
        let outcome = conduct_with(sleeps, None, Duration::from_millis(20)).await;
        let Some(End::Fail(failure)) = end_of(outcome, &Progress::default()) else {
            panic!("a timeout must fail the attempt");
        };
        assert_eq!(failure.category.as_deref(), Some("timeout"));
        assert_eq!(failure.recoverable, Some(true));
    }

    #[tokio::test]
    async fn a_deaf_handler_is_dropped() {
        struct Deaf;
        impl Handler for Deaf {
            fn run(self: Arc<Self>, _run: TaskRun) -> HandlerFuture {
                Box::pin(std::future::pending())
            }
            fn stop_grace(&self) -> Duration {
                Duration::ZERO
            }
        }
        let outcome = conduct_with(Deaf, Some(Stop::Lost), LONG).await;
        assert!(matches!(outcome, Outcome::Stopped(Stop::Lost, None)));
        assert!(end_of(outcome, &Progress::default()).is_none());
    }

    #[tokio::test]
    async fn a_drained_attempt_is_released_with_its_progress() {
        let progress = Progress::default();
        let step = JsonObject::from_text(r#"{"step":3}"#.to_owned()).unwrap();
        progress.set(step.clone()).unwrap();
        let unfinished = Outcome::Stopped(Stop::Drain, Some(Err(Failure::new("stopped"))));
        let Some(End::Release { progress: told, .. }) = end_of(unfinished, &progress) else {
            panic!("a drained attempt is handed back");
        };
        assert_eq!(told, Some(step));
        let finished = Outcome::Stopped(Stop::Drain, Some(Ok(Json::of(&1).unwrap())));
        assert!(matches!(
            end_of(finished, &progress),
            Some(End::Complete(_))
        ));
    }

    #[test]
    fn the_shorter_time_limit_counts() {
        struct Quick;
        impl Handler for Quick {
            fn run(self: Arc<Self>, _run: TaskRun) -> HandlerFuture {
                Box::pin(async { Ok(Json::of(&())?) })
            }
            fn timeout(&self) -> Option<Duration> {
                Some(Duration::from_secs(90))
            }
        }
        let mut task = claimed_task();
        assert_eq!(time_limit(&task, &Quick), Duration::from_secs(90));
        task.timeout_minutes = 1;
        assert_eq!(time_limit(&task, &Quick), Duration::from_secs(60));
    }
}
