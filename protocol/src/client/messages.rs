//! Messages to whoever holds a task.

use super::{Client, Result, data};
use crate::{AcknowledgeMessage, MessageId, SendMessage, TaskId, TaskMessage};

impl Client {
    /// Says something to whoever holds a task.
    pub async fn send_message(&self, task: TaskId, message: &SendMessage) -> Result<TaskMessage> {
        data(self.post(&format!("/api/v1/tasks/{task}/messages"), message)).await
    }

    /// Lists what was said to the holders of a task.
    pub async fn list_messages(&self, task: TaskId) -> Result<Vec<TaskMessage>> {
        data(self.get(&format!("/api/v1/tasks/{task}/messages"))).await
    }

    /// Says that an attempt has received a message.
    pub async fn acknowledge_message(
        &self,
        task: TaskId,
        id: MessageId,
        body: &AcknowledgeMessage,
    ) -> Result<TaskMessage> {
        let path = format!("/api/v1/tasks/{task}/messages/{id}/ack");
        data(self.post(&path, body)).await
    }
}
