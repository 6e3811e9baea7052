//! Workflows: launch, look, steer.

use super::{Client, Filters, Result, data, whole};
use crate::{
    Bare, Board, BudgetReport, BulkDeleteWorkflows, BulkDeletedWorkflows, ChainWorkflow,
    CreateWorkflow, DecideStep, DeletedWorkflow, Event, Page, RedriveWorkflow, Redriven, RunWhy,
    Stretch, UpdateWorkflowSettings, Workflow, WorkflowDetail, WorkflowId, WorkflowSettings,
    WorkflowStage, WorkflowStep,
};

impl Client {
    /// Launches a run of a playbook.
    pub async fn create_workflow(&self, workflow: &CreateWorkflow) -> Result<WorkflowDetail> {
        data(self.post("/api/v1/workflows", workflow)).await
    }

    /// Lists runs. Filters: `workspace_id`, `playbook_id`, `state`, `page`, `per_page`.
    pub async fn list_workflows(&self, filters: Filters<'_>) -> Result<Page<Workflow>> {
        whole(self.get("/api/v1/workflows").query(filters)).await
    }

    /// Reads one run with its parts.
    pub async fn get_workflow(&self, id: WorkflowId) -> Result<WorkflowDetail> {
        data(self.get(&format!("/api/v1/workflows/{id}"))).await
    }

    /// Deletes a run that has ended.
    pub async fn delete_workflow(&self, id: WorkflowId) -> Result<DeletedWorkflow> {
        data(self.delete(&format!("/api/v1/workflows/{id}"))).await
    }

    /// Deletes several runs that have ended.
    pub async fn bulk_delete_workflows(
        &self,
        wanted: &BulkDeleteWorkflows,
    ) -> Result<BulkDeletedWorkflows> {
        data(self.post("/api/v1/workflows/bulk-delete", wanted)).await
    }

    /// Tells what a run has used, and may use.
    pub async fn get_workflow_budget(&self, id: WorkflowId) -> Result<BudgetReport> {
        data(self.get(&format!("/api/v1/workflows/{id}/budget"))).await
    }

    /// Reads the settings of a run.
    pub async fn get_workflow_settings(&self, id: WorkflowId) -> Result<WorkflowSettings> {
        data(self.get(&format!("/api/v1/workflows/{id}/settings"))).await
    }

    /// Changes the settings of a run.
    pub async fn update_workflow_settings(
        &self,
        id: WorkflowId,
        change: &UpdateWorkflowSettings,
    ) -> Result<WorkflowSettings> {
        data(self.patch(&format!("/api/v1/workflows/{id}/settings"), change)).await
    }

    /// Reads the board of a run.
    pub async fn get_workflow_board(&self, id: WorkflowId) -> Result<Board> {
        data(self.get(&format!("/api/v1/workflows/{id}/board"))).await
    }

    /// Lists the stages of a run.
    pub async fn list_workflow_stages(&self, id: WorkflowId) -> Result<Vec<WorkflowStage>> {
        data(self.get(&format!("/api/v1/workflows/{id}/stages"))).await
    }

    /// Lists the steps of a run. Filters: `page`, `per_page`.
    pub async fn list_workflow_steps(
        &self,
        id: WorkflowId,
        filters: Filters<'_>,
    ) -> Result<Page<WorkflowStep>> {
        whole(
            self.get(&format!("/api/v1/workflows/{id}/steps"))
                .query(filters),
        )
        .await
    }

    /// Decides what a step of a run asks.
    pub async fn decide_workflow_step(
        &self,
        id: WorkflowId,
        step: &str,
        decision: &DecideStep,
    ) -> Result<WorkflowStep> {
        let path = format!("/api/v1/workflows/{id}/steps/{step}/decision");
        data(self.post(&path, decision)).await
    }

    /// Lists what has happened in a run. Filters: `after`, `types`, `work_item_id` and others.
    pub async fn list_workflow_events(
        &self,
        id: WorkflowId,
        filters: Filters<'_>,
    ) -> Result<Stretch<Event>> {
        whole(
            self.get(&format!("/api/v1/workflows/{id}/events"))
                .query(filters),
        )
        .await
    }

    /// Tells why a run does not go on.
    pub async fn explain_workflow(&self, id: WorkflowId) -> Result<RunWhy> {
        data(self.get(&format!("/api/v1/workflows/{id}/why"))).await
    }

    /// Pauses a run.
    pub async fn pause_workflow(&self, id: WorkflowId, body: &Bare) -> Result<WorkflowDetail> {
        data(self.post(&format!("/api/v1/workflows/{id}/pause"), body)).await
    }

    /// Goes on with a run.
    pub async fn resume_workflow(&self, id: WorkflowId, body: &Bare) -> Result<WorkflowDetail> {
        data(self.post(&format!("/api/v1/workflows/{id}/resume"), body)).await
    }

    /// Calls a run off.
    pub async fn cancel_workflow(&self, id: WorkflowId, body: &Bare) -> Result<WorkflowDetail> {
        data(self.post(&format!("/api/v1/workflows/{id}/cancel"), body)).await
    }

    /// Launches a run that belongs to another one.
    pub async fn chain_workflow(
        &self,
        id: WorkflowId,
        child: &ChainWorkflow,
    ) -> Result<WorkflowDetail> {
        data(self.post(&format!("/api/v1/workflows/{id}/chain"), child)).await
    }

    /// Tries again what a run did.
    pub async fn redrive_workflow(
        &self,
        id: WorkflowId,
        redrive: &RedriveWorkflow,
    ) -> Result<Redriven> {
        data(self.post(&format!("/api/v1/workflows/{id}/redrives"), redrive)).await
    }
}
