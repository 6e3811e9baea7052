//! Typed ids: a task id cannot be passed where a worker id is wanted.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = Uuid)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id whose order is the order of creation (UUID version 7).
            #[expect(clippy::new_without_default, reason = "an id is made on purpose, never by default")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// An id that is known already.
            pub const fn of(id: Uuid) -> Self {
                Self(id)
            }

            /// The id as the database knows it.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

ids! {
    /// Names a tenant: the owner of every row.
    TenantId;
    /// Names an API key. Not a secret.
    KeyId;
    /// Names an agent: the identity that holds leases.
    AgentId;
    /// Names a worker: a process that hosts agents.
    WorkerId;
    /// Names a task.
    TaskId;
    /// Names a signal sent to a worker.
    SignalId;
    /// Names a message to whoever holds a task.
    MessageId;
    /// Names a workspace.
    WorkspaceId;
    /// Names a version of a playbook.
    PlaybookId;
    /// Names a workflow run.
    WorkflowId;
    /// Names a work item of a workflow.
    WorkItemId;
    /// Names an activation of an orchestrator.
    ActivationId;
    /// Names a request that a person look at a stage.
    GateId;
    /// Names a conversation of operators with an orchestrator.
    SteeringSessionId;
    /// Names what an operator has done about a run.
    InterventionId;
    /// Names something that a run was given to work with.
    InputPacketId;
}
