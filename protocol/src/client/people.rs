//! What people do with tasks.

use super::{Client, Result, data};
use crate::{
    AgentEscalate, AnswerEscalation, ApproveOutput, ApproveTask, EscalateTask, OverrideOutput,
    ReassignTask, RejectTask, RequestChanges, SkipTask, Task, TaskId,
};

impl Client {
    /// Lets a task run that waits for approval.
    pub async fn approve_task(&self, id: TaskId, body: &ApproveTask) -> Result<Task> {
        data(self.post(&format!("/api/v1/tasks/{id}/approve"), body)).await
    }

    /// Accepts an output.
    pub async fn approve_task_output(&self, id: TaskId, body: &ApproveOutput) -> Result<Task> {
        data(self.post(&format!("/api/v1/tasks/{id}/approve-output"), body)).await
    }

    /// Refuses a task or its output.
    pub async fn reject_task(&self, id: TaskId, body: &RejectTask) -> Result<Task> {
        data(self.post(&format!("/api/v1/tasks/{id}/reject"), body)).await
    }

    /// Wants a task done again, with changes.
    pub async fn request_task_changes(&self, id: TaskId, body: &RequestChanges) -> Result<Task> {
        data(self.post(&format!("/api/v1/tasks/{id}/request-changes"), body)).await
    }

    /// Wants a task done again, with changes: another name for the same.
    pub async fn rework_task(&self, id: TaskId, body: &RequestChanges) -> Result<Task> {
        data(self.post(&format!("/api/v1/tasks/{id}/rework"), body)).await
    }

    /// Passes over a task.
    pub async fn skip_task(&self, id: TaskId, body: &SkipTask) -> Result<Task> {
        data(self.post(&format!("/api/v1/tasks/{id}/skip"), body)).await
    }

    /// Gives a task to another holder.
    pub async fn reassign_task(&self, id: TaskId, body: &ReassignTask) -> Result<Task> {
        data(self.post(&format!("/api/v1/tasks/{id}/reassign"), body)).await
    }

    /// Asks a person for help with a task.
    pub async fn escalate_task(&self, id: TaskId, body: &EscalateTask) -> Result<Task> {
        data(self.post(&format!("/api/v1/tasks/{id}/escalate"), body)).await
    }

    /// The holder of a task asks for help.
    pub async fn agent_escalate_task(&self, id: TaskId, body: &AgentEscalate) -> Result<Task> {
        data(self.post(&format!("/api/v1/tasks/{id}/agent-escalate"), body)).await
    }

    /// Answers a call for help, and leaves the task where it is.
    pub async fn answer_task_escalation(
        &self,
        id: TaskId,
        body: &AnswerEscalation,
    ) -> Result<Task> {
        data(self.post(&format!("/api/v1/tasks/{id}/escalation-response"), body)).await
    }

    /// Answers a call for help, and lets the task go on.
    pub async fn resolve_task_escalation(
        &self,
        id: TaskId,
        body: &AnswerEscalation,
    ) -> Result<Task> {
        data(self.post(&format!("/api/v1/tasks/{id}/resolve-escalation"), body)).await
    }

    /// Gives the output of a task by hand.
    pub async fn override_task_output(&self, id: TaskId, body: &OverrideOutput) -> Result<Task> {
        data(self.post(&format!("/api/v1/tasks/{id}/output-override"), body)).await
    }
}
