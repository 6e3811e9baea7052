//! Agents: the identities that hold leases.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    AgentId, AgentProtocol, AgentStatus, ExecutionMode, HeartbeatLease, JsonObject, LeaseRef,
    PendingMessage, TaskId, TenantId, Timestamp, WorkerId,
};

/// An identity that holds leases.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Agent {
    /// Names the agent.
    pub id: AgentId,
    /// Whose agent it is.
    pub tenant_id: TenantId,
    /// The worker that hosts it.
    pub worker_id: Option<WorkerId>,
    /// For people.
    pub name: String,
    /// How it speaks.
    pub protocol: AgentProtocol,
    /// How it is doing, by the database clock.
    pub status: AgentStatus,
    /// Which tasks it takes.
    pub execution_mode: ExecutionMode,
    /// The tags it is meant for. A claim names its own.
    pub routing_tags: Vec<String>,
    /// How many leases it may hold at once.
    pub capacity: i32,
    /// How many leases it holds.
    pub leases: i64,
    /// The task it holds longest.
    pub current_task_id: Option<TaskId>,
    /// How often it means to beat.
    pub heartbeat_interval_seconds: i32,
    /// The worker protocol it registered with; none for a plain client of the contract.
    pub protocol_version: Option<i32>,
    /// When it was last heard from.
    pub last_heartbeat_at: Timestamp,
    /// When it claimed the newest of the leases it holds.
    pub last_claim_at: Option<Timestamp>,
    /// Free data.
    pub metadata: JsonObject,
    /// Tools it needs and can use.
    pub tools: JsonObject,
    /// When it registered.
    pub registered_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed, heartbeats aside.
    pub updated_at: Timestamp,
}

/// Registers an agent of its own, without a worker or for an existing one.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterAgent {
    /// For people.
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// How it speaks; `rest` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<AgentProtocol>,
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
    /// The worker that hosts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// A playbook it works for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook_id: Option<uuid::Uuid>,
    /// How often it means to beat; 60 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 5, maximum = 3600)]
    pub heartbeat_interval_seconds: Option<i32>,
    /// The worker protocol it speaks. Given, every report must name its attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<u32>,
    /// Whether to make a key for it; true unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issue_api_key: Option<bool>,
    /// Tools it needs and can use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<JsonObject>,
    /// Facts about its ACP side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acp: Option<JsonObject>,
    /// A description of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<JsonObject>,
    /// Free data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// An agent that has just registered.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RegisteredAgent {
    /// Names the agent.
    pub id: AgentId,
    /// For people.
    pub name: String,
    /// The tags it is meant for.
    pub routing_tags: Vec<String>,
    /// How it is doing.
    pub status: AgentStatus,
    /// Its key, shown this once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// How often to beat.
    pub heartbeat_interval_seconds: i32,
    /// Free data.
    pub metadata: JsonObject,
    /// Tools it needs and can use.
    pub tools: JsonObject,
}

/// An agent says that it is alive, and which leases it works on.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentHeartbeat {
    /// The leases it works on. Left out by a plain client, whose leases are all renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leases: Option<Vec<HeartbeatLease>>,
    /// Accepted like everywhere; a heartbeat is safe to repeat without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What an agent learns from its heartbeat.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AgentHeartbeatAnswer {
    /// Always true.
    pub ack: bool,
    /// How the agent is doing.
    pub status: AgentStatus,
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
