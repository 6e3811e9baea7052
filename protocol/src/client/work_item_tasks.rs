//! Operations of tasks, by the work item to which they belong.

use super::{Client, Result, data};
use crate::{
    AgentEscalate, AnswerEscalation, ApproveOutput, ApproveTask, CancelTask, OverrideOutput,
    ReassignTask, RejectTask, RequestChanges, RetryTask, SkipTask, Task, TaskId, WorkItemId,
    WorkflowId,
};

/// A task by its place: its run, its work item, itself.
pub type TaskPlace = (WorkflowId, WorkItemId, TaskId);

fn path((run, item, task): TaskPlace, operation: &str) -> String {
    format!("/api/v1/workflows/{run}/work-items/{item}/tasks/{task}/{operation}")
}

impl Client {
    /// Lets a task of a work item run that waits for approval.
    pub async fn approve_work_item_task(
        &self,
        place: TaskPlace,
        body: &ApproveTask,
    ) -> Result<Task> {
        data(self.post(&path(place, "approve"), body)).await
    }

    /// Accepts an output of a task of a work item: the task is completed.
    pub async fn approve_work_item_task_output(
        &self,
        place: TaskPlace,
        body: &ApproveOutput,
    ) -> Result<Task> {
        data(self.post(&path(place, "approve-output"), body)).await
    }

    /// Refuses a task of a work item, or its output: it fails.
    pub async fn reject_work_item_task(&self, place: TaskPlace, body: &RejectTask) -> Result<Task> {
        data(self.post(&path(place, "reject"), body)).await
    }

    /// Wants a task of a work item done again, with changes.
    pub async fn request_work_item_task_changes(
        &self,
        place: TaskPlace,
        body: &RequestChanges,
    ) -> Result<Task> {
        data(self.post(&path(place, "request-changes"), body)).await
    }

    /// Gives a failed task of a work item another attempt.
    pub async fn retry_work_item_task(&self, place: TaskPlace, body: &RetryTask) -> Result<Task> {
        data(self.post(&path(place, "retry"), body)).await
    }

    /// Passes over a task of a work item: it counts as completed.
    pub async fn skip_work_item_task(&self, place: TaskPlace, body: &SkipTask) -> Result<Task> {
        data(self.post(&path(place, "skip"), body)).await
    }

    /// Calls a task of a work item off.
    pub async fn cancel_work_item_task(&self, place: TaskPlace, body: &CancelTask) -> Result<Task> {
        data(self.post(&path(place, "cancel"), body)).await
    }

    /// Answers the call for help of a task of a work item, and lets it go on.
    pub async fn resolve_work_item_task_escalation(
        &self,
        place: TaskPlace,
        body: &AnswerEscalation,
    ) -> Result<Task> {
        data(self.post(&path(place, "resolve-escalation"), body)).await
    }

    /// Says who may take a task of a work item.
    pub async fn reassign_work_item_task(
        &self,
        place: TaskPlace,
        body: &ReassignTask,
    ) -> Result<Task> {
        data(self.post(&path(place, "reassign"), body)).await
    }

    /// Gives the output of a task of a work item by hand: it counts as completed.
    pub async fn override_work_item_task_output(
        &self,
        place: TaskPlace,
        body: &OverrideOutput,
    ) -> Result<Task> {
        data(self.post(&path(place, "output-override"), body)).await
    }

    /// The holder of a task of a work item asks for help.
    pub async fn agent_escalate_work_item_task(
        &self,
        place: TaskPlace,
        body: &AgentEscalate,
    ) -> Result<Task> {
        data(self.post(&path(place, "agent-escalate"), body)).await
    }

    /// The holder of a task of a run asks for help.
    pub async fn agent_escalate_workflow_task(
        &self,
        run: WorkflowId,
        task: TaskId,
        body: &AgentEscalate,
    ) -> Result<Task> {
        let path = format!("/api/v1/workflows/{run}/tasks/{task}/agent-escalate");
        data(self.post(&path, body)).await
    }
}
