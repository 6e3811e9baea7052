//! Writing down what has happened in a run, for its orchestrator.

use std::collections::BTreeSet;

use protocol::{
    ActivationId, EntityType, JsonObject, TaskId, TaskState, TenantId, WorkflowId, WorkflowState,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::advance::{advance, step_in};
use super::store;
use crate::db::{Note, Tx};
use crate::error::Error;
use crate::events::{self, NewEvent};
use crate::queue::{Destination, Order};

/// What is not urgent wakes the orchestrator after this long, so that what people do in one go is told in
/// one go. With anything urgent it goes along at once.
const DELAY_SECONDS: f64 = 10.0;

/// Kinds of things that wake an orchestrator at once; a name that ends in `*` stands for all that begin so.
const URGENT: &[&str] = &[
    "heartbeat",
    "workflow.created",
    "workflow.resumed",
    "work_item.created",
    "task.*",
    "stage.gate.*",
    "child_workflow.*",
    "operator.*",
];

/// Something that has happened in a run.
#[derive(Clone, Debug)]
pub(crate) struct Wake {
    /// What kind of thing, such as `work_item.created`.
    pub(crate) event_type: String,
    /// For the orchestrator: why it matters.
    pub(crate) reason: String,
    /// What there is to know about it.
    pub(crate) payload: JsonObject,
    /// The work item it is about.
    pub(crate) work_item: Option<Uuid>,
    /// The stage it is about.
    pub(crate) stage: Option<String>,
    /// Whether a person did it: then an orchestrator that has failed too often is tried again.
    pub(crate) is_by_person: bool,
}

impl Wake {
    /// Something that has happened.
    pub(crate) fn new(
        event_type: impl Into<String>,
        reason: impl Into<String>,
        payload: Value,
    ) -> Self {
        let Value::Object(members) = payload else {
            unreachable!("what there is to know is an object")
        };
        Self {
            event_type: event_type.into(),
            reason: reason.into(),
            payload: members.into(),
            work_item: None,
            stage: None,
            is_by_person: false,
        }
    }

    /// Says which work item it is about.
    pub(crate) fn of_item(mut self, item: Uuid) -> Self {
        self.work_item = Some(item);
        self
    }

    /// Says which stage it is about.
    pub(crate) fn of_stage(mut self, stage: Option<&str>) -> Self {
        self.stage = stage.map(str::to_owned);
        self
    }

    /// Says that a person did it.
    pub(crate) fn by_person(mut self) -> Self {
        self.is_by_person = true;
        self
    }

    /// How long it may wait for company.
    pub(super) fn delay_seconds(&self) -> f64 {
        if is_urgent(&self.event_type) {
            0.0
        } else {
            DELAY_SECONDS
        }
    }
}

fn is_urgent(event_type: &str) -> bool {
    URGENT.iter().any(|urgent| match urgent.strip_suffix('*') {
        Some(beginning) => event_type.starts_with(beginning),
        None => event_type == *urgent,
    })
}

/// Something that has happened to a task.
#[derive(Clone, Copy, Debug)]
pub struct TaskWake {
    /// The task.
    pub task: TaskId,
    /// Its run.
    pub workflow: WorkflowId,
    /// What kind of thing.
    pub event_type: &'static str,
}

/// What a move of a task is to the orchestrator of its run, if it is anything.
pub(crate) fn event_of(order: &Order) -> Option<&'static str> {
    match (order.to, order.reason) {
        (Destination::Ended(TaskState::Completed), _) => Some("task.completed"),
        (Destination::Ended(TaskState::Failed), _) => Some("task.failed"),
        (Destination::Ended(_), _) => Some("task.cancelled"),
        (Destination::Parked(TaskState::OutputPendingAssessment), _) => {
            Some("task.output_pending_assessment")
        }
        (Destination::Parked(TaskState::Escalated), _) if order.actor_type == "agent" => {
            Some("task.agent_escalated")
        }
        (Destination::Parked(TaskState::Escalated), _) => Some("task.escalated"),
        (Destination::Ready { .. }, "approve") => Some("task.approved"),
        (Destination::Ready { .. }, "request_changes") => Some("task.assessment_requested_changes"),
        (Destination::Ready { .. }, "resolve_escalation") => Some("task.escalation_resolved"),
        (Destination::Ready { .. } | Destination::Waiting { .. } | Destination::Parked(_), _) => {
            None
        }
    }
}

/// Something has happened in a run, whose row is locked: its orchestrator is to be woken.
///
/// What the orchestrator itself does in this transaction wakes it not. Runs without an orchestrator, and
/// those that have ended, are left as they are.
///
/// # Errors
/// Those of the database.
pub(crate) async fn wake(
    tx: &mut Tx,
    tenant: TenantId,
    run: WorkflowId,
    wakes: &[Wake],
) -> Result<Vec<ActivationId>, Error> {
    let mut queued = Vec::new();
    if !tx.is_steered(run) {
        queued = store::queue(tx.conn(), tenant, run, wakes).await?;
        let told = queued.iter().zip(wakes);
        let told = told.map(|(id, wake)| (run, queued_event(run, *id, &wake.event_type)));
        tell(tx, tenant, &Vec::from_iter(told)).await?;
        if wakes.iter().any(|wake| wake.is_by_person) {
            step_in(tx, tenant, run).await?;
        }
        if wakes.iter().any(|wake| wake.delay_seconds() > 0.0) {
            tx.note(Note::DueSooner {
                name: "dispatch_activations".to_owned(),
            });
        }
    }
    advance(tx, tenant, run).await?;
    Ok(queued)
}

/// A run that another one had launched, at its end.
pub(crate) struct EndedChild<'c> {
    /// The run.
    pub(crate) id: WorkflowId,
    /// Its name.
    pub(crate) name: &'c str,
    /// How it has ended.
    pub(crate) state: WorkflowState,
}

/// A run that another one had launched has ended. The parent is not locked, and so not advanced: whoever locks
/// both locks the parent first. The loop does it.
///
/// # Errors
/// Those of the database.
pub(crate) async fn child_ended(
    tx: &mut Tx,
    tenant: TenantId,
    parent: WorkflowId,
    child: EndedChild<'_>,
) -> Result<(), Error> {
    let what = json!({
        "child_workflow_id": child.id, "name": child.name, "state": child.state,
    });
    let event_type = format!("child_workflow.{}", child.state);
    let ended = Wake::new(
        event_type.as_str(),
        "a run that this one launched has ended",
        what,
    );
    for id in store::queue(tx.conn(), tenant, parent, &[ended]).await? {
        let told = (parent, queued_event(parent, id, &event_type));
        tell(tx, tenant, &[told]).await?;
        tx.note(Note::DueSooner {
            name: "dispatch_activations".to_owned(),
        });
    }
    Ok(())
}

/// Tasks of orchestrated runs have moved, some of them in a way that their orchestrators are to know of.
/// The rows of the runs are locked.
///
/// # Errors
/// Those of the database.
pub(crate) async fn wake_for_tasks(
    tx: &mut Tx,
    tenant: TenantId,
    runs: &BTreeSet<Uuid>,
    wakes: &[TaskWake],
) -> Result<(), Error> {
    let wakes: Vec<TaskWake> = wakes
        .iter()
        .filter(|wake| runs.contains(&wake.workflow.uuid()) && !tx.is_steered(wake.workflow))
        .copied()
        .collect();
    if !wakes.is_empty() {
        let queued = store::queue_for_tasks(tx.conn(), tenant, &wakes).await?;
        let told = queued
            .iter()
            .map(|(run, id, event_type)| (*run, queued_event(*run, *id, event_type)));
        tell(tx, tenant, &Vec::from_iter(told)).await?;
    }
    for run in runs {
        advance(tx, tenant, (*run).into()).await?;
    }
    Ok(())
}

fn queued_event(run: WorkflowId, id: ActivationId, event_type: &str) -> NewEvent {
    let data = json!({ "activation_id": id, "event_type": event_type });
    event(run, "workflow.activation_queued", data)
}

/// Something that the platform does with an activation.
pub(super) fn event(run: WorkflowId, event_type: &'static str, data: Value) -> NewEvent {
    let Value::Object(members) = data else {
        unreachable!("the data of an event is an object")
    };
    NewEvent {
        event_type,
        entity_type: EntityType::Workflow,
        entity: run.uuid(),
        actor_type: "system",
        actor: None,
        data: members.into(),
    }
}

pub(super) async fn tell(
    tx: &mut Tx,
    tenant: TenantId,
    told: &[(WorkflowId, NewEvent)],
) -> Result<(), Error> {
    if told.is_empty() {
        return Ok(());
    }
    events::append_to_runs(tx.conn(), tenant, told).await?;
    tx.note(Note::EventsAppended);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_do_in_one_go_waits_for_company_and_the_rest_is_urgent() {
        for urgent in [
            "workflow.created",
            "task.failed",
            "stage.gate.approve",
            "operator.steering",
        ] {
            assert!(is_urgent(urgent), "{urgent}");
        }
        for unhurried in [
            "work_item.updated",
            "budget.exceeded",
            "taskish",
            "whatever",
        ] {
            assert!(!is_urgent(unhurried), "{unhurried}");
        }
    }
}
