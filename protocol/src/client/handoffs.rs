//! Handoffs: what holders leave to whoever goes on.

use super::{Client, Result, data};
use crate::{SubmitHandoff, TaskHandoff, TaskId, WorkItemId, WorkflowId};

impl Client {
    /// Leaves something to whoever goes on with a task, or with what it was for.
    pub async fn submit_handoff(
        &self,
        task: TaskId,
        handoff: &SubmitHandoff,
    ) -> Result<TaskHandoff> {
        let path = format!("/api/v1/tasks/{task}/handoff");
        data(self.post(&path, handoff)).await
    }

    /// Reads what was left to whoever works on a task.
    pub async fn get_predecessor_handoff(&self, task: TaskId) -> Result<Option<TaskHandoff>> {
        let path = format!("/api/v1/tasks/{task}/predecessor-handoff");
        data(self.get(&path)).await
    }

    /// Lists what was left by the tasks of a work item, the newest first.
    pub async fn list_handoffs(
        &self,
        run: WorkflowId,
        item: WorkItemId,
    ) -> Result<Vec<TaskHandoff>> {
        let path = format!("/api/v1/workflows/{run}/work-items/{item}/handoffs");
        data(self.get(&path)).await
    }

    /// Reads what was left last by a task of a work item.
    pub async fn get_latest_handoff(
        &self,
        run: WorkflowId,
        item: WorkItemId,
    ) -> Result<Option<TaskHandoff>> {
        let path = format!("/api/v1/workflows/{run}/work-items/{item}/handoffs/latest");
        data(self.get(&path)).await
    }
}
