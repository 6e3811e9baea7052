//! Workspaces: the durable places in which runs happen.

use super::{Client, Filters, Result, data, done, whole};
use crate::{
    CreateWorkspace, MemoryChanged, Page, RememberForTask, RememberInWorkspace, TaskId, TaskMemory,
    UpdateWorkspace, Workspace, WorkspaceDeleteImpact, WorkspaceId,
};

impl Client {
    /// Makes a workspace.
    pub async fn create_workspace(&self, workspace: &CreateWorkspace) -> Result<Workspace> {
        data(self.post("/api/v1/workspaces", workspace)).await
    }

    /// Lists workspaces. Filters: `q`, `is_active`, `page`, `per_page`.
    pub async fn list_workspaces(&self, filters: Filters<'_>) -> Result<Page<Workspace>> {
        whole(self.get("/api/v1/workspaces").query(filters)).await
    }

    /// Reads one workspace.
    pub async fn get_workspace(&self, id: WorkspaceId) -> Result<Workspace> {
        data(self.get(&format!("/api/v1/workspaces/{id}"))).await
    }

    /// Changes a workspace.
    pub async fn update_workspace(
        &self,
        id: WorkspaceId,
        change: &UpdateWorkspace,
    ) -> Result<Workspace> {
        data(self.patch(&format!("/api/v1/workspaces/{id}"), change)).await
    }

    /// Deletes a workspace; with `cascade` also its runs and tasks.
    pub async fn delete_workspace(&self, id: WorkspaceId, cascade: bool) -> Result<()> {
        let request = self.delete(&format!("/api/v1/workspaces/{id}"));
        done(request.query(&[("cascade", cascade)])).await
    }

    /// Tells what hangs on a workspace.
    pub async fn get_workspace_delete_impact(
        &self,
        id: WorkspaceId,
    ) -> Result<WorkspaceDeleteImpact> {
        data(self.get(&format!("/api/v1/workspaces/{id}/delete-impact"))).await
    }

    /// Makes a workspace remember a value under a key.
    pub async fn remember_in_workspace(
        &self,
        id: WorkspaceId,
        entry: &RememberInWorkspace,
    ) -> Result<Workspace> {
        data(self.patch(&format!("/api/v1/workspaces/{id}/memory"), entry)).await
    }

    /// Makes a workspace forget the value under a key.
    pub async fn forget_in_workspace(&self, id: WorkspaceId, key: &str) -> Result<Workspace> {
        data(self.delete(&format!("/api/v1/workspaces/{id}/memory/{key}"))).await
    }

    /// Reads what the workspace of a task remembers; filtered by `key` or `keys`.
    pub async fn get_task_memory(&self, task: TaskId, filters: Filters<'_>) -> Result<TaskMemory> {
        let path = format!("/api/v1/tasks/{task}/memory");
        data(self.get(&path).query(filters)).await
    }

    /// Looks for values that the workspace of a task remembers, by a part of the key or of the value.
    pub async fn search_task_memory(&self, task: TaskId, text: &str) -> Result<TaskMemory> {
        let path = format!("/api/v1/tasks/{task}/memory/search");
        data(self.get(&path).query(&[("q", text)])).await
    }

    /// Remembers values in the workspace of a task that this client holds.
    pub async fn remember_for_task(
        &self,
        task: TaskId,
        wanted: &RememberForTask,
    ) -> Result<MemoryChanged> {
        data(self.patch(&format!("/api/v1/tasks/{task}/memory"), wanted)).await
    }
}
