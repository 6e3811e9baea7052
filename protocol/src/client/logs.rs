//! Execution logs.

use super::sse::{self, EntryStream};
use super::{Client, Filters, Result, data, whole};
use crate::{IngestLogs, LogEntry, LogPage, LogsIngested};

impl Client {
    /// Hands in log entries; each is judged on its own.
    pub async fn ingest_logs(&self, logs: &IngestLogs) -> Result<LogsIngested> {
        data(self.report("/api/v1/logs/ingest", logs)).await
    }

    /// Reads a stretch of the log. Filters: `task_id`, `level`, `cursor`, `per_page` and others.
    pub async fn list_logs(&self, filters: Filters<'_>) -> Result<LogPage> {
        whole(self.get("/api/v1/logs").query(filters)).await
    }

    /// Reads one log entry.
    pub async fn get_log(&self, id: &str) -> Result<LogEntry> {
        data(self.get(&format!("/api/v1/logs/{id}"))).await
    }

    /// Follows the log, from after `last_event_id` or from now on.
    pub async fn stream_logs(
        &self,
        filters: Filters<'_>,
        last_event_id: Option<&str>,
    ) -> Result<EntryStream<LogEntry>> {
        let request = self.get("/api/v1/logs/stream").query(filters);
        sse::open(request, last_event_id, Some("log")).await
    }
}
