//! From the stored columns to the entry that clients read.

use protocol::{JsonObject, LogEntry, LogError, LogInput, LogLevel, TenantId};
use serde::{Deserialize, Serialize};

use super::store::Row;
use crate::error::Error;
use crate::http::Cursor;

/// The number under which a level is stored, so that a least level is a comparison.
pub(super) const fn rank(level: LogLevel) -> i16 {
    match level {
        LogLevel::Debug => 0,
        LogLevel::Info => 1,
        LogLevel::Warn => 2,
        LogLevel::Error => 3,
    }
}

/// The level of a stored number.
const fn level(rank: i16) -> LogLevel {
    match rank {
        ..=0 => LogLevel::Debug,
        1 => LogLevel::Info,
        2 => LogLevel::Warn,
        3.. => LogLevel::Error,
    }
}

/// Names for people: kept together, because nothing is ever looked up by them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Labels {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workflow_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workspace_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    task_title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    actor_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource_name: Option<String>,
}

impl Labels {
    /// The names of an entry.
    pub(super) fn of(entry: &LogInput) -> Self {
        Self {
            workflow_name: entry.workflow_name.clone(),
            workspace_name: entry.workspace_name.clone(),
            task_title: entry.task_title.clone(),
            actor_name: entry.actor_name.clone(),
            resource_type: entry.resource_type.clone(),
            resource_id: entry.resource_id.clone(),
            resource_name: entry.resource_name.clone(),
        }
    }

    /// The names as JSON; none when there are none.
    pub(super) fn to_text(&self) -> Option<String> {
        (*self != Self::default())
            .then(|| serde_json::to_string(self).expect("names are plain data"))
    }
}

/// How much of an entry is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// Everything.
    Full,
    /// No payload, and of an error no stack.
    Summary,
}

/// An entry as clients read it. Its id is the cursor after which to go on.
pub(super) fn entry(tenant: TenantId, row: Row, detail: Detail) -> Result<LogEntry, Error> {
    let labels: Labels = match &row.labels {
        Some(text) => serde_json::from_str(text)?,
        None => Labels::default(),
    };
    let mut error: Option<LogError> = match &row.error {
        Some(text) => Some(serde_json::from_str(text)?),
        None => None,
    };
    let mut payload = row.payload.map(JsonObject::from_text).transpose()?;
    if detail == Detail::Summary {
        payload = None;
        if let Some(error) = &mut error {
            error.stack = None;
        }
    }
    Ok(LogEntry {
        id: Cursor::of_row(&row.xid, row.id)?.to_string(),
        tenant_id: tenant,
        created_at: row.created_at.into(),
        occurred_at: row.occurred_at.map(Into::into),
        trace_id: row.trace_id,
        span_id: row.span_id,
        parent_span_id: row.parent_span_id,
        source: row.source.parse().map_err(anyhow::Error::from)?,
        category: row.category.parse().map_err(anyhow::Error::from)?,
        level: level(row.level),
        operation: row.operation,
        status: row.status.parse().map_err(anyhow::Error::from)?,
        duration_ms: row.duration_ms,
        payload,
        error,
        workspace_id: row.workspace_id.map(Into::into),
        workflow_id: row.workflow_id.map(Into::into),
        task_id: row.task_id.map(Into::into),
        attempt: row.attempt,
        seq: row.seq,
        work_item_id: row.work_item_id.map(Into::into),
        activation_id: row.activation_id.map(Into::into),
        workflow_name: labels.workflow_name,
        workspace_name: labels.workspace_name,
        stage_name: row.stage_name,
        task_title: labels.task_title,
        role: row.role,
        is_orchestrator_task: row.is_orchestrator_task,
        execution_backend: word(row.execution_backend.as_deref())?,
        tool_owner: word(row.tool_owner.as_deref())?,
        actor_type: row.actor_type,
        actor_id: row.actor_id,
        actor_name: labels.actor_name,
        resource_type: labels.resource_type,
        resource_id: labels.resource_id,
        resource_name: labels.resource_name,
    })
}

fn word<T>(text: Option<&str>) -> Result<Option<T>, Error>
where
    T: std::str::FromStr<Err = protocol::UnknownWord>,
{
    Ok(text
        .map(str::parse)
        .transpose()
        .map_err(anyhow::Error::from)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_read_as_they_were_written_and_grow() {
        let mut last = i16::MIN;
        for known in LogLevel::ALL {
            assert_eq!(level(rank(*known)), *known);
            assert!(rank(*known) > last);
            last = rank(*known);
        }
    }

    #[test]
    fn no_names_are_stored_as_nothing() {
        assert_eq!(Labels::default().to_text(), None);
        let named = Labels {
            task_title: Some("x".to_owned()),
            ..Labels::default()
        };
        assert_eq!(named.to_text().as_deref(), Some(r#"{"task_title":"x"}"#));
    }
}
