//! A run that an orchestrator leads, for the tests of what it does.

use serde_json::{Value, json};
use stint_protocol::client::Steering;
use stint_protocol::{
    ClaimedTask, CreateWorkItem, Guided, MutationOutcome, NotYetReason, PlanTask, Task, WorkItem,
    WorkflowId,
};
use stint_tests::{TestPlatform, TestWorker};

/// A run with an orchestrator that holds its first task.
pub(crate) struct Led {
    pub(crate) run: WorkflowId,
    pub(crate) conductor: TestWorker,
    pub(crate) task: ClaimedTask,
}

impl Led {
    /// A run of two stages.
    pub(crate) async fn of(t: &TestPlatform) -> Self {
        Self::with(
            t,
            json!([{ "name": "build", "goal": "Build" }, { "name": "ship", "goal": "Ship" }]),
        )
        .await
    }

    pub(crate) async fn with(t: &TestPlatform, stages: Value) -> Self {
        let definition = json!({
            "process_instructions": "Do it.", "roles": ["builder"], "stages": stages,
            "orchestrator": { "max_rework_iterations": 2 },
        });
        let run = t.launch_with(definition, json!({})).await.workflow.id;
        let conductor = t.worker("conductor").tags(&["orchestrator"]).await;
        let task = conductor.begin().await;
        Self {
            run,
            conductor,
            task,
        }
    }

    pub(crate) fn steer(&self) -> Steering {
        self.conductor
            .agent
            .steering(self.task.id, Some(self.task.attempt))
    }

    pub(crate) async fn item(&self, title: &str) -> WorkItem {
        done(
            self.steer()
                .plan_work_item(&item(title))
                .await
                .expect("an item"),
        )
    }

    pub(crate) async fn task_in(&self, of: &WorkItem, title: &str) -> Task {
        done(
            self.steer()
                .plan_task(&task(of, title))
                .await
                .expect("a task"),
        )
    }

    /// Ends the activation, and begins the next one, which must be there.
    pub(crate) async fn next(&mut self) -> Vec<String> {
        self.conductor
            .complete(&self.task, json!({}))
            .await
            .expect("it holds its task");
        self.task = self.conductor.begin().await;
        let input = Value::Object(self.task.input.members());
        let events = input["events"].as_array().expect("events are told");
        let types = events
            .iter()
            .map(|event| event["type"].as_str().expect("a type").to_owned());
        types.collect()
    }
}

/// A work item with nothing but a title.
pub(crate) fn item(title: &str) -> CreateWorkItem {
    serde_json::from_value(json!({ "title": title })).expect("a title makes a work item")
}

/// A task for the builder.
pub(crate) fn task(of: &WorkItem, title: &str) -> PlanTask {
    serde_json::from_value(json!({ "title": title, "work_item_id": of.id, "role": "builder" }))
        .expect("it fits a task")
}

/// What came of a change that was made.
pub(crate) fn done<T>(answer: Guided<T>) -> T {
    assert_eq!(
        answer.mutation_outcome,
        MutationOutcome::Applied,
        "{:?}",
        answer.message
    );
    answer.result.expect("what was made is told")
}

/// Why a change was not made.
pub(crate) fn not_yet<T>(answer: &Guided<T>) -> NotYetReason {
    assert_eq!(
        answer.mutation_outcome,
        MutationOutcome::RecoverableNotApplied
    );
    assert!(answer.result.is_none() && answer.blocking && answer.message.is_some());
    answer.reason_code.expect("a reason")
}
