//! Steering: what operators tell orchestrators.

use super::{Client, Filters, Result, data, whole};
use crate::{
    AddInputPacket, InputPacket, InputPacketId, Intervention, InterventionId, Page,
    RecordIntervention, SteerWorkflow, SteeringMessage, SteeringRecorded, SteeringSession,
    SteeringSessionId, WorkflowId,
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

    /// Records that an operator has done something about a run.
    pub async fn record_intervention(
        &self,
        run: WorkflowId,
        intervention: &RecordIntervention,
    ) -> Result<Intervention> {
        let path = format!("/api/v1/workflows/{run}/interventions");
        data(self.post(&path, intervention)).await
    }

    /// Lists what operators have done about a run.
    pub async fn list_interventions(
        &self,
        run: WorkflowId,
        filters: Filters<'_>,
    ) -> Result<Page<Intervention>> {
        let path = format!("/api/v1/workflows/{run}/interventions");
        whole(self.get(&path).query(filters)).await
    }

    /// Reads an intervention.
    pub async fn get_intervention(
        &self,
        run: WorkflowId,
        id: InterventionId,
    ) -> Result<Intervention> {
        data(self.get(&format!("/api/v1/workflows/{run}/interventions/{id}"))).await
    }

    /// Gives a run something more to work with.
    pub async fn add_input_packet(
        &self,
        run: WorkflowId,
        packet: &AddInputPacket,
    ) -> Result<InputPacket> {
        let path = format!("/api/v1/workflows/{run}/input-packets");
        data(self.post(&path, packet)).await
    }

    /// Lists what a run was given to work with.
    pub async fn list_input_packets(
        &self,
        run: WorkflowId,
        filters: Filters<'_>,
    ) -> Result<Page<InputPacket>> {
        let path = format!("/api/v1/workflows/{run}/input-packets");
        whole(self.get(&path).query(filters)).await
    }

    /// Reads an input packet.
    pub async fn get_input_packet(
        &self,
        run: WorkflowId,
        id: InputPacketId,
    ) -> Result<InputPacket> {
        data(self.get(&format!("/api/v1/workflows/{run}/input-packets/{id}"))).await
    }
}
