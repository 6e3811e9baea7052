//! What the clients of a run asked for and were answered, as lines of JSON.
//!
//! Every request is two lines of the same number: `invoke`, and how it ended. `ok` is an answer, `fail` a
//! refusal, and `unknown` no answer at all: the request may have had its effect or not. What never ended is
//! unknown too.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use stint_protocol::client::ClientError;
use uuid::Uuid;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub(crate) enum Call {
    /// To make a task.
    Create { request_id: String },
    /// To launch a run.
    Launch { request_id: String },
    /// To call a task off.
    Cancel { task: Uuid, request_id: String },
    /// For a task to work on, started.
    Claim { agent: Uuid, request_id: String },
    /// To take note of the end of an attempt: `complete`, `fail` or `release`.
    Report { end: End, task: Uuid, attempt: i32 },
    /// To read things of its tenant.
    Read { what: String },
    /// A program to run: what a worker does with an attempt.
    Run { task: Uuid, attempt: i32 },
}

/// How a holder ends an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    Complete,
    Fail,
    Release,
}

/// What an answer names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The thing that was made, claimed or changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<Uuid>,
    /// The state it is in now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<String>,
    /// The attempt that was claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attempt: Option<i32>,
    /// Whose things are in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tenants: Vec<Uuid>,
}

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Pairs what was asked with how it ended.
    pub(crate) op: u64,
    /// Milliseconds since the history began.
    pub(crate) at_ms: u64,
    /// Who asks.
    pub(crate) client: String,
    /// For which tenant.
    pub(crate) tenant: Uuid,
    #[serde(flatten)]
    pub(crate) phase: Phase,
}

/// Asked, or ended in one of three ways.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub(crate) enum Phase {
    Invoke(Call),
    Ok(Answer),
    Fail { status: u16, why: String },
    Unknown { why: String },
}

/// A request with its end, as the checker reads it.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) client: String,
    pub(crate) tenant: Uuid,
    pub(crate) call: Call,
    pub(crate) end: Option<Phase>,
}

impl Op {
    /// The answer, if there was one.
    pub(crate) fn answer(&self) -> Option<&Answer> {
        match &self.end {
            Some(Phase::Ok(answer)) => Some(answer),
            _ => None,
        }
    }
}

/// Reads the lines of a history file.
pub(crate) fn read(text: &str) -> Vec<Op> {
    let mut ops = std::collections::BTreeMap::new();
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).expect("a line of a history");
        match line.phase {
            Phase::Invoke(call) => {
                let (client, tenant) = (line.client, line.tenant);
                let op = Op {
                    client,
                    tenant,
                    call,
                    end: None,
                };
                ops.insert(line.op, op);
            }
            end => ops.get_mut(&line.op).expect("asked before it ended").end = Some(end),
        }
    }
    ops.into_values().collect()
}

/// Writes a history.
#[derive(Clone)]
pub(crate) struct Recorder(Arc<Mutex<Lines>>);

struct Lines {
    file: BufWriter<File>,
    began: Instant,
    ops: u64,
}

impl Recorder {
    pub(crate) fn create(path: &Path) -> Self {
        Self(Arc::new(Mutex::new(Lines {
            file: BufWriter::new(File::create(path).expect("our own folder")),
            began: Instant::now(),
            ops: 0,
        })))
    }

    /// How many requests were made.
    pub(crate) fn operations(&self) -> u64 {
        self.0.lock().expect("no panic under the lock").ops
    }

    /// Makes sure that everything is in the file.
    pub(crate) fn flush(&self) {
        let mut lines = self.0.lock().expect("no panic under the lock");
        lines.file.flush().expect("our own file");
    }

    /// A client of a tenant that will record what it does.
    pub(crate) fn client(&self, name: &str, tenant: Uuid) -> Scribe {
        Scribe {
            recorder: self.clone(),
            name: name.to_owned(),
            tenant,
        }
    }

    fn write(&self, op: Option<u64>, scribe: &Scribe, phase: Phase) -> u64 {
        let mut lines = self.0.lock().expect("no panic under the lock");
        let op = op.unwrap_or_else(|| {
            lines.ops += 1;
            lines.ops
        });
        let line = Line {
            op,
            at_ms: u64::try_from(lines.began.elapsed().as_millis()).expect("not for ages"),
            client: scribe.name.clone(),
            tenant: scribe.tenant,
            phase,
        };
        serde_json::to_writer(&mut lines.file, &line).expect("our own file");
        lines.file.write_all(b"\n").expect("our own file");
        op
    }
}

/// Writes down what one client does.
#[derive(Clone)]
pub(crate) struct Scribe {
    recorder: Recorder,
    name: String,
    pub(crate) tenant: Uuid,
}

impl Scribe {
    /// Sends a request and records it; `read` tells what the answer names.
    pub(crate) async fn send<T>(
        &self,
        call: Call,
        patience: std::time::Duration,
        request: impl Future<Output = Result<T, ClientError>>,
        read: impl FnOnce(&T) -> Answer,
    ) -> Result<T, Failed> {
        let op = self.recorder.write(None, self, Phase::Invoke(call));
        let answered = tokio::time::timeout(patience, request).await;
        let (phase, result) = match answered {
            Ok(Ok(answer)) => (Phase::Ok(read(&answer)), Ok(answer)),
            Ok(Err(error)) => {
                let why = error.to_string();
                let may_repeat = error.is_safe_to_repeat();
                let unknown = matches!(error, ClientError::Unreachable(_))
                    || error.reason() == Some(stint_protocol::ReasonCode::OutcomeUnknown);
                let phase = match error.status() {
                    Some(status) if !unknown => Phase::Fail { status, why },
                    _ => Phase::Unknown { why },
                };
                (phase, Err(Failed { may_repeat }))
            }
            Err(_) => {
                let why = format!("no answer within {patience:?}");
                let failed = Failed { may_repeat: true };
                (Phase::Unknown { why }, Err(failed))
            }
        };
        self.recorder.write(Some(op), self, phase);
        result
    }
}

/// A request without an answer.
#[derive(Debug)]
pub(crate) struct Failed {
    /// Whether the same request may be sent again.
    pub(crate) may_repeat: bool,
}
