//! A line as the platform wants it.

use stint_protocol::{
    ClaimedTask, JsonObject, LogCategory, LogInput, LogLevel, LogSource, LogStatus, TaskId,
    WorkflowId,
};
use uuid::Uuid;

use super::{Line, Stream};

/// What all entries of one attempt have in common.
pub(super) struct Origin {
    trace_id: Uuid,
    span_id: Uuid,
    task_id: TaskId,
    attempt: i32,
    workflow_id: Option<WorkflowId>,
}

/// A line whose size on the wire is known, but which has no number yet.
pub(super) struct Packed {
    line: Line,
    quoted: String,
}

impl Packed {
    pub(super) fn new(line: Line) -> Self {
        let quoted = serde_json::to_string(&line.text).expect("text is JSON");
        Self { line, quoted }
    }

    /// How long the text is on the wire.
    pub(super) fn size(&self) -> usize {
        self.quoted.len()
    }
}

impl Origin {
    pub(super) fn of(task: &ClaimedTask) -> Self {
        Self {
            trace_id: Uuid::now_v7(),
            span_id: Uuid::now_v7(),
            task_id: task.id,
            attempt: task.attempt,
            workflow_id: task.workflow_id,
        }
    }

    /// The entry of one output line.
    pub(super) fn output_line(&self, packed: &Packed, seq: i64) -> LogInput {
        let payload = format!(
            r#"{{"stream":"{}","line":{},"seq":{seq}}}"#,
            packed.line.stream.as_str(),
            packed.quoted
        );
        let payload = JsonObject::from_text(payload).expect("made of valid parts");
        let mut entry = self.entry("command.output", LogStatus::Completed, seq, payload);
        entry.created_at = Some(packed.line.at);
        entry
    }

    /// The entry that tells how many lines did not fit.
    pub(super) fn dropped(&self, dropped: u64, seq: i64) -> LogInput {
        let payload = format!(
            r#"{{"stream":"{}","line":"{dropped} lines were dropped: they came faster than they could be sent","seq":{seq},"dropped":{dropped}}}"#,
            Stream::Worker.as_str(),
        );
        let payload = JsonObject::from_text(payload).expect("made of valid parts");
        let mut entry = self.entry("logs.dropped", LogStatus::Skipped, seq, payload);
        entry.level = Some(LogLevel::Warn);
        entry
    }

    /// What takes the place of a line that the platform does not accept.
    pub(super) fn refused(&self, seq: i64) -> LogInput {
        let payload = format!(
            r#"{{"stream":"{}","line":"the platform refused this line","seq":{seq}}}"#,
            Stream::Worker.as_str(),
        );
        let payload = JsonObject::from_text(payload).expect("made of valid parts");
        let mut entry = self.entry("command.output", LogStatus::Skipped, seq, payload);
        entry.level = Some(LogLevel::Warn);
        entry
    }

    fn entry(&self, operation: &str, status: LogStatus, seq: i64, payload: JsonObject) -> LogInput {
        LogInput {
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent_span_id: None,
            source: LogSource::TaskContainer,
            category: LogCategory::Tool,
            level: None,
            operation: operation.to_owned(),
            status,
            duration_ms: None,
            payload: Some(payload),
            error: None,
            workspace_id: None,
            workflow_id: self.workflow_id,
            task_id: Some(self.task_id),
            attempt: Some(self.attempt),
            seq: Some(seq),
            work_item_id: None,
            activation_id: None,
            workflow_name: None,
            workspace_name: None,
            stage_name: None,
            task_title: None,
            role: None,
            is_orchestrator_task: None,
            execution_backend: None,
            tool_owner: None,
            actor_type: None,
            actor_id: None,
            actor_name: None,
            resource_type: None,
            resource_id: None,
            resource_name: None,
            created_at: None,
        }
    }
}
