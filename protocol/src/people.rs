//! What people do with tasks: approve, judge outputs, answer calls for help, give work to someone else.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AgentId, Json, JsonObject, WorkerId};

/// Lets a task run that waits for approval.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveTask {
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Accepts an output that waits for a person's word.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveOutput {
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Refuses a task or its output: it fails.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectTask {
    /// What is wrong with it.
    #[schema(min_length = 1, max_length = 4000)]
    pub feedback: String,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Wants a task done again, with changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestChanges {
    /// What is to be changed; the next attempt finds it in `context.rework`.
    #[schema(min_length = 1, max_length = 4000)]
    pub feedback: String,
    /// A new input in place of the old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_input: Option<JsonObject>,
    /// Only this agent may claim it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_agent_id: Option<AgentId>,
    /// Only agents of this worker may claim it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_worker_id: Option<WorkerId>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Passes over a task: it counts as completed, with the output `{"skipped": true, "reason": ...}`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SkipTask {
    /// Why.
    #[schema(min_length = 1, max_length = 4000)]
    pub reason: String,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Gives a task to another holder, or back to all when none is named.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReassignTask {
    /// Why.
    #[schema(min_length = 1, max_length = 4000)]
    pub reason: String,
    /// Only this agent may claim it from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_agent_id: Option<AgentId>,
    /// Only agents of this worker may claim it from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_worker_id: Option<WorkerId>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Takes a task from its holder, or from its failure, and asks a person for help.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EscalateTask {
    /// What help is needed.
    #[schema(min_length = 1, max_length = 4000)]
    pub reason: String,
    /// Who is to help: free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub escalation_target: Option<String>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// The holder of a task asks for help, and hands the task back until it is answered.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentEscalate {
    /// What help is needed.
    #[schema(min_length = 1, max_length = 4000)]
    pub reason: String,
    /// What a person must know to help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4000)]
    pub context_summary: Option<String>,
    /// What has been done until now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 8000)]
    pub work_so_far: Option<String>,
    /// The attempt that the claim returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// The agent that holds the task, if named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// Its worker, if named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// Accepted like everywhere; an escalation is safe to repeat without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Answers a call for help.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerEscalation {
    /// What to do; the next attempt finds it in `context.escalation`.
    #[schema(min_length = 1, max_length = 4000)]
    pub instructions: String,
    /// What else to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<JsonObject>,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Gives the output of a task by hand: it counts as completed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OverrideOutput {
    /// The output: any JSON value.
    pub output: Json,
    /// Why.
    #[schema(min_length = 1, max_length = 4000)]
    pub reason: String,
    /// Makes the request safe to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
