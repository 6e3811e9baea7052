//! The inbox: whatever waits for a person.

use uuid::Uuid;

use super::{Client, Filters, Result, data, whole};
use crate::{Approval, ApprovalDecided, DecideApproval, Page};

impl Client {
    /// Lists what waits for a person, the oldest first. Filters: `kind`, `workflow_id`, `workspace_id`, `page`, `per_page`.
    pub async fn list_approvals(&self, filters: Filters<'_>) -> Result<Page<Approval>> {
        whole(self.get("/api/v1/approvals").query(filters)).await
    }

    /// Reads one of them.
    pub async fn get_approval(&self, id: Uuid) -> Result<Approval> {
        data(self.get(&format!("/api/v1/approvals/{id}"))).await
    }

    /// Decides.
    pub async fn decide_approval(
        &self,
        id: Uuid,
        decision: &DecideApproval,
    ) -> Result<ApprovalDecided> {
        data(self.post(&format!("/api/v1/approvals/{id}"), decision)).await
    }
}
