//! Workers: the processes that host agents.

use super::{Client, Filters, Nothing, Result, data, done, whole};
use crate::{
    Page, RegisterWorker, RegisteredWorker, SignalId, SignalSent, SignalWorker, Worker,
    WorkerHeartbeat, WorkerHeartbeatAnswer, WorkerId,
};

impl Client {
    /// Registers a worker together with its agents.
    pub async fn register_worker(&self, worker: &RegisterWorker) -> Result<RegisteredWorker> {
        data(self.post("/api/v1/workers/register", worker)).await
    }

    /// Says that a worker is alive, and renews its agents' leases.
    pub async fn heartbeat_worker(
        &self,
        id: WorkerId,
        heartbeat: &WorkerHeartbeat,
    ) -> Result<WorkerHeartbeatAnswer> {
        data(self.report(&format!("/api/v1/workers/{id}/heartbeat"), heartbeat)).await
    }

    /// Asks a worker to drain, to cancel a task, or to reload its configuration.
    pub async fn signal_worker(&self, id: WorkerId, signal: &SignalWorker) -> Result<SignalSent> {
        data(self.post(&format!("/api/v1/workers/{id}/signal"), signal)).await
    }

    /// Says that a signal was heeded.
    pub async fn acknowledge_signal(&self, id: WorkerId, signal: SignalId) -> Result<()> {
        let path = format!("/api/v1/workers/{id}/signals/{signal}/ack");
        done(self.post(&path, &Nothing {})).await
    }

    /// Lets a worker finish what it holds and take nothing new.
    pub async fn drain_worker(&self, id: WorkerId) -> Result<Worker> {
        data(self.post(&format!("/api/v1/workers/{id}/drain"), &Nothing {})).await
    }

    /// Lists workers. Filters: `page`, `per_page`.
    pub async fn list_workers(&self, filters: Filters<'_>) -> Result<Page<Worker>> {
        whole(self.get("/api/v1/workers").query(filters)).await
    }

    /// Reads one worker.
    pub async fn get_worker(&self, id: WorkerId) -> Result<Worker> {
        data(self.get(&format!("/api/v1/workers/{id}"))).await
    }

    /// Deletes a worker with its agents and revokes their keys.
    pub async fn delete_worker(&self, id: WorkerId) -> Result<()> {
        done(self.delete(&format!("/api/v1/workers/{id}"))).await
    }
}
