//! The holder gives a task up: it failed, or it is handed back.

use protocol::{
    AgentEscalate, FailTask, JsonObject, ReleaseTask, RetryPolicy, Task, TaskError, TaskId,
    TaskMove, TaskState, TenantId,
};
use uuid::Uuid;

use super::verdict::{self, Reported};
use super::{retry, state, store};
use crate::app::App;
use crate::batch::Lane;
use crate::consequences;
use crate::db::{LaneDb, Tx};
use crate::error::Error;
use crate::http::{Caller, check_length};
use crate::queue::{self, Destination, HeldTask, Moved, Order, Report, Verdict};

/// Longest progress, in bytes.
const PROGRESS_BYTES_MAX: usize = 8 * 1024;

/// What waits together to be given up commits together.
pub struct HandInLane;

/// A task that is given up.
pub struct Member {
    tenant: TenantId,
    report: Report,
    /// Operators may give up what others hold, whatever its attempt.
    is_operator: bool,
    /// The workspaces that the key is restricted to, if it is.
    workspaces: Option<Vec<Uuid>>,
    why: Why,
}

enum Why {
    Failed {
        error: TaskError,
        retry_after_seconds: Option<f64>,
        metrics: Option<String>,
        git_info: Option<String>,
    },
    Released {
        reason: Option<String>,
        progress: Option<String>,
    },
    Escalated {
        question: String,
    },
}

impl Member {
    /// Checks a failure as far as the database is not needed.
    ///
    /// # Errors
    /// 422 for what does not fit, 403 for keys that act for someone else.
    pub(super) fn failed(caller: &Caller, task: TaskId, body: FailTask) -> Result<Self, Error> {
        check_length("error.message", &body.error.message, 1..=8000)?;
        if let Some(category) = &body.error.category {
            check_length("error.category", category, 1..=120)?;
        }
        if body
            .retry_after_seconds
            .is_some_and(|seconds| !(0.0..=86_400.0).contains(&seconds))
        {
            return Err(Error::field(
                "retry_after_seconds",
                "must be between 0 and 86400",
            ));
        }
        let text = |object: Option<JsonObject>| object.map(|object| object.text().to_owned());
        let why = Why::Failed {
            error: body.error,
            retry_after_seconds: body.retry_after_seconds,
            metrics: text(body.metrics),
            git_info: text(body.git_info),
        };
        let report = verdict::report_of(caller, task, body.attempt, body.agent_id, body.worker_id)?;
        Ok(Self {
            tenant: caller.tenant(),
            report,
            is_operator: caller.is_operator(),
            workspaces: caller.workspace_filter(),
            why,
        })
    }

    /// Checks a release as far as the database is not needed.
    ///
    /// # Errors
    /// 422 for what does not fit, 403 for keys that act for someone else.
    pub(super) fn released(
        caller: &Caller,
        task: TaskId,
        body: ReleaseTask,
    ) -> Result<Self, Error> {
        if let Some(reason) = &body.reason {
            check_length("reason", reason, 1..=255)?;
        }
        if body
            .progress
            .as_ref()
            .is_some_and(|progress| progress.text().len() > PROGRESS_BYTES_MAX)
        {
            return Err(Error::field(
                "progress",
                format!("must have at most {PROGRESS_BYTES_MAX} bytes"),
            ));
        }
        let why = Why::Released {
            reason: body.reason,
            progress: body.progress.map(|progress| progress.text().to_owned()),
        };
        let report = verdict::report_of(caller, task, body.attempt, body.agent_id, body.worker_id)?;
        Ok(Self {
            tenant: caller.tenant(),
            report,
            is_operator: caller.is_operator(),
            workspaces: caller.workspace_filter(),
            why,
        })
    }

    /// Checks a call for help as far as the database is not needed.
    ///
    /// # Errors
    /// 422 for what does not fit, 403 for keys that act for someone else.
    pub(super) fn escalated(
        caller: &Caller,
        task: TaskId,
        body: AgentEscalate,
    ) -> Result<Self, Error> {
        check_length("reason", &body.reason, 1..=4000)?;
        for (path, text, max) in [
            ("context_summary", &body.context_summary, 4000),
            ("work_so_far", &body.work_so_far, 8000),
        ] {
            if let Some(text) = text {
                check_length(path, text, 0..=max)?;
            }
        }
        let question = serde_json::json!({
            "reason": body.reason,
            "context_summary": body.context_summary,
            "work_so_far": body.work_so_far,
        });
        let report = verdict::report_of(caller, task, body.attempt, body.agent_id, body.worker_id)?;
        Ok(Self {
            tenant: caller.tenant(),
            report,
            is_operator: caller.is_operator(),
            workspaces: caller.workspace_filter(),
            why: Why::Escalated {
                question: question.to_string(),
            },
        })
    }

    fn wanted(&self) -> TaskState {
        match self.why {
            Why::Failed { .. } => TaskState::Failed,
            Why::Released { .. } => TaskState::Ready,
            Why::Escalated { .. } => TaskState::Escalated,
        }
    }

    fn weight(&self) -> usize {
        size_of::<Self>()
            + match &self.why {
                Why::Failed { error, .. } => error.message.len(),
                Why::Released { progress, .. } => progress.as_ref().map_or(0, String::len),
                Why::Escalated { question } => question.len(),
            }
    }

    /// Whether the key may see the task.
    fn reaches(&self, task: &Task) -> bool {
        let workspace = task.workspace_id.map(protocol::WorkspaceId::uuid);
        self.workspaces
            .as_ref()
            .is_none_or(|allowed| workspace.is_some_and(|id| allowed.contains(&id)))
    }

    fn order(&self, held: &HeldTask) -> Result<Order, Error> {
        let mut order = match &self.why {
            Why::Failed {
                error,
                retry_after_seconds,
                metrics,
                git_info,
            } => {
                let mut order = match held.is_cancelled {
                    true => order_for_cancelled(held, Some(error))?,
                    false => order_for_failure(held, error, *retry_after_seconds)?,
                };
                order.outcome.metrics = metrics.clone();
                order.outcome.git_info = git_info.clone();
                order
            }
            Why::Released { reason, progress } => {
                let mut order = match held.is_cancelled {
                    true => order_for_cancelled(held, None)?,
                    false => order_for_release(held),
                };
                order.outcome.progress = progress.clone();
                order.event_data = reason
                    .as_ref()
                    .map(|reason| serde_json::json!({ "release_reason": reason }).to_string());
                order
            }
            Why::Escalated { question } => {
                let mut order = match held.is_cancelled {
                    true => order_for_cancelled(held, None)?,
                    false => Order::by_system(
                        held.task,
                        state::sources(TaskMove::Escalate),
                        Destination::Parked(TaskState::Escalated),
                        "escalate",
                    ),
                };
                order.outcome.question = Some(question.clone());
                order.event_data = Some(question.clone());
                order
            }
        };
        order.attempt = Some(held.attempt);
        order.actor_type = self.report.actor_type;
        order.actor = Some(self.report.actor);
        Ok(order)
    }
}

/// A task that is handed back goes to its old place.
fn order_for_release(held: &HeldTask) -> Order {
    let to = Destination::Ready { keeps_place: true };
    let mut order = Order::by_system(held.task, state::sources(TaskMove::Release), to, "release");
    order.forgets_outcome = true;
    order
}

/// The run of a held task was cancelled: however its holder gives it up, it is cancelled.
fn order_for_cancelled(held: &HeldTask, error: Option<&TaskError>) -> Result<Order, Error> {
    let to = Destination::Ended(TaskState::Cancelled);
    let mut order = Order::by_system(held.task, state::sources(TaskMove::Cancel), to, "cancel");
    order.attempt = Some(held.attempt);
    order.outcome.error = error.map(serde_json::to_string).transpose()?;
    Ok(order)
}

/// A failure is followed by a retry when the task's policy says so, else it is final.
fn order_for_failure(
    held: &HeldTask,
    error: &TaskError,
    asked: Option<f64>,
) -> Result<Order, Error> {
    let policy: Option<RetryPolicy> = held
        .retry_policy
        .as_deref()
        .map(serde_json::from_str)
        .transpose()?;
    let pause = retry::pause_seconds(
        policy.as_ref(),
        error,
        held.retry_count,
        asked,
        rand::random(),
    );
    let text = serde_json::to_string(error)?;
    let (to, wanted, reason) = match pause {
        Some(seconds) => (
            Destination::Waiting { seconds },
            TaskMove::ScheduleRetry,
            "schedule_retry",
        ),
        None => (
            Destination::Ended(TaskState::Failed),
            TaskMove::Fail,
            "fail",
        ),
    };
    let mut order = Order::by_system(held.task, state::sources(wanted), to, reason);
    order.attempt = Some(held.attempt);
    match pause {
        Some(seconds) => {
            order.retries = 1;
            order.forgets_outcome = true;
            let data = serde_json::json!({ "error": error, "retry_in_seconds": seconds, "retry_count": held.retry_count + 1 });
            order.event_data = Some(data.to_string());
        }
        None => {
            order.event_data = Some(serde_json::json!({ "error": error }).to_string());
            order.outcome.error = Some(text);
        }
    }
    Ok(order)
}

impl Lane for HandInLane {
    type Member = Member;
    type Answer = Result<Reported, Error>;
    type Key = TaskId;
    const NAME: &'static str = "hand_in";

    fn key(member: &Member) -> Option<TaskId> {
        Some(member.report.task)
    }

    fn weight(member: &Member) -> usize {
        member.weight()
    }

    async fn run(app: &App, members: &[Member]) -> Result<Vec<Self::Answer>, Error> {
        let mut answers = super::Answers::for_batch_of(members.len());
        for (tenant, group, places) in super::by_tenant(members, |member| member.tenant) {
            answers.put(&places, serve(app, tenant, &group).await?);
        }
        Ok(answers.in_order())
    }
}

async fn serve(
    app: &App,
    tenant: TenantId,
    group: &[&Member],
) -> Result<Vec<Result<Reported, Error>>, Error> {
    let ids: Vec<Uuid> = group
        .iter()
        .map(|member| member.report.task.uuid())
        .collect();
    let mut tx = app.db.begin_lane(LaneDb::HandIn).await?;
    let held = queue::lock_held(tx.conn(), tenant, &ids).await?;
    let find = |task: TaskId| held.iter().find(|held| held.task == task);
    // Restricted keys are rare: only they cost a look before the move. A task stays in its workspace.
    let seen = match group.iter().any(|member| member.workspaces.is_some()) {
        true => store::records(tx.conn(), tenant, &ids).await?,
        false => Default::default(),
    };
    let is_hidden = |member: &Member| {
        let task = seen.get(&member.report.task);
        task.is_some_and(|task| !member.reaches(task))
    };
    let verdicts: Vec<Verdict> = group
        .iter()
        .map(|member| match is_hidden(member) {
            true => Verdict::Absent,
            false => super::judge(&member.report, find(member.report.task), member.is_operator),
        })
        .collect();
    let mut orders = Vec::new();
    for (member, verdict) in group.iter().zip(&verdicts) {
        if let (Verdict::Moved, Some(held)) = (verdict, find(member.report.task)) {
            orders.push(member.order(held)?);
        }
    }
    let moved = consequences::move_held_and_follow(&mut tx, tenant, &orders).await?;
    debug_assert!(
        moved.iter().all(|moved| matches!(moved, Moved::Yes { .. })),
        "a locked lease moved away"
    );
    let mut records = store::records(tx.conn(), tenant, &ids).await?;
    tx.commit(app).await?;
    let answers = group.iter().zip(verdicts).map(|(member, verdict)| {
        let task = records
            .remove(&member.report.task)
            .filter(|task| member.reaches(task));
        verdict::tell(&member.report, verdict, task, member.wanted(), |task| {
            is_same(member, task)
        })
    });
    Ok(answers.collect())
}

/// Whether the task is where this report had put it.
fn is_same(member: &Member, task: &Task) -> bool {
    match &member.why {
        // A failure that was followed by a retry left its error in the event, not in the task.
        Why::Failed { error, .. } => match task.state {
            TaskState::Failed | TaskState::Cancelled => task.error.as_ref() == Some(error),
            state => {
                state == TaskState::Pending
                    && member.report.attempt.is_some()
                    && task.retry_count > 0
            }
        },
        Why::Released { .. } => task.state == TaskState::Ready && member.report.attempt.is_some(),
        Why::Escalated { question } => {
            task.state == TaskState::Escalated
                && task.question == JsonObject::from_text(question.clone()).ok()
        }
    }
}

/// Attempts took longer than their task allows: they fail like any other, with the retries due to them. Those
/// of a cancelled run are cancelled.
///
/// # Errors
/// Those of the database.
pub async fn fail_timed_out(
    tx: &mut Tx,
    tenant: TenantId,
    attempts: &[(TaskId, i32)],
) -> Result<(), Error> {
    let ids: Vec<Uuid> = attempts.iter().map(|(task, _)| task.uuid()).collect();
    let mut orders = Vec::new();
    for held in queue::lock_held(tx.conn(), tenant, &ids).await? {
        if !attempts.contains(&(held.task, held.attempt)) {
            continue;
        }
        if held.is_cancelled {
            tracing::info!(task.id = %held.task, task.attempt = held.attempt, "task {} was cancelled, and its holder did not end it", held.task);
            orders.push(order_for_cancelled(&held, None)?);
            continue;
        }
        let error = TaskError {
            category: Some("timeout".to_owned()),
            message: format!(
                "attempt {} took longer than timeout_minutes allows",
                held.attempt
            ),
            recoverable: None,
            details: None,
        };
        orders.push(order_for_failure(&held, &error, None)?);
        tracing::info!(task.id = %held.task, task.attempt = held.attempt, "task {} timed out", held.task);
    }
    consequences::move_held_and_follow(tx, tenant, &orders).await?;
    Ok(())
}
