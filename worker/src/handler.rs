//! What runs a task: a handler, what it is given, and what it gives back.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stint_protocol::client::{Client, Steering};
use stint_protocol::{ClaimedTask, ExecutionMode, Json, JsonObject, PendingMessage, TaskType};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::lease::Progress;
use crate::logs::{LogSink, Stream};

/// How long a handler has to come to an end once it was asked to.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What a handler returns: the output of the task, or why it failed.
pub type HandlerResult = Result<Json, Failure>;

/// A handler at work.
pub type HandlerFuture = Pin<Box<dyn Future<Output = HandlerResult> + Send>>;

/// Runs tasks, several at once if the worker has the capacity.
///
/// Every async function from [`TaskRun`] to `Result<impl Serialize, Failure>` is a handler.
pub trait Handler: Send + Sync + 'static {
    /// Runs one attempt of a task.
    ///
    /// When [`TaskRun::stopped`] comes true the attempt is over or is to be handed back: return
    /// soon. After [`Handler::stop_grace`] the future is dropped.
    fn run(self: Arc<Self>, run: TaskRun) -> HandlerFuture;

    /// How long an attempt may take, if less than the task allows.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// How long the handler has to come to an end once it was asked to.
    fn stop_grace(&self) -> Duration {
        STOP_GRACE
    }
}

impl<F, Ending, Output> Handler for F
where
    F: Fn(TaskRun) -> Ending + Send + Sync + 'static,
    Ending: Future<Output = Result<Output, Failure>> + Send + 'static,
    Output: Serialize,
{
    fn run(self: Arc<Self>, run: TaskRun) -> HandlerFuture {
        let ending = self(run);
        Box::pin(async move { Ok(Json::of(&ending.await?)?) })
    }
}

/// Which tasks a handler serves. Where several fit, the first in this order runs the task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    /// Tasks that steer a run: the handler is an orchestrator.
    Orchestrator,
    /// Tasks of this role and this type.
    RoleAndType(String, TaskType),
    /// Tasks of this role.
    Role(String),
    /// Tasks of this type: those without a role, or of a role that another handler serves.
    Type(TaskType),
    /// Tasks without a role.
    NoRole,
}

impl Match {
    /// Tasks of this role.
    pub fn role(role: impl Into<String>) -> Self {
        Self::Role(role.into())
    }

    fn fits(&self, task: &ClaimedTask) -> bool {
        let has_role = |role: &String| task.role.as_ref() == Some(role);
        match self {
            Self::Orchestrator => task.is_orchestrator_task,
            Self::RoleAndType(role, task_type) => has_role(role) && task.task_type == *task_type,
            Self::Role(role) => has_role(role),
            Self::Type(task_type) => task.task_type == *task_type,
            Self::NoRole => task.role.is_none(),
        }
    }
}

impl std::fmt::Display for Match {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Orchestrator => f.write_str("tasks that steer a run"),
            Self::RoleAndType(role, task_type) => write!(f, "role {role:?} and type {task_type}"),
            Self::Role(role) => write!(f, "role {role:?}"),
            Self::Type(task_type) => write!(f, "type {task_type}"),
            Self::NoRole => f.write_str("tasks without a role"),
        }
    }
}

/// The handlers of a worker, the most specific first.
#[derive(Clone, Default)]
pub(crate) struct Handlers(Vec<(Match, Arc<dyn Handler>)>);

impl Handlers {
    pub(crate) fn add(&mut self, serves: Match, handler: Arc<dyn Handler>) {
        self.0.push((serves, handler));
        self.0.sort_by(|one, two| one.0.cmp(&two.0));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first match that two handlers claim for themselves.
    pub(crate) fn duplicate(&self) -> Option<&Match> {
        let same = self.0.windows(2).find(|pair| pair[0].0 == pair[1].0);
        same.map(|pair| &pair[0].0)
    }

    pub(crate) fn find(&self, task: &ClaimedTask) -> Option<Arc<dyn Handler>> {
        let fitting = self.0.iter().find(|(serves, _)| serves.fits(task));
        fitting.map(|(_, handler)| Arc::clone(handler))
    }

    /// The tags that a claim must name to be given what the handlers serve.
    pub(crate) fn routing_tags(&self) -> Vec<String> {
        let tags: BTreeSet<String> = self
            .0
            .iter()
            .filter_map(|(serves, _)| match serves {
                Match::Orchestrator => Some("orchestrator".to_owned()),
                Match::RoleAndType(role, _) | Match::Role(role) => Some(format!("role:{role}")),
                Match::Type(_) | Match::NoRole => None,
            })
            .collect();
        tags.into_iter().collect()
    }

    /// Which tasks an agent with these handlers takes; by default all but those that steer.
    pub(crate) fn execution_mode(&self) -> Option<ExecutionMode> {
        let steers = |(serves, _): &&(Match, _)| *serves == Match::Orchestrator;
        let steering = self.0.iter().filter(steers).count();
        match (steering, self.0.len()) {
            (0, _) => None,
            (steering, all) if steering == all => Some(ExecutionMode::Orchestrator),
            _ => Some(ExecutionMode::Hybrid),
        }
    }

    pub(crate) fn longest_stop_grace(&self) -> Duration {
        let graces = self.0.iter().map(|(_, handler)| handler.stop_grace());
        graces.max().unwrap_or(STOP_GRACE)
    }
}

/// One attempt of a task, as its handler sees it.
pub struct TaskRun {
    pub(crate) task: ClaimedTask,
    pub(crate) client: Client,
    pub(crate) logs: LogSink,
    pub(crate) progress: Progress,
    pub(crate) stopped: CancellationToken,
    pub(crate) messages: Mutex<mpsc::UnboundedReceiver<PendingMessage>>,
}

impl TaskRun {
    /// The task, as it was claimed.
    pub fn task(&self) -> &ClaimedTask {
        &self.task
    }

    /// Talks to the platform with the worker's own key.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Steers the run whose orchestrator this attempt is. When another attempt has taken its place, whatever
    /// it still asks for is refused.
    pub fn steering(&self) -> Steering {
        self.client.steering(self.task.id, Some(self.task.attempt))
    }

    /// Reads the task's input into a type.
    ///
    /// # Errors
    /// When the input does not fit the type: a failure that no retry can cure.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(self.task.input.text()).map_err(|error| {
            Failure::new(format!("the input does not fit: {error}"))
                .category("invalid_input")
                .recoverable(false)
        })
    }

    /// Writes to the task's log; each line is one entry. Never waits: when the platform cannot
    /// keep up, lines are dropped and counted.
    pub fn log(&self, text: &str) {
        for line in text.lines() {
            self.logs.line(Stream::Stdout, line);
        }
    }

    /// The task's log, to keep or to give away.
    pub fn logs(&self) -> &LogSink {
        &self.logs
    }

    /// Tells how far the attempt has come. The platform learns it with the next heartbeat, and
    /// the next attempt is given it in [`ClaimedTask::progress`].
    ///
    /// # Errors
    /// When it is larger than 8 KiB; what was told before then stays.
    pub fn set_progress(&self, progress: JsonObject) -> Result<(), Failure> {
        self.progress.set(progress)
    }

    /// Waits for the next message to this attempt from the orchestrator of its run, or from an operator. They
    /// come in the order in which they were sent, each once, with the heartbeats of the worker: seconds after they
    /// were sent. An attempt that follows an earlier one is told again what that one was told.
    ///
    /// Nothing when no more can come.
    pub async fn next_message(&self) -> Option<PendingMessage> {
        self.messages.lock().await.recv().await
    }

    /// Comes true when the attempt is over or is to be handed back.
    pub async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    /// Whether the attempt is over or is to be handed back.
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_cancelled()
    }
}

/// Why a task failed. Any error turns into one with `?`.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What kind of failure, for a retry policy to decide by: free text.
    pub category: Option<String>,
    /// What happened. Secrets are masked before it is sent.
    pub message: String,
    /// Whether another attempt can succeed. Decides before the category does.
    pub recoverable: Option<bool>,
    /// How long to wait before a retry, in place of the policy's pause.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure of category `handler_error`, about which the retry policy decides.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            category: Some("handler_error".to_owned()),
            message: message.into(),
            recoverable: None,
            retry_after: None,
        }
    }

    /// The same failure with another category.
    #[must_use]
    pub fn category(mut self, category: impl Into<String>) -> Self {
        self.category = Some(category.into());
        self
    }

    /// The same failure, saying whether another attempt can succeed.
    #[must_use]
    pub fn recoverable(mut self, recoverable: bool) -> Self {
        self.recoverable = Some(recoverable);
        self
    }

    /// The same failure, asking for this pause before a retry.
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::lease::tests::claimed_task;

    /// A client of a platform that is not there.
    pub(crate) fn nowhere() -> Client {
        Client::without_key("http://127.0.0.1:9").expect("an address")
    }

    fn handlers(matches: &[Match]) -> Handlers {
        let mut handlers = Handlers::default();
        for serves in matches {
            let name = serves.to_string();
            let handler = move |_run: TaskRun| {
                let name = name.clone();
                async move { Ok::<_, Failure>(name) }
            };
            handlers.add(serves.clone(), Arc::new(handler));
        }
        handlers
    }

    fn served_by(handlers: &Handlers, task: &ClaimedTask) -> Option<Match> {
        let position = handlers.0.iter().position(|(serves, _)| serves.fits(task));
        position.map(|position| handlers.0[position].0.clone())
    }

    #[test]
    fn the_most_specific_handler_runs_the_task() {
        let exact = Match::RoleAndType("writer".to_owned(), TaskType::Docs);
        let handlers = handlers(&[
            Match::NoRole,
            Match::Type(TaskType::Code),
            Match::role("writer"),
            exact.clone(),
        ]);
        let mut task = claimed_task();
        task.role = Some("writer".to_owned());
        task.task_type = TaskType::Docs;
        assert_eq!(served_by(&handlers, &task), Some(exact));
        task.task_type = TaskType::Code;
        assert_eq!(served_by(&handlers, &task), Some(Match::role("writer")));
        task.role = None;
        assert_eq!(
            served_by(&handlers, &task),
            Some(Match::Type(TaskType::Code))
        );
        task.task_type = TaskType::Test;
        assert_eq!(served_by(&handlers, &task), Some(Match::NoRole));
        task.role = Some("stranger".to_owned());
        assert_eq!(served_by(&handlers, &task), None);
    }

    #[test]
    fn roles_become_routing_tags() {
        let handlers = handlers(&[
            Match::role("b"),
            Match::RoleAndType("b".to_owned(), TaskType::Docs),
            Match::role("a"),
            Match::NoRole,
        ]);
        assert_eq!(handlers.routing_tags(), ["role:a", "role:b"]);
        assert!(handlers.duplicate().is_none());
    }

    #[test]
    fn an_orchestrator_takes_what_steers_and_a_hybrid_the_rest_too() {
        let mut steering = claimed_task();
        steering.is_orchestrator_task = true;
        steering.role = Some("orchestrator".to_owned());
        let both = handlers(&[Match::role("orchestrator"), Match::Orchestrator]);
        assert_eq!(served_by(&both, &steering), Some(Match::Orchestrator));
        assert_eq!(both.routing_tags(), ["orchestrator", "role:orchestrator"]);
        assert_eq!(both.execution_mode(), Some(ExecutionMode::Hybrid));
        let alone = handlers(&[Match::Orchestrator]);
        assert_eq!(alone.execution_mode(), Some(ExecutionMode::Orchestrator));
        assert_eq!(handlers(&[Match::NoRole]).execution_mode(), None);
    }
}
