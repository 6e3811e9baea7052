//! Tasks: create, claim, report, steer, look.

use std::time::Duration;

use super::{
    Client, Filters, REQUEST_TIMEOUT, Result, WAIT_MARGIN, data, data_if_any, done, whole,
};
use crate::{
    AgentId, CancelTask, ClaimTask, ClaimTasks, ClaimedTask, ClaimedTasks, CompleteTask,
    CompleteTasks, CompletionResults, CreateTask, FailTask, Page, QueueDepth, ReleaseTask,
    RetryTask, StartTask, Task, TaskContext, TaskId, UpdateTask, Why,
};

impl Client {
    /// Creates a task.
    pub async fn create_task(&self, task: &CreateTask) -> Result<Task> {
        data(self.post("/api/v1/tasks", task)).await
    }

    /// Lists tasks. Filters: `state`, `role`, `page`, `per_page` and others.
    pub async fn list_tasks(&self, filters: Filters<'_>) -> Result<Page<Task>> {
        whole(self.get("/api/v1/tasks").query(filters)).await
    }

    /// Reads one task.
    pub async fn get_task(&self, id: TaskId) -> Result<Task> {
        data(self.get(&format!("/api/v1/tasks/{id}"))).await
    }

    /// Changes the facts of a task.
    pub async fn update_task(&self, id: TaskId, change: &UpdateTask) -> Result<Task> {
        data(self.patch(&format!("/api/v1/tasks/{id}"), change)).await
    }

    /// Claims the next task, or nothing when there is none within `wait_seconds`.
    pub async fn claim_task(&self, claim: &ClaimTask) -> Result<Option<ClaimedTask>> {
        let request = self.post("/api/v1/tasks/claim", claim);
        data_if_any(request.timeout(claim_timeout(claim.wait_seconds))).await
    }

    /// Claims several tasks, or nothing when there is none within `wait_seconds`.
    pub async fn claim_tasks(&self, claim: &ClaimTasks) -> Result<Option<ClaimedTasks>> {
        let request = self.post("/api/v1/tasks/claims", claim);
        data_if_any(request.timeout(claim_timeout(claim.wait_seconds))).await
    }

    /// Begins to work on a claimed task.
    pub async fn start_task(&self, id: TaskId, start: &StartTask) -> Result<Task> {
        data(self.report(&format!("/api/v1/tasks/{id}/start"), start)).await
    }

    /// Reports success.
    pub async fn complete_task(&self, id: TaskId, completion: &CompleteTask) -> Result<Task> {
        data(self.report(&format!("/api/v1/tasks/{id}/complete"), completion)).await
    }

    /// Reports success, and is told no more than that the report took effect: cheaper for the platform.
    pub async fn complete_task_minimal(&self, id: TaskId, completion: &CompleteTask) -> Result<()> {
        let request = self.report(&format!("/api/v1/tasks/{id}/complete"), completion);
        done(request.header("prefer", "return=minimal")).await
    }

    /// Reports several successes, each judged on its own.
    pub async fn complete_tasks(&self, completions: &CompleteTasks) -> Result<CompletionResults> {
        data(self.report("/api/v1/tasks/completions", completions)).await
    }

    /// Reports failure.
    pub async fn fail_task(&self, id: TaskId, failure: &FailTask) -> Result<Task> {
        data(self.report(&format!("/api/v1/tasks/{id}/fail"), failure)).await
    }

    /// Hands a task back.
    pub async fn release_task(&self, id: TaskId, release: &ReleaseTask) -> Result<Task> {
        data(self.report(&format!("/api/v1/tasks/{id}/release"), release)).await
    }

    /// Wants another attempt.
    pub async fn retry_task(&self, id: TaskId, retry: &RetryTask) -> Result<Task> {
        data(self.post(&format!("/api/v1/tasks/{id}/retry"), retry)).await
    }

    /// Calls a task off.
    pub async fn cancel_task(&self, id: TaskId, cancel: &CancelTask) -> Result<Task> {
        data(self.post(&format!("/api/v1/tasks/{id}/cancel"), cancel)).await
    }

    /// Reads what an agent should know to work on a task.
    pub async fn get_task_context(
        &self,
        id: TaskId,
        agent_id: Option<AgentId>,
    ) -> Result<TaskContext> {
        let mut request = self.get(&format!("/api/v1/tasks/{id}/context"));
        if let Some(agent_id) = agent_id {
            request = request.query(&[("agent_id", agent_id.to_string())]);
        }
        data(request).await
    }

    /// Tells how much is waiting.
    pub async fn get_queue_depth(&self) -> Result<QueueDepth> {
        data(self.get("/api/v1/tasks/queue-depth")).await
    }

    /// Tells why a task does not run.
    pub async fn explain_task(&self, id: TaskId) -> Result<Why> {
        data(self.get(&format!("/api/v1/tasks/{id}/why"))).await
    }
}

fn claim_timeout(wait_seconds: Option<u32>) -> Duration {
    let wait = Duration::from_secs(wait_seconds.unwrap_or(0).into());
    REQUEST_TIMEOUT.max(wait + WAIT_MARGIN)
}
