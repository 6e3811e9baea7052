//! What a claim must know about its agent before it asks the database for a task.
//!
//! These facts never change after registration, so they are remembered. Whether the agent still exists,
//! drains or is full is decided by the claim statement itself.

use std::sync::Arc;

use dashmap::DashMap;
use protocol::{AgentId, ExecutionMode, TenantId, WorkerId};

use super::{record, store};
use crate::app::App;
use crate::error::Error;

/// Agents remembered at most; beyond, the memory starts anew.
const HOLDERS_MAX: usize = 100_000;
/// Shortest lease that is given unless the claim asks for one: a worker that beats every few seconds may
/// still be out of reach for half a minute.
const LEASE_SECONDS_MIN: i32 = 30;
/// A lease lasts this many heartbeats, so that two may be lost.
const HEARTBEATS_PER_LEASE: i32 = 3;

/// An agent and its worker, as far as claims care.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) worker: Option<WorkerId>,
    pub(super) mode: ExecutionMode,
    pub(super) capacity: i32,
    pub(super) worker_capacity: Option<i32>,
    pub(super) is_fenced: bool,
    pub(super) lease_seconds: i32,
}

/// Agents that have claimed here.
#[derive(Default)]
pub struct Holders(DashMap<(TenantId, AgentId), Arc<Holder>>);

impl Holders {
    /// What is known about an agent.
    pub(super) async fn get(
        &self,
        app: &App,
        tenant: TenantId,
        agent: AgentId,
    ) -> Result<Arc<Holder>, Error> {
        if let Some(holder) = self.0.get(&(tenant, agent)) {
            return Ok(Arc::clone(&holder));
        }
        // Boxed, because what a request may have to ask the database takes more room than all the rest of it, and a
        // claim that waits would keep that room.
        Box::pin(self.look_up(app, tenant, agent)).await
    }

    async fn look_up(
        &self,
        app: &App,
        tenant: TenantId,
        agent: AgentId,
    ) -> Result<Arc<Holder>, Error> {
        let mut db = app.db.reader().await?;
        let row = store::holder(&mut db, tenant, agent.uuid())
            .await?
            .ok_or_else(|| Error::not_found("agent", agent))?;
        let holder = Arc::new(Holder {
            worker: row.worker_id.map(WorkerId::from),
            mode: record::word(&row.execution_mode)?,
            capacity: row.capacity,
            worker_capacity: row.worker_capacity,
            is_fenced: row.is_fenced,
            lease_seconds: (row.heartbeat_interval_seconds * HEARTBEATS_PER_LEASE)
                .max(LEASE_SECONDS_MIN),
        });
        if self.0.len() >= HOLDERS_MAX {
            self.0.clear();
        }
        self.0.insert((tenant, agent), Arc::clone(&holder));
        Ok(holder)
    }

    /// Forgets an agent that turned out not to exist any more.
    pub(super) fn forget(&self, tenant: TenantId, agent: AgentId) {
        self.0.remove(&(tenant, agent));
    }
}
