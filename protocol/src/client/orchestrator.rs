//! Steering a run, under the task that woke its orchestrator.

use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;

use super::{Client, Result, data};
use crate::{
    Activation, AdvanceStage, AdvancedStage, ApproveOutput, ApproveTask, Bare, BudgetReport,
    CancelTask, CheckpointActivation, CompleteWorkItem, CompleteWorkflow, CorrectBrief,
    CreateWorkItem, EscalateToHuman, Guided, LaunchChild, MemoryChanged, NoteContinuity,
    OrchestrationState, PlanTask, ReassignTask, RememberForRun, ReopenWorkItem, ReplaceInput,
    RequestChanges, RequestGate, RetryTask, SendMessage, StageGate, Task, TaskHandoff, TaskId,
    TaskMessage, UpdateWorkItem, WaivePreferredStep, WorkItem, WorkItemContinuity, WorkItemId,
    Workflow, WorkflowDetail,
};

/// An orchestrator at work: everything is asked for under its task and its attempt.
#[derive(Clone)]
pub struct Steering {
    client: Client,
    task: TaskId,
    attempt: Option<i32>,
}

impl Client {
    /// Steers the run whose orchestrator was given this task.
    pub fn steering(&self, task: TaskId, attempt: Option<i32>) -> Steering {
        Steering {
            client: self.clone(),
            task,
            attempt,
        }
    }
}

impl Steering {
    fn path(&self, rest: &str) -> String {
        format!("/api/v1/orchestrator/tasks/{}/{rest}", self.task)
    }

    /// Sends a change under the attempt.
    async fn change<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let attempt = self.attempt.map(|attempt| ("attempt", attempt));
        data(request.query(&Vec::from_iter(attempt))).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        rest: &str,
        body: &impl serde::Serialize,
    ) -> Result<Guided<T>> {
        self.change(self.client.post(&self.path(rest), body)).await
    }

    /// Tells what the run has used, and may use.
    pub async fn get_run_budget(&self) -> Result<BudgetReport> {
        data(self.client.get(&self.path("workflow/budget"))).await
    }

    /// Asks a person to look at a stage.
    pub async fn request_gate(&self, stage: &str, gate: &RequestGate) -> Result<Guided<StageGate>> {
        self.send(&format!("stages/{stage}/request-gate"), gate)
            .await
    }

    /// Ends the current stage, and goes on to the next.
    pub async fn advance_stage(
        &self,
        stage: &str,
        advance: &AdvanceStage,
    ) -> Result<Guided<AdvancedStage>> {
        self.send(&format!("stages/{stage}/advance"), advance).await
    }

    /// Ends the run well.
    pub async fn complete_run(&self, end: &CompleteWorkflow) -> Result<Guided<Workflow>> {
        self.send("workflow/complete", end).await
    }

    /// Ends the run, and says what is missing.
    pub async fn close_run_with_callouts(
        &self,
        end: &CompleteWorkflow,
    ) -> Result<Guided<Workflow>> {
        self.send("workflow/close-with-callouts", end).await
    }

    /// Remembers values in the workspace of the run.
    pub async fn remember_for_run(&self, wanted: &RememberForRun) -> Result<Guided<MemoryChanged>> {
        self.send("memory", wanted).await
    }

    /// Forgets what the workspace of the run remembers under a key.
    pub async fn forget_for_run(&self, key: &str) -> Result<Guided<MemoryChanged>> {
        let path = self.path(&format!("memory/{key}"));
        self.change(self.client.delete(&path)).await
    }

    /// Keeps what the orchestrator wants to find again.
    pub async fn checkpoint_activation(
        &self,
        checkpoint: &CheckpointActivation,
    ) -> Result<Guided<OrchestrationState>> {
        self.send("activation-checkpoint", checkpoint).await
    }

    /// Says that the orchestrator is done with its activation.
    pub async fn finish_activation(&self, body: &Bare) -> Result<Guided<Activation>> {
        self.send("activation-finish", body).await
    }

    /// Reads what the orchestrator keeps from one activation to the next.
    pub async fn get_run_continuity(&self) -> Result<OrchestrationState> {
        data(self.client.get(&self.path("continuity"))).await
    }

    /// Says who is expected to do what next.
    pub async fn note_continuity(
        &self,
        note: &NoteContinuity,
    ) -> Result<Guided<OrchestrationState>> {
        self.send("continuity", note).await
    }

    /// Makes a work item.
    pub async fn plan_work_item(&self, plan: &CreateWorkItem) -> Result<Guided<WorkItem>> {
        self.send("work-items", plan).await
    }

    /// Changes a work item, or moves it over the board.
    pub async fn steer_work_item(
        &self,
        id: WorkItemId,
        change: &UpdateWorkItem,
    ) -> Result<Guided<WorkItem>> {
        let path = self.path(&format!("work-items/{id}"));
        self.change(self.client.patch(&path, change)).await
    }

    /// Completes a work item.
    pub async fn complete_work_item(
        &self,
        id: WorkItemId,
        end: &CompleteWorkItem,
    ) -> Result<Guided<WorkItem>> {
        self.send(&format!("work-items/{id}/complete"), end).await
    }

    /// Completes a work item, and says what is missing.
    pub async fn close_work_item_with_callouts(
        &self,
        id: WorkItemId,
        end: &CompleteWorkItem,
    ) -> Result<Guided<WorkItem>> {
        self.send(&format!("work-items/{id}/close-with-callouts"), end)
            .await
    }

    /// Opens a work item again.
    pub async fn reopen_work_item(
        &self,
        id: WorkItemId,
        reopen: &ReopenWorkItem,
    ) -> Result<Guided<WorkItem>> {
        let rest = format!("work-items/{id}/reopen-for-missing-handoff");
        self.send(&rest, reopen).await
    }

    /// Goes on without a step that would have been preferred.
    pub async fn waive_preferred_step(
        &self,
        id: WorkItemId,
        waive: &WaivePreferredStep,
    ) -> Result<Guided<WorkItem>> {
        let rest = format!("work-items/{id}/waive-preferred-step");
        self.send(&rest, waive).await
    }

    /// Tells how a work item goes on.
    pub async fn get_work_item_continuity(&self, id: WorkItemId) -> Result<WorkItemContinuity> {
        let path = self.path(&format!("work-items/{id}/continuity"));
        data(self.client.get(&path)).await
    }

    /// Lists what the tasks of a work item left.
    pub async fn list_managed_handoffs(&self, id: WorkItemId) -> Result<Vec<TaskHandoff>> {
        let path = self.path(&format!("work-items/{id}/handoffs"));
        data(self.client.get(&path)).await
    }

    /// Reads what a task of a work item left last.
    pub async fn get_latest_managed_handoff(&self, id: WorkItemId) -> Result<Option<TaskHandoff>> {
        let path = self.path(&format!("work-items/{id}/handoffs/latest"));
        data(self.client.get(&path)).await
    }

    /// Launches a run that belongs to this one.
    pub async fn launch_child(&self, child: &LaunchChild) -> Result<Guided<WorkflowDetail>> {
        self.send("workflows", child).await
    }

    /// Makes a task.
    pub async fn plan_task(&self, plan: &PlanTask) -> Result<Guided<Task>> {
        self.send("tasks", plan).await
    }

    /// Reads a task of the run.
    pub async fn get_managed_task(&self, id: TaskId) -> Result<Task> {
        data(self.client.get(&self.path(&format!("tasks/{id}")))).await
    }

    /// Gives a task that nobody works on another input.
    pub async fn replace_managed_input(
        &self,
        id: TaskId,
        input: &ReplaceInput,
    ) -> Result<Guided<Task>> {
        let path = self.path(&format!("tasks/{id}/input"));
        self.change(self.client.patch(&path, input)).await
    }

    /// Says something to whoever holds a task.
    pub async fn message_managed_task(
        &self,
        id: TaskId,
        message: &SendMessage,
    ) -> Result<Guided<TaskMessage>> {
        self.send(&format!("tasks/{id}/message"), message).await
    }

    /// Lets a task run that waits for approval.
    pub async fn approve_managed_task(
        &self,
        id: TaskId,
        body: &ApproveTask,
    ) -> Result<Guided<Task>> {
        self.send(&format!("tasks/{id}/approve"), body).await
    }

    /// Accepts an output.
    pub async fn approve_managed_output(
        &self,
        id: TaskId,
        body: &ApproveOutput,
    ) -> Result<Guided<Task>> {
        self.send(&format!("tasks/{id}/approve-output"), body).await
    }

    /// Sends a task back.
    pub async fn rework_managed_task(
        &self,
        id: TaskId,
        changes: &RequestChanges,
    ) -> Result<Guided<Task>> {
        self.send(&format!("tasks/{id}/rework"), changes).await
    }

    /// Gives a task another attempt.
    pub async fn retry_managed_task(&self, id: TaskId, retry: &RetryTask) -> Result<Guided<Task>> {
        self.send(&format!("tasks/{id}/retry"), retry).await
    }

    /// Calls a task off.
    pub async fn cancel_managed_task(
        &self,
        id: TaskId,
        cancel: &CancelTask,
    ) -> Result<Guided<Task>> {
        self.send(&format!("tasks/{id}/cancel"), cancel).await
    }

    /// Runs a task again, with another input.
    pub async fn rerun_managed_task(
        &self,
        id: TaskId,
        correct: &CorrectBrief,
    ) -> Result<Guided<Task>> {
        let rest = format!("tasks/{id}/rerun-with-corrected-brief");
        self.send(&rest, correct).await
    }

    /// Gives a task whose owner is gone to somebody else.
    pub async fn replace_stale_owner(
        &self,
        id: TaskId,
        reassign: &ReassignTask,
    ) -> Result<Guided<Task>> {
        let rest = format!("tasks/{id}/reattach-or-replace-stale-owner");
        self.send(&rest, reassign).await
    }

    /// Says who may take a task.
    pub async fn reassign_managed_task(
        &self,
        id: TaskId,
        reassign: &ReassignTask,
    ) -> Result<Guided<Task>> {
        self.send(&format!("tasks/{id}/reassign"), reassign).await
    }

    /// Asks a person for help with a task.
    pub async fn escalate_managed_task(
        &self,
        id: TaskId,
        question: &EscalateToHuman,
    ) -> Result<Guided<Task>> {
        self.send(&format!("tasks/{id}/escalate-to-human"), question)
            .await
    }
}
