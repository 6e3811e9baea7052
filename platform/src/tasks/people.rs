//! What people do with a task: let it run, judge its output, answer its call for help, give it to someone
//! else.
//!
//! A task of which people said `requires_approval` goes to `awaiting_approval` when nothing else keeps it
//! from running. What people answer is written where the next attempt looks: `context.rework`,
//! `context.escalation`. Whoever holds a task that is taken away hears of it with the next heartbeat.

use protocol::{
    AgentId, AnswerEscalation, EntityType, EscalateTask, JsonObject, OverrideOutput, ReassignTask,
    RejectTask, RequestChanges, SkipTask, Task, TaskError, TaskId, TaskMove, TaskState, WorkerId,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::operate::{lock, move_one, order, read, replace_input};
use super::{people_store, state, store, verdict};
use crate::error::Error;
use crate::events::{self, NewEvent};
use crate::http::{Write, check_length};
use crate::queue::{self, Destination, Moved, Order};

/// Longest feedback, reason or instruction.
const WORDS_MAX: usize = 4000;
const AT_THE_END: Destination = Destination::Ready { keeps_place: false };

/// Lets a task run.
pub(crate) async fn approve_task(write: &mut Write, id: TaskId) -> Result<Task, Error> {
    decide(write, id, TaskMove::Approve, AT_THE_END, |_| {}).await
}

/// Accepts an output: the task is completed, with all that follows.
pub(crate) async fn approve_task_output(write: &mut Write, id: TaskId) -> Result<Task, Error> {
    let to = Destination::Ended(TaskState::Completed);
    decide(write, id, TaskMove::ApproveOutput, to, |_| {}).await
}

/// Refuses a task or its output: it fails, and keeps the output for people to look at.
pub(crate) async fn reject_task(
    write: &mut Write,
    id: TaskId,
    body: RejectTask,
) -> Result<Task, Error> {
    check_length("feedback", &body.feedback, 1..=WORDS_MAX)?;
    let error = failure("assessment_rejected", body.feedback, true)?;
    let to = Destination::Ended(TaskState::Failed);
    decide(write, id, TaskMove::Reject, to, |order| {
        order.outcome.error = Some(error);
    })
    .await
}

/// Wants a task done again. After as many reworks as it allows it fails.
pub(crate) async fn request_task_changes(
    write: &mut Write,
    id: TaskId,
    body: RequestChanges,
) -> Result<Task, Error> {
    check_length("feedback", &body.feedback, 1..=WORDS_MAX)?;
    let before = lock(write, id).await?;
    let cycle = before.rework_count + 1;
    if cycle > before.max_reworks {
        let message = format!(
            "it was sent back {} times, which is as often as it allows; the last feedback: {}",
            before.max_reworks, body.feedback
        );
        let error = failure("max_rework_exceeded", message, false)?;
        let to = Destination::Ended(TaskState::Failed);
        return decide(write, id, TaskMove::RequestChanges, to, |order| {
            order.outcome.error = Some(error);
        })
        .await;
    }
    if body.preferred_agent_id.is_some() || body.preferred_worker_id.is_some() {
        prefer(
            write,
            &before,
            body.preferred_agent_id,
            body.preferred_worker_id,
        )
        .await?;
    }
    let data = json!({ "feedback": body.feedback, "rework": cycle }).to_string();
    decide(write, id, TaskMove::RequestChanges, AT_THE_END, |order| {
        order.retries = 1;
        order.reworks = 1;
        order.forgets_outcome = true;
        order.event_data = Some(data);
    })
    .await?;
    let told = json!({ "cycle": cycle, "feedback": body.feedback, "output": before.output });
    tell_next_attempt(write, &before, "rework", told).await?;
    if let Some(input) = &body.override_input {
        replace_input(write, id, input).await?;
    }
    read(write, id).await
}

/// Passes over a task: it counts as completed.
pub(crate) async fn skip_task(
    write: &mut Write,
    id: TaskId,
    body: SkipTask,
) -> Result<Task, Error> {
    check_length("reason", &body.reason, 1..=WORDS_MAX)?;
    let output = json!({ "skipped": true, "reason": body.reason }).to_string();
    complete_by_hand(write, id, TaskMove::Skip, output, None).await
}

/// Gives the output of a task by hand: it counts as completed.
pub(crate) async fn override_task_output(
    write: &mut Write,
    id: TaskId,
    body: OverrideOutput,
) -> Result<Task, Error> {
    check_length("reason", &body.reason, 1..=WORDS_MAX)?;
    let output = body.output.text().to_owned();
    let data = json!({ "override_reason": body.reason }).to_string();
    complete_by_hand(write, id, TaskMove::OverrideOutput, output, Some(data)).await
}

async fn complete_by_hand(
    write: &mut Write,
    id: TaskId,
    made: TaskMove,
    output: String,
    data: Option<String>,
) -> Result<Task, Error> {
    let to = Destination::Ended(TaskState::Completed);
    decide(write, id, made, to, |order| {
        order.forgets_outcome = true;
        order.outcome.output = Some(output);
        order.event_data = data;
    })
    .await
}

/// Says who may take a task. Who holds it loses it; a task that still waits for something goes on waiting.
pub(crate) async fn reassign_task(
    write: &mut Write,
    id: TaskId,
    body: ReassignTask,
) -> Result<Task, Error> {
    check_length("reason", &body.reason, 1..=WORDS_MAX)?;
    let before = lock(write, id).await?;
    if !state::sources(TaskMove::Reassign).contains(&before.state) {
        return Err(verdict::wrong_state(&before, TaskState::Ready));
    }
    prefer(
        write,
        &before,
        body.preferred_agent_id,
        body.preferred_worker_id,
    )
    .await?;
    let data = json!({ "reassign_reason": body.reason }).to_string();
    if matches!(
        before.state,
        TaskState::Pending | TaskState::AwaitingApproval
    ) {
        return read(write, id).await;
    }
    decide(write, id, TaskMove::Reassign, AT_THE_END, |order| {
        order.forgets_outcome = true;
        order.event_data = Some(data);
    })
    .await
}

/// Takes a task from its holder, or from its failure, and asks a person for help.
pub(super) async fn escalate_task(
    write: &mut Write,
    id: TaskId,
    body: EscalateTask,
) -> Result<Task, Error> {
    if let Some(target) = &body.escalation_target {
        check_length("escalation_target", target, 1..=255)?;
    }
    let question = json!({ "reason": body.reason, "escalation_target": body.escalation_target });
    escalate_with(write, id, &body.reason, &question).await
}

/// Takes a task from its holder, or from its failure, and asks a person this.
pub(crate) async fn escalate_with(
    write: &mut Write,
    id: TaskId,
    reason: &str,
    question: &Value,
) -> Result<Task, Error> {
    check_length("reason", reason, 1..=WORDS_MAX)?;
    let to = Destination::Parked(TaskState::Escalated);
    decide(write, id, TaskMove::Escalate, to, |order| {
        order.outcome.question = Some(question.to_string());
    })
    .await
}

/// Answers a call for help. The task stays where it is: the answer waits for whoever resolves it.
pub(super) async fn answer_task_escalation(
    write: &mut Write,
    id: TaskId,
    body: AnswerEscalation,
) -> Result<Task, Error> {
    check_length("instructions", &body.instructions, 1..=WORDS_MAX)?;
    let before = lock(write, id).await?;
    if before.state != TaskState::Escalated {
        return Err(verdict::wrong_state(&before, TaskState::Escalated));
    }
    tell_answer(write, &before, &body).await?;
    let caller = write.caller();
    let event = NewEvent {
        event_type: "task.escalation_answered",
        entity_type: EntityType::Task,
        entity: id.uuid(),
        actor_type: caller.scope().as_str(),
        actor: Some(caller.actor()),
        data: JsonObject::from_text(json!({ "instructions": body.instructions }).to_string())?,
    };
    let tenant = caller.tenant();
    events::append(write.conn(), tenant, &[event]).await?;
    read(write, id).await
}

/// Answers a call for help, and lets the task go on with a new attempt.
pub(crate) async fn resolve_task_escalation(
    write: &mut Write,
    id: TaskId,
    body: AnswerEscalation,
) -> Result<Task, Error> {
    check_length("instructions", &body.instructions, 1..=WORDS_MAX)?;
    let before = lock(write, id).await?;
    decide(
        write,
        id,
        TaskMove::ResolveEscalation,
        AT_THE_END,
        |order| {
            order.forgets_outcome = true;
        },
    )
    .await?;
    tell_answer(write, &before, &body).await?;
    read(write, id).await
}

async fn tell_answer(write: &mut Write, task: &Task, body: &AnswerEscalation) -> Result<(), Error> {
    let told = json!({
        "question": task.question, "instructions": body.instructions, "context": body.context,
    });
    tell_next_attempt(write, task, "escalation", told).await
}

/// Writes into the context of a task what the next attempt should know.
async fn tell_next_attempt(
    write: &mut Write,
    task: &Task,
    member: &str,
    told: Value,
) -> Result<(), Error> {
    let mut context = task.context.members();
    context.insert(member.to_owned(), told);
    let context = JsonObject::from(context);
    let tenant = write.caller().tenant();
    people_store::replace_context(write.conn(), tenant, task.id, context.text()).await
}

/// Says who alone may claim a task; nobody named: whoever serves its tag.
async fn prefer(
    write: &mut Write,
    task: &Task,
    agent: Option<AgentId>,
    worker: Option<WorkerId>,
) -> Result<(), Error> {
    let (agent, worker) = (agent.map(AgentId::uuid), worker.map(WorkerId::uuid));
    let named: Vec<Uuid> = agent.into_iter().chain(worker).collect();
    let tenant = write.caller().tenant();
    let known = store::holders_exist(write.conn(), tenant, &named).await?;
    if let Some(missing) = named.iter().find(|id| !known.contains(id)) {
        return Err(Error::not_found("agent or worker", missing));
    }
    let lane = queue::lane_of(
        task.role.as_deref(),
        task.is_orchestrator_task,
        agent.or(worker),
    );
    people_store::prefer(write.conn(), tenant, task.id, agent, worker).await?;
    queue::change_lane(write.conn(), tenant, task.id, &lane).await
}

fn failure(category: &str, message: String, recoverable: bool) -> Result<String, Error> {
    Ok(serde_json::to_string(&TaskError {
        category: Some(category.to_owned()),
        message,
        recoverable: Some(recoverable),
        details: None,
    })?)
}

/// Makes a move that the table has, or tells why not.
async fn decide(
    write: &mut Write,
    id: TaskId,
    made: TaskMove,
    to: Destination,
    change: impl FnOnce(&mut Order),
) -> Result<Task, Error> {
    let mut order = order(write, id, state::sources(made), to, made.as_str());
    change(&mut order);
    match move_one(write, id, order).await? {
        Moved::Yes { .. } => read(write, id).await,
        Moved::Elsewhere { .. } => Err(verdict::wrong_state(&read(write, id).await?, to.state())),
        Moved::Absent => Err(Error::not_found("task", id)),
    }
}
