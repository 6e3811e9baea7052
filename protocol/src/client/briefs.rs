//! Operator briefs and updates: what agents tell people.

use super::{Client, Filters, Result, data};
use crate::{
    BriefRecorded, OperatorBrief, OperatorUpdate, RecordBrief, RecordUpdate, UpdateRecorded,
    WorkflowId,
};

impl Client {
    /// Tells people what came of a piece of work.
    pub async fn record_brief(
        &self,
        run: WorkflowId,
        brief: &RecordBrief,
    ) -> Result<BriefRecorded> {
        let path = format!("/api/v1/workflows/{run}/operator-briefs");
        data(self.post(&path, brief)).await
    }

    /// Lists the briefs of a run, the newest first.
    pub async fn list_briefs(
        &self,
        run: WorkflowId,
        filters: Filters<'_>,
    ) -> Result<Vec<OperatorBrief>> {
        let path = format!("/api/v1/workflows/{run}/operator-briefs");
        data(self.get(&path).query(filters)).await
    }

    /// Tells people who look on what an agent is doing.
    pub async fn record_update(
        &self,
        run: WorkflowId,
        update: &RecordUpdate,
    ) -> Result<UpdateRecorded> {
        let path = format!("/api/v1/workflows/{run}/operator-updates");
        data(self.post(&path, update)).await
    }

    /// Lists the updates of a run, the newest first.
    pub async fn list_updates(
        &self,
        run: WorkflowId,
        filters: Filters<'_>,
    ) -> Result<Vec<OperatorUpdate>> {
        let path = format!("/api/v1/workflows/{run}/operator-updates");
        data(self.get(&path).query(filters)).await
    }
}
