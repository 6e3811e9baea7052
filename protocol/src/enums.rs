//! Closed sets of words, shared by requests, answers, the database and the documents.

use serde::{Deserialize, Serialize};

/// A closed set of words: each variant has one word, used on the wire, in the database and in logs.
macro_rules! words {
    ($($(#[doc = $doc:literal])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* })*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// Every word of the set, in the order of their definition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word itself.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        // Not derived: the derive would take the names of the variants for the words.
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::schema::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .description(Some(concat!($($doc),*).trim()))
                    .enum_values(Some([$($word),*]))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(crate::UnknownWord {
                        word: text.to_owned(),
                        allowed: &[$($word),*],
                    }),
                }
            }
        }
    )*};
}
pub(crate) use words;

/// A word that is not in its closed set.
#[derive(Clone, Debug)]
pub struct UnknownWord {
    /// What was sent.
    pub word: String,
    /// What would have been accepted.
    pub allowed: &'static [&'static str],
}

impl std::fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} is not one of {}",
            self.word,
            self.allowed.join(", ")
        )
    }
}

impl std::error::Error for UnknownWord {}

words! {
    /// What a key may do. Each scope of the ladder agent, worker, admin, service includes the ones before.
    Scope {
        /// Acts for one agent: claims, reports, reads.
        Agent = "agent",
        /// Acts for one worker and its agents.
        Worker = "worker",
        /// Operates a tenant.
        Admin = "admin",
        /// Operates a tenant on behalf of another service.
        Service = "service",
    }

    /// Where a task is in its life.
    TaskState {
        /// Waits for its dependencies, for its time, or for a retry.
        Pending = "pending",
        /// Can be claimed now.
        Ready = "ready",
        /// Held by an attempt that has not started yet.
        Claimed = "claimed",
        /// Held by an attempt that runs.
        InProgress = "in_progress",
        /// Waits for a person before it may run.
        AwaitingApproval = "awaiting_approval",
        /// Has an output that waits for a person's or an assessor's word.
        OutputPendingAssessment = "output_pending_assessment",
        /// Waits for an answer to an escalation.
        Escalated = "escalated",
        /// Ended well; has an output.
        Completed = "completed",
        /// Ended badly; has an error.
        Failed = "failed",
        /// Was called off.
        Cancelled = "cancelled",
    }

    /// What sort of work a task is.
    TaskType {
        /// Finding something out.
        Analysis = "analysis",
        /// Writing a program.
        Code = "code",
        /// Judging another task's output.
        Assessment = "assessment",
        /// Testing.
        Test = "test",
        /// Writing documents.
        Docs = "docs",
        /// Steering a workflow.
        Orchestration = "orchestration",
        /// Anything else.
        Custom = "custom",
    }

    /// The part a task plays in a workflow.
    TaskKind {
        /// Delivers something.
        Delivery = "delivery",
        /// Judges a delivery.
        Assessment = "assessment",
        /// Approves a delivery.
        Approval = "approval",
        /// Steers the workflow.
        Orchestrator = "orchestrator",
    }

    /// Which ready task goes first. Strict: a lower one waits while a higher one is ready.
    Priority {
        /// Before everything else.
        Critical = "critical",
        /// Before normal.
        High = "high",
        /// The default.
        Normal = "normal",
        /// When nothing else is ready.
        Low = "low",
    }

    /// Where a task is meant to be executed.
    ExecutionBackend {
        /// Inside the agent's own process: orchestrator tasks.
        RuntimeOnly = "runtime_only",
        /// With a sandbox of its own: all other tasks.
        RuntimePlusTask = "runtime_plus_task",
    }

    /// Which tasks an agent takes.
    ExecutionMode {
        /// All but orchestrator tasks.
        Specialist = "specialist",
        /// Orchestrator tasks only.
        Orchestrator = "orchestrator",
        /// Both.
        Hybrid = "hybrid",
    }

    /// What becomes of a task when a task it depends on fails or is cancelled.
    OnDependencyFailure {
        /// It fails too. The default.
        Fail = "fail",
        /// It is cancelled.
        Cancel = "cancel",
        /// It runs all the same.
        Run = "run",
    }

    /// How the pause before a retry grows.
    BackoffStrategy {
        /// Always the same.
        Fixed = "fixed",
        /// By the first pause each time.
        Linear = "linear",
        /// Doubles each time.
        Exponential = "exponential",
    }

    /// How an agent is doing, judged by the database clock.
    AgentStatus {
        /// Registered or heard from in time; holds nothing.
        Active = "active",
        /// Heard from in time; holds a lease.
        Busy = "busy",
        /// Not heard from for two heartbeat intervals.
        Inactive = "inactive",
        /// Its worker is offline.
        Offline = "offline",
    }

    /// How a worker is doing, judged by the database clock.
    WorkerStatus {
        /// Heard from in time; holds nothing.
        Online = "online",
        /// Heard from in time; holds a lease.
        Busy = "busy",
        /// Takes no new work.
        Draining = "draining",
        /// Late by one heartbeat interval.
        Degraded = "degraded",
        /// Late by two heartbeat intervals.
        Disconnected = "disconnected",
        /// Said good-bye, or silent for five minutes beyond two intervals.
        Offline = "offline",
    }

    /// What kind of program a worker is.
    RuntimeType {
        /// An OpenClaw runtime.
        Openclaw = "openclaw",
        /// A Claude Code runtime.
        ClaudeCode = "claude_code",
        /// A Codex runtime.
        Codex = "codex",
        /// An ACP runtime.
        Acp = "acp",
        /// A program of one's own, such as `stint-worker`.
        Custom = "custom",
        /// Anything else.
        External = "external",
    }

    /// How a worker reaches the platform.
    ConnectionMode {
        /// Over a websocket.
        Websocket = "websocket",
        /// Over server-sent events.
        Sse = "sse",
        /// By asking.
        Polling = "polling",
    }

    /// What an operator asks of a worker.
    SignalType {
        /// Stop one task.
        Cancel = "cancel",
        /// Finish what runs, take nothing new.
        Drain = "drain",
        /// Read the configuration again.
        ConfigUpdate = "config_update",
    }

    /// How an agent speaks.
    AgentProtocol {
        /// Plain HTTP.
        Rest = "rest",
        /// The agent client protocol.
        Acp = "acp",
    }
}

impl TaskState {
    /// Whether the task has ended: completed, failed or cancelled.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

#[expect(
    clippy::derivable_impls,
    reason = "the macro that makes the set of words has no place for a default"
)]
impl Default for Priority {
    fn default() -> Self {
        Self::Normal
    }
}

impl Priority {
    /// The number that orders priorities in the database: the most urgent is 0.
    pub const fn rank(self) -> i16 {
        match self {
            Self::Critical => 0,
            Self::High => 1,
            Self::Normal => 2,
            Self::Low => 3,
        }
    }

    /// The priority of a rank; an unknown rank is the lowest.
    pub const fn from_rank(rank: i16) -> Self {
        match rank {
            0 => Self::Critical,
            1 => Self::High,
            2 => Self::Normal,
            _ => Self::Low,
        }
    }
}
