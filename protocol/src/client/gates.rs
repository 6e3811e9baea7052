//! Stage gates: what people were asked to look at.

use super::{Client, Result, data};
use crate::{DecideGate, GateId, StageGate, WorkflowId};

impl Client {
    /// Lists what people were asked to look at in a run.
    pub async fn list_gates(&self, run: WorkflowId) -> Result<Vec<StageGate>> {
        data(self.get(&format!("/api/v1/workflows/{run}/gates"))).await
    }

    /// Reads a gate.
    pub async fn get_gate(&self, run: WorkflowId, id: GateId) -> Result<StageGate> {
        data(self.get(&format!("/api/v1/workflows/{run}/gates/{id}"))).await
    }

    /// Decides about a gate.
    pub async fn decide_gate(
        &self,
        run: WorkflowId,
        id: GateId,
        decision: &DecideGate,
    ) -> Result<StageGate> {
        let path = format!("/api/v1/workflows/{run}/gates/{id}");
        data(self.post(&path, decision)).await
    }
}
