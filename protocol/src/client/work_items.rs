//! Work items: make, move, steer, look.

use super::{Client, Filters, Result, data};
use crate::{
    Bare, CreateWorkItem, Event, ResolveWorkItemEscalation, RetryTask, RunWhy, SkipTask, Task,
    UpdateWorkItem, WorkItem, WorkItemId, WorkItemMemory, WorkItemMemoryHistory, WorkItems,
    WorkflowId,
};

fn path(run: WorkflowId, id: WorkItemId, rest: &str) -> String {
    format!("/api/v1/workflows/{run}/work-items/{id}{rest}")
}

impl Client {
    /// Lists the work items of a run. Filters: `parent_work_item_id`, `stage_name`, `column_id`, `grouped`.
    pub async fn list_work_items(
        &self,
        run: WorkflowId,
        filters: Filters<'_>,
    ) -> Result<WorkItems> {
        data(
            self.get(&format!("/api/v1/workflows/{run}/work-items"))
                .query(filters),
        )
        .await
    }

    /// Makes a work item.
    pub async fn create_work_item(
        &self,
        run: WorkflowId,
        item: &CreateWorkItem,
    ) -> Result<WorkItem> {
        data(self.post(&format!("/api/v1/workflows/{run}/work-items"), item)).await
    }

    /// Reads one work item. Filters: `include_children`.
    pub async fn get_work_item(
        &self,
        run: WorkflowId,
        id: WorkItemId,
        filters: Filters<'_>,
    ) -> Result<WorkItem> {
        data(self.get(&path(run, id, "")).query(filters)).await
    }

    /// Changes a work item.
    pub async fn update_work_item(
        &self,
        run: WorkflowId,
        id: WorkItemId,
        change: &UpdateWorkItem,
    ) -> Result<WorkItem> {
        data(self.patch(&path(run, id, ""), change)).await
    }

    /// Lists the tasks of a work item.
    pub async fn list_work_item_tasks(&self, run: WorkflowId, id: WorkItemId) -> Result<Vec<Task>> {
        data(self.get(&path(run, id, "/tasks"))).await
    }

    /// Lists the last events of a work item. Filters: `limit`.
    pub async fn list_work_item_events(
        &self,
        run: WorkflowId,
        id: WorkItemId,
        filters: Filters<'_>,
    ) -> Result<Vec<Event>> {
        data(self.get(&path(run, id, "/events")).query(filters)).await
    }

    /// Tells why a work item does not go on.
    pub async fn explain_work_item(&self, run: WorkflowId, id: WorkItemId) -> Result<RunWhy> {
        data(self.get(&path(run, id, "/why"))).await
    }

    /// Tries the task of a work item again that needs it most.
    pub async fn retry_work_item(
        &self,
        run: WorkflowId,
        id: WorkItemId,
        retry: &RetryTask,
    ) -> Result<Task> {
        data(self.post(&path(run, id, "/retry"), retry)).await
    }

    /// Passes over the task of a work item that needs a person most.
    pub async fn skip_work_item(
        &self,
        run: WorkflowId,
        id: WorkItemId,
        skip: &SkipTask,
    ) -> Result<Task> {
        data(self.post(&path(run, id, "/skip"), skip)).await
    }

    /// Answers the calls for help of a work item.
    pub async fn resolve_work_item_escalation(
        &self,
        run: WorkflowId,
        id: WorkItemId,
        body: &ResolveWorkItemEscalation,
    ) -> Result<WorkItem> {
        data(self.post(&path(run, id, "/resolve-escalation"), body)).await
    }

    /// Reads what is remembered in the name of a work item.
    pub async fn get_work_item_memory(
        &self,
        run: WorkflowId,
        id: WorkItemId,
    ) -> Result<WorkItemMemory> {
        data(self.get(&path(run, id, "/memory"))).await
    }

    /// Lists what was remembered and forgotten in the name of a work item. Filters: `limit`.
    pub async fn get_work_item_memory_history(
        &self,
        run: WorkflowId,
        id: WorkItemId,
        filters: Filters<'_>,
    ) -> Result<WorkItemMemoryHistory> {
        data(self.get(&path(run, id, "/memory/history")).query(filters)).await
    }

    /// Pauses a work item.
    pub async fn pause_work_item(
        &self,
        run: WorkflowId,
        id: WorkItemId,
        body: &Bare,
    ) -> Result<WorkItem> {
        data(self.post(&path(run, id, "/pause"), body)).await
    }

    /// Goes on with a work item.
    pub async fn resume_work_item(
        &self,
        run: WorkflowId,
        id: WorkItemId,
        body: &Bare,
    ) -> Result<WorkItem> {
        data(self.post(&path(run, id, "/resume"), body)).await
    }

    /// Calls a work item off.
    pub async fn cancel_work_item(
        &self,
        run: WorkflowId,
        id: WorkItemId,
        body: &Bare,
    ) -> Result<WorkItem> {
        data(self.post(&path(run, id, "/cancel"), body)).await
    }
}
