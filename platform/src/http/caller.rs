//! Who is asking.

use axum::extract::FromRequestParts;
use http::request::Parts;
use protocol::{AgentId, KeyId, ReasonCode, Scope, TenantId, Timestamp, WorkerId, WorkspaceId};
use uuid::Uuid;

use crate::app::App;
use crate::error::Error;

/// Who is asking: made by the guard of the route from a valid key, and by nothing else.
#[derive(Clone, Debug)]
pub struct Caller(std::sync::Arc<Identity>);

/// What is known about a key that was found valid.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Whose data it reaches.
    pub tenant: TenantId,
    /// The key itself.
    pub key: KeyId,
    /// What it may do.
    pub scope: Scope,
    /// What it belongs to.
    pub owner_type: String,
    /// The agent or worker it acts for.
    pub owner: Option<Uuid>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// The workspaces it is restricted to; empty means all.
    pub workspaces: Vec<WorkspaceId>,
    /// The routing tags it is restricted to; empty means all.
    pub routing_tags: Vec<String>,
}

impl Caller {
    /// Only the guard of a route and the key look-up call this.
    pub(super) fn new(identity: std::sync::Arc<Identity>) -> Self {
        Self(identity)
    }

    /// Whose data the caller reaches.
    pub fn tenant(&self) -> TenantId {
        self.0.tenant
    }

    /// Everything known about the key.
    pub fn identity(&self) -> &Identity {
        &self.0
    }

    /// What the caller may do.
    pub fn scope(&self) -> Scope {
        self.0.scope
    }

    /// Whether the caller operates the tenant: an admin or a service.
    pub fn is_operator(&self) -> bool {
        matches!(self.0.scope, Scope::Admin | Scope::Service)
    }

    /// The agent an agent key acts for.
    pub fn agent(&self) -> Option<AgentId> {
        (self.0.scope == Scope::Agent)
            .then_some(self.0.owner)
            .flatten()
            .map(AgentId::from)
    }

    /// The worker a worker key acts for.
    pub fn worker(&self) -> Option<WorkerId> {
        (self.0.scope == Scope::Worker)
            .then_some(self.0.owner)
            .flatten()
            .map(WorkerId::from)
    }

    /// What the caller's request ids are told apart by: its agent or worker, or nil for automation.
    pub fn slot_holder(&self) -> Uuid {
        match self.0.scope {
            Scope::Agent | Scope::Worker => self.0.owner.unwrap_or_else(Uuid::nil),
            Scope::Admin | Scope::Service => Uuid::nil(),
        }
    }

    /// Who an event names as its cause: the holder, or the key.
    pub fn actor(&self) -> Uuid {
        match self.0.scope {
            Scope::Agent | Scope::Worker => self.0.owner.unwrap_or(self.0.key.uuid()),
            Scope::Admin | Scope::Service => self.0.key.uuid(),
        }
    }

    /// The workspaces that lists and look-ups are restricted to; none means all.
    pub fn workspace_filter(&self) -> Option<Vec<Uuid>> {
        let workspaces = &self.0.workspaces;
        (!workspaces.is_empty()).then(|| workspaces.iter().map(|id| id.uuid()).collect())
    }

    /// Refuses what lies outside the key's workspaces.
    ///
    /// # Errors
    /// 403 `outside_workspaces`.
    pub fn may_reach(&self, workspace: Option<WorkspaceId>) -> Result<(), Error> {
        let allowed = &self.0.workspaces;
        if allowed.is_empty() || workspace.is_some_and(|id| allowed.contains(&id)) {
            return Ok(());
        }
        Err(Error::forbidden(
            ReasonCode::OutsideWorkspaces,
            "this key is restricted to other workspaces; name one of them as workspace_id, or use another key",
        ))
    }

    /// Refuses an agent key that acts for another agent, and a worker key for another worker.
    ///
    /// # Errors
    /// 403 `other_identity`.
    pub fn must_be(&self, agent: Option<AgentId>, worker: Option<WorkerId>) -> Result<(), Error> {
        let is_self = match self.0.scope {
            Scope::Admin | Scope::Service => true,
            Scope::Agent => agent.is_some() && self.agent() == agent,
            Scope::Worker => worker.is_some() && self.worker() == worker,
        };
        if is_self {
            return Ok(());
        }
        Err(Error::forbidden(
            ReasonCode::OtherIdentity,
            format!(
                "this {} key acts for its own {0} only; use the key that was made when the other one registered",
                self.0.scope
            ),
        ))
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Error> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            Error::Internal(anyhow::anyhow!("a route that reads its caller is public"))
        })
    }
}
