//! From what became of a report to what its sender is told.

use protocol::{AgentId, ErrorCode, ReasonCode, Task, TaskId, TaskState, WorkerId};

use crate::error::{Error, Refused};
use crate::http::Caller;
use crate::queue::{Report, Verdict};

/// What a report is answered.
#[derive(Clone, Debug)]
pub struct Reported {
    /// Where the task is now.
    pub state: TaskState,
    /// The task as it is now, unless its sender does not care.
    pub task: Option<Task>,
    /// Whether the report had taken effect before.
    pub is_replay: bool,
}

impl Reported {
    /// A report that took effect, from a sender who wants to know no more.
    pub(super) fn moved_to(state: TaskState) -> Self {
        Self {
            state,
            task: None,
            is_replay: false,
        }
    }

    fn of(task: Task, is_replay: bool) -> Self {
        Self {
            state: task.state,
            task: Some(task),
            is_replay,
        }
    }
}

/// Who reports, checked against what the body says about it.
///
/// # Errors
/// 403 when the key acts for someone else than the body names.
pub(super) fn report_of(
    caller: &Caller,
    task: TaskId,
    attempt: Option<i32>,
    agent: Option<AgentId>,
    worker: Option<WorkerId>,
) -> Result<Report, Error> {
    if let (Some(own), Some(named)) = (caller.agent(), agent)
        && own != named
    {
        caller.must_be(Some(named), None)?;
    }
    if let (Some(own), Some(named)) = (caller.worker(), worker)
        && own != named
    {
        caller.must_be(None, Some(named))?;
    }
    Ok(Report {
        task,
        attempt,
        agent: caller.agent().or(agent),
        worker: caller.worker().or(worker),
        actor_type: caller.scope().as_str(),
        actor: caller.actor(),
    })
}

/// Refuses operators where only the holder can speak.
///
/// # Errors
/// 403 `not_holder`.
pub(super) fn only_holders(caller: &Caller) -> Result<(), Error> {
    if caller.is_operator() {
        return Err(not_holder(
            "only the agent that holds a task, or its worker, can report this",
        ));
    }
    Ok(())
}

/// The refusal of whoever does not hold the task.
pub(super) fn not_holder(message: &str) -> Error {
    Refused::new(ErrorCode::Forbidden, message)
        .reason(ReasonCode::NotHolder)
        .hint("claim the task first, with the key that will report on it")
        .into()
}

/// The refusal of a repeated claim whose attempt has ended.
pub(super) fn spent(task: TaskId, attempt: i32) -> Error {
    Refused::new(
        ErrorCode::Conflict,
        format!("this request got attempt {attempt} of task {task}, which holds it no longer"),
    )
    .reason(ReasonCode::LeaseLost)
    .hint("claim the next task under another request id")
    .current_attempt(attempt)
    .into()
}

/// The refusal of a report from an attempt that no longer counts.
pub(super) fn lease_lost(
    task: TaskId,
    reported: Option<i32>,
    current: i32,
    state: TaskState,
) -> Error {
    let reported = reported.map_or_else(
        || "the reporting attempt".to_owned(),
        |attempt| format!("attempt {attempt}"),
    );
    let now = match state {
        TaskState::Claimed | TaskState::InProgress => {
            format!("which is held by attempt {current} now")
        }
        _ => format!("which is {state} after attempt {current}"),
    };
    Refused::new(
        ErrorCode::Conflict,
        format!("{reported} no longer holds task {task}, {now}"),
    )
    .reason(ReasonCode::LeaseLost)
    .hint("stop working on it: what this attempt reports changes nothing")
    .current_attempt(current)
    .current_state(state.as_str())
    .into()
}

/// The refusal of a move that the table does not have.
pub(super) fn wrong_state(task: &Task, wanted: TaskState) -> Error {
    Refused::new(
        ErrorCode::InvalidStateTransition,
        format!(
            "task {} is {} and cannot become {wanted} this way",
            task.id, task.state
        ),
    )
    .hint("available_actions of the task lists what can be done now")
    .current_state(task.state.as_str())
    .requested_state(wanted.as_str())
    .into()
}

/// Tells what became of a report.
///
/// `is_same` says whether the task's end is what the report says: then it is a repetition.
pub(super) fn tell(
    report: &Report,
    verdict: Verdict,
    task: Option<Task>,
    wanted: TaskState,
    is_same: impl FnOnce(&Task) -> bool,
) -> Result<Reported, Error> {
    let Some(task) = task else {
        return Err(Error::not_found("task", report.task));
    };
    match verdict {
        Verdict::Moved => Ok(Reported::of(task, false)),
        Verdict::Replayed => Ok(Reported::of(task, true)),
        Verdict::Stale(current) => {
            Err(lease_lost(report.task, report.attempt, current, task.state))
        }
        Verdict::NotHolder => Err(not_holder("another agent or worker holds this task")),
        Verdict::AttemptMissing => Err(Refused::new(
            ErrorCode::SchemaValidationFailed,
            "a holder that registered with a protocol_version must name its attempt",
        )
        .reason(ReasonCode::AttemptMissing)
        .hint("send the attempt that the claim returned")
        .issue("attempt", "is missing")
        .into()),
        Verdict::NotStarted => Err(wrong_state(&task, wanted)),
        Verdict::Absent => absent(report, task, wanted, is_same),
        Verdict::CheckOutput | Verdict::HasDependants(_) | Verdict::Again => {
            Err(anyhow::anyhow!("a report was left undecided: {verdict:?}").into())
        }
    }
}

/// No attempt holds the task: a repetition of what ended it, or too late.
fn absent(
    report: &Report,
    task: Task,
    wanted: TaskState,
    is_same: impl FnOnce(&Task) -> bool,
) -> Result<Reported, Error> {
    // A task that was given up has forgotten its holder; its attempt still tells.
    let was_holder = task.assigned_agent_id.is_none()
        || (report
            .agent
            .is_none_or(|agent| task.assigned_agent_id == Some(agent))
            && report
                .worker
                .is_none_or(|worker| task.assigned_worker_id == Some(worker)));
    // Before its first claim a task has no attempt that could have reported.
    let is_attempt = report
        .attempt
        .is_none_or(|attempt| attempt == task.attempt && attempt > 0);
    if is_attempt && was_holder && is_same(&task) {
        return Ok(Reported::of(task, true));
    }
    let ended_by_holder = matches!(
        task.state,
        TaskState::Completed | TaskState::OutputPendingAssessment | TaskState::Failed
    );
    if is_attempt && was_holder && ended_by_holder && task.assigned_agent_id.is_some() {
        return Err(Refused::new(
            ErrorCode::Conflict,
            format!(
                "attempt {} of task {} has ended {} already, with another result",
                task.attempt, task.id, task.state
            ),
        )
        .reason(ReasonCode::ResultDiffers)
        .hint("the first result stands; read the task")
        .current_attempt(task.attempt)
        .current_state(task.state.as_str())
        .into());
    }
    if report.attempt.is_none() && (task.attempt == 0 || task.state.is_final()) {
        return Err(wrong_state(&task, wanted));
    }
    Err(lease_lost(
        report.task,
        report.attempt,
        task.attempt,
        task.state,
    ))
}
