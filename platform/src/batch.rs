//! Group commit: what waits together commits together.
//!
//! A lane gathers requests of one kind. Whatever is waiting when its runner is free, or comes while others that could
//! go on at once do so, becomes one batch, one set-based statement and one commit; while it commits, the next batch
//! gathers. There is no timer in front of it, so a lone request is a batch of one.
//!
//! A batch never makes its members share a fate:
//! - statements are total: what depends on data is a column of the result, not an error;
//! - members with the same key (the same task, the same request id) never share a batch: the second one
//!   goes into the next, where it meets what the first one did;
//! - a batch that failed for good runs again member by member, and only the guilty one fails;
//! - a connection that dies leaves the outcome unknown: nothing is run again here, every member is told;
//! - a lane is bounded by items and bytes: a full one answers 429.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use protocol::{ErrorCode, ReasonCode};
use tokio::sync::{mpsc, oneshot};

use crate::app::App;
use crate::config::LimitConfig;
use crate::error::{Error, Refused};

/// Members of one batch at most: beyond, a larger statement gains nothing.
const BATCH_ITEMS_MAX: usize = 512;
/// Bytes of one batch at most, so that one statement stays small beside the memory of the server.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often others may go on before a batch is taken. Beyond, its first members would wait for the sake of the last.
const TURNS_OF_OTHERS_MAX: usize = 4;
/// How often a batch is run again after a deadlock or another conflict that passes by itself.
const CONFLICT_RETRIES: usize = 5;

/// One kind of request that is served in batches.
pub trait Lane: Send + Sync + Sized + 'static {
    /// What one request asks.
    type Member: Send + Sync + 'static;
    /// What it is answered.
    type Answer: Send + 'static;
    /// What two members of one batch must not have in common.
    type Key: Eq + Hash + Send;

    /// For metrics and log lines.
    const NAME: &'static str;
    /// How long a batch gathers beyond what waits already.
    const GATHER: Duration = Duration::ZERO;

    /// What this member must not share with another one of its batch.
    fn key(member: &Self::Member) -> Option<Self::Key>;

    /// How many bytes it brings along.
    fn weight(member: &Self::Member) -> usize;

    /// Serves a batch: one answer per member, in their order.
    ///
    /// All of it takes effect, or none; so a batch that failed can be run again.
    fn run(
        app: &App,
        members: &[Self::Member],
    ) -> impl Future<Output = Result<Vec<Self::Answer>, Error>> + Send;

    /// Takes back an answer whose client has gone.
    fn abandon(_app: &App, _answer: Self::Answer) -> impl Future<Output = ()> + Send {
        async {}
    }
}

struct Waiting<L: Lane> {
    member: L::Member,
    answer: oneshot::Sender<Result<L::Answer, Error>>,
}

/// The way into a lane.
pub struct Entrance<L: Lane> {
    waiting: mpsc::UnboundedSender<Waiting<L>>,
    load: Arc<Load>,
}

#[derive(Default)]
struct Load {
    items: AtomicUsize,
    bytes: AtomicUsize,
    items_max: usize,
    bytes_max: usize,
}

/// Takes its member's share of the load back when the member is through.
struct Share {
    load: Arc<Load>,
    bytes: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.load.items.fetch_sub(1, Ordering::Relaxed);
        self.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The end of a lane from which its runner takes members.
pub struct Exit<L: Lane>(mpsc::UnboundedReceiver<Waiting<L>>);

impl<L: Lane> Entrance<L> {
    /// A lane with its bounds: the entrance for requests and the exit for the runner.
    pub fn new(limits: &LimitConfig) -> (Self, Exit<L>) {
        let (waiting, exit) = mpsc::unbounded_channel();
        let load = Load {
            items_max: limits.lane_items_max,
            bytes_max: limits.lane_bytes_max,
            ..Load::default()
        };
        (
            Self {
                waiting,
                load: Arc::new(load),
            },
            Exit(exit),
        )
    }

    /// Joins the lane and waits for the answer.
    ///
    /// # Errors
    /// 429 `lane_full`; whatever became of this member alone.
    pub async fn run(&self, member: L::Member) -> Result<L::Answer, Error> {
        let share = self.enter(L::weight(&member))?;
        let (answer, answered) = oneshot::channel();
        let shutting_down = || {
            Error::from(
                Refused::new(
                    ErrorCode::ServiceUnavailable,
                    "the platform is shutting down",
                )
                .reason(ReasonCode::ShuttingDown)
                .hint("repeat the request: another replica, or the next start, answers it")
                .retry_after(1),
            )
        };
        self.waiting
            .send(Waiting { member, answer })
            .map_err(|_| shutting_down())?;
        let ended = answered.await.map_err(|_| shutting_down());
        drop(share);
        ended?
    }

    /// How many requests are in it: those that wait, and those of the batch that is under way.
    pub fn load(&self) -> usize {
        self.load.items.load(Ordering::Relaxed)
    }

    fn enter(&self, bytes: usize) -> Result<Share, Error> {
        let load = &self.load;
        let items = load.items.fetch_add(1, Ordering::Relaxed);
        let waiting_bytes = load.bytes.fetch_add(bytes, Ordering::Relaxed);
        let share = Share {
            load: Arc::clone(load),
            bytes,
        };
        if items >= load.items_max || waiting_bytes + bytes > load.bytes_max {
            metrics::counter!("stint_lane_full_total", "lane" => L::NAME).increment(1);
            return Err(Refused::new(
                ErrorCode::RateLimited,
                format!("too many {} requests are waiting", L::NAME),
            )
            .reason(ReasonCode::LaneFull)
            .hint("repeat the request after Retry-After")
            .retry_after(1)
            .into());
        }
        Ok(share)
    }
}

/// Serves a lane until its entrance is gone.
pub async fn serve<L: Lane>(app: App, mut exit: Exit<L>) {
    let mut put_off = VecDeque::new();
    loop {
        if put_off.is_empty() {
            match exit.0.recv().await {
                Some(waiting) => put_off.push_back(waiting),
                None => return,
            }
            if !L::GATHER.is_zero() {
                tokio::time::sleep(L::GATHER).await;
            }
        }
        let_others_in(&exit).await;
        let batch = gather(&mut put_off, &mut exit);
        metrics::histogram!("stint_batch_size", "lane" => L::NAME).record(batch.len() as f64);
        run_batch::<L>(&app, batch).await;
    }
}

/// Lets whatever else can go on do so, as long as that brings more members. Those who were answered a moment ago are
/// about to ask again, and under load half of a batch would miss it by a hair. Who comes alone waits for nobody.
async fn let_others_in<L: Lane>(Exit(exit): &Exit<L>) {
    let mut waiting = 0;
    for _ in 0..TURNS_OF_OTHERS_MAX {
        tokio::task::yield_now().await;
        if exit.len() == waiting {
            return;
        }
        waiting = exit.len();
    }
}

/// Takes what waits, except members whose key is already in the batch.
fn gather<L: Lane>(
    put_off: &mut VecDeque<Waiting<L>>,
    Exit(exit): &mut Exit<L>,
) -> Vec<Waiting<L>> {
    let (mut batch, mut keys, mut bytes) = (Vec::new(), HashSet::new(), 0);
    let mut later = VecDeque::new();
    while batch.len() < BATCH_ITEMS_MAX && bytes < BATCH_BYTES_MAX {
        let Some(waiting) = put_off.pop_front().or_else(|| exit.try_recv().ok()) else {
            break;
        };
        if L::key(&waiting.member).is_some_and(|key| !keys.insert(key)) {
            later.push_back(waiting);
            continue;
        }
        bytes += L::weight(&waiting.member);
        batch.push(waiting);
    }
    // Order is kept: what was put off goes before what came later.
    later.append(put_off);
    *put_off = later;
    batch
}

async fn run_batch<L: Lane>(app: &App, batch: Vec<Waiting<L>>) {
    let (members, answers): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .map(|waiting| (waiting.member, waiting.answer))
        .unzip();
    match run_through_conflicts::<L>(app, &members).await {
        Ok(results) => {
            assert_eq!(
                results.len(),
                members.len(),
                "one answer per member in lane {}",
                L::NAME
            );
            for (answer, result) in answers.into_iter().zip(results) {
                if let Err(Ok(unread)) = answer.send(Ok(result))
                    && app.db.unless_silent(L::abandon(app, unread)).await.is_err()
                {
                    tracing::warn!(
                        "an answer of lane {} whose client has gone may stand",
                        L::NAME
                    );
                }
            }
        }
        // Whoever cannot be reached cannot be reached for one member either; and what may have been
        // committed must not be run again.
        Err(error) if is_unavailable(&error) => {
            for answer in answers {
                tell(answer, Err(copy(&error)));
            }
        }
        Err(error) if members.len() == 1 => {
            for answer in answers {
                tell(answer, Err(copy(&error)));
            }
            tracing::error!(%error, "a request failed in lane {}", L::NAME);
        }
        Err(error) => {
            tracing::warn!(%error, "a batch of {} failed in lane {}; running its members alone", members.len(), L::NAME);
            metrics::counter!("stint_batch_failures_total", "lane" => L::NAME).increment(1);
            for (member, answer) in members.iter().zip(answers) {
                let ended = run_through_conflicts::<L>(app, std::slice::from_ref(member)).await;
                if let Err(error) = &ended {
                    tracing::error!(%error, "a request failed in lane {}", L::NAME);
                }
                tell(
                    answer,
                    ended.map(|mut results| results.pop().expect("one answer per member")),
                );
            }
        }
    }
}

fn tell<A>(answer: oneshot::Sender<Result<A, Error>>, ended: Result<A, Error>) {
    if answer.send(ended).is_err() {
        tracing::debug!("the client has gone before its answer");
    }
}

/// Runs a batch; after a conflict that passes by itself, again.
async fn run_through_conflicts<L: Lane>(
    app: &App,
    members: &[L::Member],
) -> Result<Vec<L::Answer>, Error> {
    let mut tries = 0;
    loop {
        // A panic fails the batch; it must not take the lane with it.
        let ended = AssertUnwindSafe(app.db.unless_silent(L::run(app, members)))
            .catch_unwind()
            .await;
        let ended = ended
            .unwrap_or_else(|_| Err(anyhow::anyhow!("lane {} panicked", L::NAME).into()))
            .flatten();
        match ended {
            Err(Error::Internal(error)) if tries < CONFLICT_RETRIES && passes_by_itself(&error) => {
                tries += 1;
                metrics::counter!("stint_batch_conflicts_total", "lane" => L::NAME).increment(1);
            }
            ended => return ended.map_err(Error::for_callers),
        }
    }
}

fn is_unavailable(error: &Error) -> bool {
    error
        .refusal()
        .is_some_and(|refused| refused.code() == ErrorCode::ServiceUnavailable)
}

/// Deadlocks, serialisation failures, and two replicas inserting the same key: the second run sees the first.
fn passes_by_itself(error: &anyhow::Error) -> bool {
    let Some(sqlx::Error::Database(cause)) = error.downcast_ref::<sqlx::Error>() else {
        return false;
    };
    matches!(cause.code().as_deref(), Some("40P01" | "40001" | "23505"))
}

/// The same error for another member.
fn copy(error: &Error) -> Error {
    match error {
        Error::Refused(refused) => Error::Refused(refused.clone()),
        Error::Replayed { status, data } => Error::Replayed {
            status: *status,
            data: data.clone(),
        },
        Error::Internal(error) => Error::Internal(anyhow::anyhow!("{error:#}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers;

    impl Lane for Numbers {
        type Member = u32;
        type Answer = u32;
        type Key = u32;
        const NAME: &'static str = "numbers";

        fn key(member: &u32) -> Option<u32> {
            Some(*member)
        }

        fn weight(_: &u32) -> usize {
            1
        }

        async fn run(_: &App, members: &[u32]) -> Result<Vec<u32>, Error> {
            Ok(members.to_vec())
        }
    }

    fn limits() -> LimitConfig {
        crate::config::Config::for_database("postgres://nowhere/none").limits
    }

    #[tokio::test]
    async fn members_with_the_same_key_go_into_different_batches_in_their_order() {
        let (entrance, mut exit) = Entrance::<Numbers>::new(&limits());
        for member in [1, 2, 1, 3, 1] {
            let (answer, _) = oneshot::channel();
            entrance
                .waiting
                .send(Waiting { member, answer })
                .ok()
                .unwrap();
        }
        let mut put_off = VecDeque::new();
        let mut batches = Vec::new();
        loop {
            let batch = gather(&mut put_off, &mut exit);
            if batch.is_empty() {
                break;
            }
            batches.push(
                batch
                    .into_iter()
                    .map(|waiting| waiting.member)
                    .collect::<Vec<_>>(),
            );
        }
        assert_eq!(batches, [vec![1, 2, 3], vec![1], vec![1]]);
    }

    #[tokio::test]
    async fn a_full_lane_refuses_and_recovers() {
        let mut limits = limits();
        limits.lane_items_max = 1;
        let (entrance, _exit) = Entrance::<Numbers>::new(&limits);
        let share = entrance.enter(1).unwrap();
        let refusal = entrance.enter(1).err().unwrap();
        assert_eq!(refusal.refusal().unwrap().code(), ErrorCode::RateLimited);
        drop(share);
        entrance.enter(1).unwrap();
    }

    #[test]
    fn a_lane_is_bounded_by_bytes_too() {
        let mut limits = limits();
        limits.lane_bytes_max = 10;
        let (entrance, _exit) = Entrance::<Numbers>::new(&limits);
        assert!(entrance.enter(11).is_err());
        assert!(entrance.enter(10).is_ok());
    }
}
