//! A tenant, as its admin sees it.

use stint_protocol::client::Client;
use stint_protocol::{CreateTask, Task, TaskId, TaskState};

use super::{ADMIN_KEY, PlatformProcess};
use crate::new_task;
use crate::place::until;

/// A tenant, seen by its admin.
pub struct Tenant {
    /// A client with its admin key.
    pub client: Client,
    /// The address of the platform.
    pub url: String,
    /// Its admin key.
    pub key: String,
}

impl Tenant {
    /// The tenant that every platform begins with.
    pub fn first_of(platform: &PlatformProcess) -> Self {
        Self {
            client: platform.admin(),
            url: platform.url.clone(),
            key: ADMIN_KEY.to_owned(),
        }
    }

    /// Creates a task for a role.
    ///
    /// # Panics
    /// When the platform does not answer.
    pub async fn create(&self, role: &str) -> TaskId {
        let task = CreateTask {
            role: Some(role.to_owned()),
            ..new_task(role)
        };
        self.client.create_task(&task).await.expect("a task").id
    }

    /// Reads a task.
    ///
    /// # Panics
    /// When the platform does not answer.
    pub async fn task(&self, id: TaskId) -> Task {
        self.client.get_task(id).await.expect("the task")
    }

    /// Waits until a task has ended well, and returns it.
    pub async fn completed(&self, id: TaskId) -> Task {
        until("the task is completed", async || {
            self.is_in(id, TaskState::Completed).await
        })
        .await;
        self.task(id).await
    }

    /// Whether a task is in a state; not so while the platform is away.
    pub async fn is_in(&self, id: TaskId, state: TaskState) -> bool {
        let task = self.client.get_task(id).await;
        task.is_ok_and(|task| task.state == state)
    }

    /// Why a task moved, from the first move to the last.
    ///
    /// # Panics
    /// When the platform does not answer.
    pub async fn moves(&self, id: TaskId) -> Vec<String> {
        let id = id.to_string();
        let events = self.client.list_events(&[("entity_id", id.as_str())]).await;
        let events = events.expect("the events").data;
        let reason = |data: serde_json::Map<String, serde_json::Value>| data.get("reason").cloned();
        events
            .iter()
            .filter_map(|event| reason(event.data.members())?.as_str().map(str::to_owned))
            .collect()
    }
}
