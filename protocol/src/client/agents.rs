//! Agents: the identities that hold leases.

use super::{Client, Filters, Result, data, done, whole};
use crate::{
    Agent, AgentHeartbeat, AgentHeartbeatAnswer, AgentId, Page, RegisterAgent, RegisteredAgent,
};

impl Client {
    /// Registers an agent of its own.
    pub async fn register_agent(&self, agent: &RegisterAgent) -> Result<RegisteredAgent> {
        data(self.post("/api/v1/agents/register", agent)).await
    }

    /// Says that an agent is alive, and renews its leases.
    pub async fn heartbeat_agent(
        &self,
        id: AgentId,
        heartbeat: &AgentHeartbeat,
    ) -> Result<AgentHeartbeatAnswer> {
        data(self.report(&format!("/api/v1/agents/{id}/heartbeat"), heartbeat)).await
    }

    /// Lists agents. Filters: `page`, `per_page`.
    pub async fn list_agents(&self, filters: Filters<'_>) -> Result<Page<Agent>> {
        whole(self.get("/api/v1/agents").query(filters)).await
    }

    /// Reads one agent.
    pub async fn get_agent(&self, id: AgentId) -> Result<Agent> {
        data(self.get(&format!("/api/v1/agents/{id}"))).await
    }

    /// Deletes an agent and revokes its keys.
    pub async fn delete_agent(&self, id: AgentId) -> Result<()> {
        done(self.delete(&format!("/api/v1/agents/{id}"))).await
    }
}
