//! Steering: what operators tell orchestrators.

use super::{Client, Result, data};
use crate::{
    SteerWorkflow, SteeringMessage, SteeringRecorded, SteeringSession, SteeringSessionId,
    WorkflowId,
};

impl Client {
    /// Tells the orchestrator of a run something.
    pub async fn steer_workflow(
        &self,
        run: WorkflowId,
        request: &SteerWorkflow,
    ) -> Result<SteeringRecorded> {
        let path = format!("/api/v1/workflows/{run}/steering-requests");
        data(self.post(&path, request)).await
    }

    /// Lists the conversations with the orchestrator of a run.
    pub async fn list_steering_sessions(&self, run: WorkflowId) -> Result<Vec<SteeringSession>> {
        data(self.get(&format!("/api/v1/workflows/{run}/steering-sessions"))).await
    }

    /// Lists what was said in one.
    pub async fn list_steering_messages(
        &self,
        run: WorkflowId,
        session: SteeringSessionId,
    ) -> Result<Vec<SteeringMessage>> {
        let path = format!("/api/v1/workflows/{run}/steering-sessions/{session}/messages");
        data(self.get(&path)).await
    }
}
