//! Metering: what work reports to have used.

use super::{Client, Filters, Result, data};
use crate::{MeterUsage, MeteredUsage};

impl Client {
    /// Reports what work on a task has used since the last such report.
    pub async fn meter_usage(&self, usage: &MeterUsage) -> Result<MeteredUsage> {
        data(self.post("/api/v1/metering/events", usage)).await
    }

    /// Lists what was reported, the newest first. Filters: `workflow_id`, `task_id`, `worker_id`, `limit`.
    pub async fn list_usage(&self, filters: Filters<'_>) -> Result<Vec<MeteredUsage>> {
        data(self.get("/api/v1/metering/events").query(filters)).await
    }
}
