//! The attempts this worker holds, and until when it may believe that.
//!
//! ```text
//! claimed ─► running ──handler ended──► reporting ──accepted, or refused for good──► gone
//!               │                           ▲
//!               └─ told to stop ────────────┘ (or straight to gone, when nothing is left to report)
//! ```
//!
//! A lease is believed until a local clock, started before the request that gave or renewed it was
//! sent, has run for the lease's length. The platform's clock started later, so it cannot have
//! given the task away earlier. An attempt whose lease ran out goes on all the same: when nobody
//! answers, the platform is away, and it gives every lease that time back. Should it have given the
//! task away, its next answer says so, and until then the attempt's number keeps apart what counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stint_protocol::{ClaimedTask, HeartbeatLease, JsonObject, LeaseRef, PendingMessage, TaskId};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::handler::Failure;

/// How large a progress may be.
pub(crate) const PROGRESS_BYTES_MAX: usize = 8 * 1024;

/// How much progress one heartbeat carries, so that it stays below the platform's body limit with
/// the most leases a worker can hold. What does not fit goes with the next one.
const PROGRESS_BYTES_PER_BEAT: usize = 512 * 1024;

/// How long a lease is believed at least when its claim took longer than the lease: the next
/// heartbeat, which is sent at once, decides.
const DOUBT_SECONDS: Duration = Duration::from_secs(5);

/// Why a running attempt must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Another attempt holds the task, or it has ended.
    Lost,
    /// The task was called off.
    Cancelled,
    /// An operator asked this worker to stop it.
    Signalled,
    /// The worker shuts down and hands it back.
    Drain,
}

/// The attempts this worker holds.
#[derive(Clone, Default)]
pub(crate) struct Leases {
    held: Arc<Mutex<HashMap<LeaseRef, Held>>>,
}

struct Held {
    lease: Duration,
    believed_until: Instant,
    is_reporting: bool,
    progress: Progress,
    stop: watch::Sender<Option<Stop>>,
    messages: mpsc::UnboundedSender<PendingMessage>,
    /// The newest message that was handed over. Those of a task come in order, and again until the platform
    /// has heard that they were received.
    newest_message: i64,
}

/// How far an attempt has come, shared between its handler and the heartbeats.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    progress: Option<JsonObject>,
    version: u64,
    version_sent: u64,
}

impl Progress {
    pub(crate) fn set(&self, progress: JsonObject) -> Result<(), Failure> {
        if progress.text().len() > PROGRESS_BYTES_MAX {
            return Err(Failure::new(format!(
                "a progress may have {PROGRESS_BYTES_MAX} bytes; this one has {}",
                progress.text().len()
            )));
        }
        let mut told = self.0.lock().expect("no holder of this lock panics");
        told.progress = Some(progress);
        told.version += 1;
        Ok(())
    }

    pub(crate) fn get(&self) -> Option<JsonObject> {
        let told = self.0.lock().expect("no holder of this lock panics");
        told.progress.clone()
    }

    /// What the platform has not been told yet, with its version.
    fn unsent(&self) -> (Option<JsonObject>, u64) {
        let told = self.0.lock().expect("no holder of this lock panics");
        let is_new = told.version > told.version_sent;
        (told.progress.clone().filter(|_| is_new), told.version)
    }

    fn mark_sent(&self, version: u64) {
        let mut told = self.0.lock().expect("no holder of this lock panics");
        told.version_sent = told.version_sent.max(version);
    }
}

/// A newly held attempt, as the task that runs it needs it.
pub(crate) struct Hold {
    pub(crate) progress: Progress,
    pub(crate) stop: watch::Receiver<Option<Stop>>,
    pub(crate) messages: mpsc::UnboundedReceiver<PendingMessage>,
}

/// What a heartbeat says about the leases, kept until its answer is there.
pub(crate) struct Snapshot {
    pub(crate) leases: Vec<HeartbeatLease>,
    versions: HashMap<LeaseRef, u64>,
}

impl Leases {
    /// Holds a newly claimed attempt. Nothing, if it is held already: a claim was answered twice.
    pub(crate) fn hold(&self, task: &ClaimedTask, claim_sent_at: Instant) -> Option<Hold> {
        let lease_ref = lease_ref(task);
        let lease = Duration::from_secs(u64::try_from(task.lease_seconds).unwrap_or(0));
        let mut held = self.held.lock().expect("no holder of this lock panics");
        if held.contains_key(&lease_ref) {
            return None;
        }
        // An older attempt of the same task is over, whatever it still does.
        for (other, older) in held.iter() {
            if other.task_id == lease_ref.task_id && !older.is_reporting {
                older.stop.send_replace(Some(Stop::Lost));
            }
        }
        let (stop, stopped) = watch::channel(None);
        // As many messages as the platform lets a task be sent.
        let (messages, received) = mpsc::unbounded_channel();
        let progress = Progress::default();
        let believed_until = (claim_sent_at + lease).max(Instant::now() + DOUBT_SECONDS);
        held.insert(
            lease_ref,
            Held {
                lease,
                believed_until,
                is_reporting: false,
                progress: progress.clone(),
                stop,
                messages,
                newest_message: 0,
            },
        );
        Some(Hold {
            progress,
            stop: stopped,
            messages: received,
        })
    }

    /// The handler has ended; from now on only the report counts.
    pub(crate) fn begin_report(&self, lease: LeaseRef) {
        let mut held = self.held.lock().expect("no holder of this lock panics");
        if let Some(held) = held.get_mut(&lease) {
            held.is_reporting = true;
        }
    }

    pub(crate) fn let_go(&self, lease: LeaseRef) {
        let mut held = self.held.lock().expect("no holder of this lock panics");
        held.remove(&lease);
    }

    pub(crate) fn holds(&self, lease: LeaseRef) -> bool {
        let held = self.held.lock().expect("no holder of this lock panics");
        held.contains_key(&lease)
    }

    /// Tells a running attempt to stop. The first reason stays.
    pub(crate) fn stop(&self, lease: LeaseRef, reason: Stop) -> bool {
        let held = self.held.lock().expect("no holder of this lock panics");
        held.get(&lease).is_some_and(|held| held.tell(reason))
    }

    /// Hands a message to the attempt that it is for. False when that attempt is not at work here.
    pub(crate) fn hand_over(&self, message: &PendingMessage) -> bool {
        let lease = LeaseRef {
            task_id: message.task_id,
            attempt: message.attempt,
        };
        let mut held = self.held.lock().expect("no holder of this lock panics");
        let Some(held) = held.get_mut(&lease).filter(|held| !held.is_reporting) else {
            return false;
        };
        if message.seq <= held.newest_message {
            return true;
        }
        held.newest_message = message.seq;
        held.messages.send(message.clone()).is_ok()
    }

    /// Tells whatever runs of a task to stop.
    pub(crate) fn stop_task(&self, task: TaskId, reason: Stop) -> bool {
        let held = self.held.lock().expect("no holder of this lock panics");
        let of_task = held.iter().filter(|(lease, _)| lease.task_id == task);
        of_task.fold(false, |any, (_, held)| held.tell(reason) || any)
    }

    pub(crate) fn stop_all(&self, reason: Stop) {
        let held = self.held.lock().expect("no holder of this lock panics");
        for held in held.values() {
            held.tell(reason);
        }
    }

    /// Whether some lease may end before the next ordinary heartbeat has had a second chance.
    pub(crate) fn is_pressing(&self, interval: Duration) -> bool {
        let soon = Instant::now() + interval * 2;
        let held = self.held.lock().expect("no holder of this lock panics");
        held.values()
            .any(|held| !held.is_reporting && held.believed_until < soon)
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let held = self.held.lock().expect("no holder of this lock panics");
        let mut snapshot = Snapshot {
            leases: Vec::with_capacity(held.len()),
            versions: HashMap::with_capacity(held.len()),
        };
        let mut room = PROGRESS_BYTES_PER_BEAT;
        for (lease, held) in held.iter() {
            let (mut progress, mut version) = held.progress.unsent();
            let size = progress
                .as_ref()
                .map_or(0, |progress| progress.text().len());
            match room.checked_sub(size) {
                Some(left) => room = left,
                None => (progress, version) = (None, 0),
            }
            snapshot.leases.push(HeartbeatLease {
                task_id: lease.task_id,
                attempt: lease.attempt,
                progress,
            });
            snapshot.versions.insert(*lease, version);
        }
        snapshot
    }

    /// The platform does not accept the progress in this snapshot: it is not told again.
    /// False when there was none.
    pub(crate) fn drop_progress(&self, snapshot: &Snapshot) -> bool {
        let held = self.held.lock().expect("no holder of this lock panics");
        for (lease, version) in &snapshot.versions {
            if let Some(held) = held.get(lease) {
                held.progress.mark_sent(*version);
            }
        }
        snapshot.leases.iter().any(|lease| lease.progress.is_some())
    }

    /// The heartbeat with this snapshot, sent at `sent_at`, was accepted for all but `gone`.
    pub(crate) fn renew(&self, snapshot: &Snapshot, sent_at: Instant, gone: &[LeaseRef]) {
        let mut held = self.held.lock().expect("no holder of this lock panics");
        for (lease, version) in &snapshot.versions {
            if gone.contains(lease) {
                continue;
            }
            if let Some(held) = held.get_mut(lease) {
                held.believed_until = held.believed_until.max(sent_at + held.lease);
                held.progress.mark_sent(*version);
            }
        }
    }
}

impl Held {
    fn tell(&self, reason: Stop) -> bool {
        !self.is_reporting
            && self.stop.send_if_modified(|stop| {
                let is_first = stop.is_none();
                if is_first {
                    *stop = Some(reason);
                }
                is_first
            })
    }
}

pub(crate) fn lease_ref(task: &ClaimedTask) -> LeaseRef {
    LeaseRef {
        task_id: task.id,
        attempt: task.attempt,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn claimed_task() -> ClaimedTask {
        let id = TaskId::new();
        serde_json::from_value(serde_json::json!({
            "id": id, "tenant_id": id, "title": "A task", "type": "custom",
            "task_kind": "delivery", "priority": "normal", "state": "in_progress",
            "attempt": 1, "retry_count": 0, "abandon_count": 0, "rework_count": 0,
            "assigned_agent_id": id, "claimed_at": "2026-01-31T12:00:00.000Z",
            "lease_expires_at": "2026-01-31T12:00:30.000Z", "lease_seconds": 30,
            "timeout_minutes": 180, "input": {"text": "hello"}, "depends_on": [],
            "role_config": {}, "environment": {}, "metadata": {}, "is_orchestrator_task": false,
            "execution_backend": "runtime_plus_task", "loop_mode": "reactive",
            "max_iterations": 100, "llm_max_retries": 5, "created_at": "2026-01-31T12:00:00.000Z",
        }))
        .unwrap()
    }

    fn told(hold: &Hold) -> Option<Stop> {
        *hold.stop.borrow()
    }

    #[tokio::test]
    async fn a_lease_counts_from_before_the_request_was_sent() {
        let leases = Leases::default();
        let sent_at = Instant::now() - Duration::from_secs(20);
        leases.hold(&claimed_task(), sent_at).unwrap();
        assert!(leases.is_pressing(Duration::from_secs(10)), "10 s are left");
        assert!(!leases.is_pressing(Duration::from_secs(2)));
    }

    #[tokio::test]
    async fn a_renewal_counts_from_before_the_heartbeat_was_sent() {
        let leases = Leases::default();
        let task = claimed_task();
        let hold = leases
            .hold(&task, Instant::now() - Duration::from_secs(25))
            .unwrap();
        let snapshot = leases.snapshot();
        leases.renew(&snapshot, Instant::now(), &[lease_ref(&task)]);
        assert!(
            leases.is_pressing(Duration::from_secs(10)),
            "a lost lease is not renewed"
        );
        leases.renew(&snapshot, Instant::now(), &[]);
        assert!(!leases.is_pressing(Duration::from_secs(10)));
        assert_eq!(told(&hold), None);
    }

    #[tokio::test]
    async fn an_attempt_that_reports_is_not_stopped() {
        let leases = Leases::default();
        let task = claimed_task();
        let hold = leases.hold(&task, Instant::now()).unwrap();
        leases.begin_report(lease_ref(&task));
        assert!(!leases.stop(lease_ref(&task), Stop::Lost));
        assert_eq!(told(&hold), None);
    }

    #[tokio::test]
    async fn a_newer_attempt_stops_the_older_one() {
        let leases = Leases::default();
        let mut task = claimed_task();
        let older = leases.hold(&task, Instant::now()).unwrap();
        assert!(
            leases.hold(&task, Instant::now()).is_none(),
            "it is held already"
        );
        task.attempt = 2;
        let newer = leases.hold(&task, Instant::now()).unwrap();
        assert_eq!(told(&older), Some(Stop::Lost));
        assert_eq!(told(&newer), None);
    }

    #[tokio::test]
    async fn an_attempt_is_handed_each_message_once_and_those_of_others_not() {
        let leases = Leases::default();
        let task = claimed_task();
        let mut hold = leases.hold(&task, Instant::now()).unwrap();
        let message = |attempt: i32, seq: i64| -> PendingMessage {
            serde_json::from_value(serde_json::json!({
                "id": TaskId::new(), "task_id": task.id, "attempt": attempt, "seq": seq,
                "message": "look", "urgency": "info", "sent_at": "2026-01-31T12:00:00.000Z",
            }))
            .unwrap()
        };
        for seq in [3, 4, 3, 4, 7] {
            assert!(leases.hand_over(&message(1, seq)));
        }
        assert!(!leases.hand_over(&message(2, 8)));
        leases.begin_report(lease_ref(&task));
        assert!(!leases.hand_over(&message(1, 9)), "it would not be read");
        let mut handed = Vec::new();
        while let Ok(message) = hold.messages.try_recv() {
            handed.push(message.seq);
        }
        assert_eq!(handed, [3, 4, 7]);
    }

    #[tokio::test]
    async fn the_first_reason_to_stop_stays() {
        let leases = Leases::default();
        let task = claimed_task();
        let hold = leases.hold(&task, Instant::now()).unwrap();
        assert!(leases.stop_task(task.id, Stop::Cancelled));
        assert!(!leases.stop(lease_ref(&task), Stop::Drain));
        assert_eq!(told(&hold), Some(Stop::Cancelled));
    }

    #[tokio::test]
    async fn progress_is_sent_once_and_again_when_it_changes() {
        let leases = Leases::default();
        let hold = leases.hold(&claimed_task(), Instant::now()).unwrap();
        hold.progress
            .set(JsonObject::from_text(r#"{"step":1}"#.to_owned()).unwrap())
            .unwrap();
        let snapshot = leases.snapshot();
        assert!(snapshot.leases[0].progress.is_some());
        hold.progress
            .set(JsonObject::from_text(r#"{"step":2}"#.to_owned()).unwrap())
            .unwrap();
        leases.renew(&snapshot, Instant::now(), &[]);
        let snapshot = leases.snapshot();
        assert!(
            snapshot.leases[0].progress.is_some(),
            "it changed after the first snapshot"
        );
        leases.renew(&snapshot, Instant::now(), &[]);
        assert!(leases.snapshot().leases[0].progress.is_none());
    }

    #[tokio::test]
    async fn more_progress_than_fits_goes_with_the_next_heartbeat() {
        let leases = Leases::default();
        let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(PROGRESS_BYTES_MAX - 8));
        let count = PROGRESS_BYTES_PER_BEAT / PROGRESS_BYTES_MAX + 10;
        for _ in 0..count {
            let hold = leases.hold(&claimed_task(), Instant::now()).unwrap();
            let progress = JsonObject::from_text(text.clone()).unwrap();
            hold.progress.set(progress).unwrap();
        }
        let told = |snapshot: &Snapshot| {
            let leases = snapshot.leases.iter();
            leases.filter(|lease| lease.progress.is_some()).count()
        };
        let first = leases.snapshot();
        assert_eq!(told(&first), count - 10);
        leases.renew(&first, Instant::now(), &[]);
        let second = leases.snapshot();
        assert_eq!(told(&second), 10);
        assert!(leases.drop_progress(&second));
        assert!(!leases.drop_progress(&leases.snapshot()));
    }

    #[test]
    fn a_large_progress_is_refused() {
        let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(PROGRESS_BYTES_MAX));
        let progress = Progress::default();
        assert!(progress.set(JsonObject::from_text(text).unwrap()).is_err());
        assert!(progress.get().is_none());
    }
}
