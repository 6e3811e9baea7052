//! Activations: what wakes orchestrators.

use super::{Client, Filters, Result, data, whole};
use crate::{Activation, ActivationId, CreateActivation, Guided, Page, WorkflowId};

impl Client {
    /// Wakes the orchestrator of a run.
    pub async fn create_activation(
        &self,
        run: WorkflowId,
        activation: &CreateActivation,
    ) -> Result<Guided<Activation>> {
        let path = format!("/api/v1/workflows/{run}/activations");
        data(self.post(&path, activation)).await
    }

    /// Lists what has woken the orchestrator of a run, or will. Filters: `page`, `per_page`.
    pub async fn list_activations(
        &self,
        run: WorkflowId,
        filters: Filters<'_>,
    ) -> Result<Page<Activation>> {
        let path = format!("/api/v1/workflows/{run}/activations");
        whole(self.get(&path).query(filters)).await
    }

    /// Reads one activation with what it tells.
    pub async fn get_activation(&self, run: WorkflowId, id: ActivationId) -> Result<Activation> {
        data(self.get(&format!("/api/v1/workflows/{run}/activations/{id}"))).await
    }
}
