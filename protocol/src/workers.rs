//! Workers: the processes that host agents.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    AgentId, ConnectionMode, ExecutionMode, JsonObject, PendingMessage, RuntimeType, SignalId,
    SignalType, TaskId, TenantId, Timestamp, WorkerId, WorkerStatus,
};

/// A process that hosts agents.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Worker {
    /// Names the worker.
    pub id: WorkerId,
    /// Whose worker it is.
    pub tenant_id: TenantId,
    /// For people.
    pub name: String,
    /// How it is doing, by the database clock.
    pub status: WorkerStatus,
    /// What kind of program it is.
    pub runtime_type: RuntimeType,
    /// How it reaches the platform.
    pub connection_mode: ConnectionMode,
    /// The tags it serves.
    pub routing_tags: Vec<String>,
    /// How many leases its agents may hold at once, together.
    pub capacity: i32,
    /// How many leases its agents hold.
    pub leases: i64,
    /// The task it holds longest.
    pub current_task_id: Option<TaskId>,
    /// How often it means to beat.
    pub heartbeat_interval_seconds: i32,
    /// The worker protocol it registered with; none for a plain client of the contract.
    pub protocol_version: Option<i32>,
    /// When it was last heard from.
    pub last_heartbeat_at: Timestamp,
    /// When it registered.
    pub connected_at: Timestamp,
    /// Free data.
    pub metadata: JsonObject,
    /// Facts about its machine.
    pub host_info: JsonObject,
    /// What it last measured about itself.
    pub metrics: JsonObject,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed, heartbeats aside.
    pub updated_at: Timestamp,
}

/// Registers a worker together with its agents.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterWorker {
    /// For people.
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// What kind of program it is; `custom` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_type: Option<RuntimeType>,
    /// How it reaches the platform; `polling` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_mode: Option<ConnectionMode>,
    /// The tags it serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routing_tags: Vec<String>,
    /// How many leases its agents may hold at once, together; 1 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub capacity: Option<i32>,
    /// Facts about its machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_info: Option<JsonObject>,
    /// How often it means to beat; 30 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 5, maximum = 3600)]
    pub heartbeat_interval_seconds: Option<i32>,
    /// The worker protocol it speaks. Given, every report must name its attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<u32>,
    /// Free data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
    /// The agents it hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<HostedAgent>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// An agent that registers together with its worker.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostedAgent {
    /// For people.
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// The tags it is meant for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routing_tags: Vec<String>,
    /// Which tasks it takes; `specialist` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_mode: Option<ExecutionMode>,
    /// How many leases it may hold at once; 1 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub capacity: Option<i32>,
    /// Free data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
}

/// A worker that has just registered.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RegisteredWorker {
    /// Names the worker.
    pub worker_id: WorkerId,
    /// Its key, shown this once.
    pub worker_api_key: String,
    /// Its agents, each with a key of its own.
    pub agents: Vec<RegisteredHostedAgent>,
    /// How often to beat.
    pub heartbeat_interval_seconds: i32,
    /// The worker protocol that the platform speaks.
    pub protocol_version: u32,
}

/// An agent that has just registered with its worker.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RegisteredHostedAgent {
    /// Names the agent.
    pub id: AgentId,
    /// For people.
    pub name: String,
    /// The tags it is meant for.
    pub routing_tags: Vec<String>,
    /// Its key, shown this once.
    pub api_key: String,
}

/// A lease that a holder says it works on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatLease {
    /// The task.
    pub task_id: TaskId,
    /// The attempt that the claim returned.
    pub attempt: i32,
    /// How far it has come: free data, 8 KiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<JsonObject>,
}

/// A lease named by its task and attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct LeaseRef {
    /// The task.
    pub task_id: TaskId,
    /// The attempt.
    pub attempt: i32,
}

/// A worker says that it is alive, and which leases its agents work on.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerHeartbeat {
    /// How it is doing: `online`, `busy`, `draining`, `disconnected` or `offline`; `online` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<WorkerStatus>,
    /// The leases its agents work on. Left out by a plain client, whose leases are all renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leases: Option<Vec<HeartbeatLease>>,
    /// The contract's older way of naming what runs. Read, never required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_task_id: Option<TaskId>,
    /// The contract's older way of naming what runs. Read, never required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_tasks: Option<Vec<TaskId>>,
    /// What it measured about itself: free data, 8 KiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<JsonObject>,
    /// Accepted like everywhere; a heartbeat is safe to repeat without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What a worker learns from its heartbeat.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkerHeartbeatAnswer {
    /// Always true.
    pub ack: bool,
    /// How the worker is doing.
    pub status: WorkerStatus,
    /// Signals it has not acknowledged yet, oldest first.
    pub pending_signals: Vec<PendingSignal>,
    /// Leases no longer held: stop working on them.
    pub lost: Vec<LeaseRef>,
    /// Leases called off: stop working on them.
    pub cancelled: Vec<LeaseRef>,
    /// Leases held, but not listed: adopt or release them.
    pub unlisted: Vec<LeaseRef>,
    /// Messages to the holder of these leases that it has not acknowledged yet, those of a task in order.
    #[serde(default)]
    pub messages: Vec<PendingMessage>,
}

/// A signal that waits to be acknowledged.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PendingSignal {
    /// Names the signal.
    pub id: SignalId,
    /// What is asked: `cancel_task`, `set_draining` or `config_update`.
    #[serde(rename = "type")]
    pub signal_type: String,
    /// The task it is about.
    pub task_id: Option<TaskId>,
    /// Free data.
    pub data: JsonObject,
    /// When it was sent.
    pub issued_at: Timestamp,
}

/// Asks a worker to drain, to cancel a task, or to reload its configuration.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalWorker {
    /// What is asked.
    #[serde(rename = "type")]
    pub signal_type: SignalType,
    /// The task it is about. Required for `cancel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// Free data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<JsonObject>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// A signal that was stored and is in every heartbeat answer until it is acknowledged.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SignalSent {
    /// Names the signal.
    pub signal_id: SignalId,
}
