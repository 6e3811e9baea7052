//! How the platform itself is doing.

use super::{Client, ClientError, Result, accepted, data, whole};
use crate::{Health, Json, LoopReport, Readiness};

impl Client {
    /// Tells that the process answers.
    pub async fn get_health(&self) -> Result<Health> {
        whole(self.get("/health")).await
    }

    /// Tells whether the platform can do its work. Not being ready is an answer, not an error.
    pub async fn get_readiness(&self) -> Result<Readiness> {
        let response = self.get("/ready").send().await;
        let response = response.map_err(ClientError::Unreachable)?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(ClientError::Unreachable)?;
        serde_json::from_slice(&body).map_err(|error| ClientError::Unexpected {
            status,
            message: error.to_string(),
        })
    }

    /// Reads the metrics in the text format of Prometheus.
    pub async fn get_metrics(&self) -> Result<String> {
        let response = accepted(self.get("/metrics")).await?;
        response.text().await.map_err(ClientError::Unreachable)
    }

    /// Tells how the background loops of the answering replica are doing.
    pub async fn list_loops(&self) -> Result<Vec<LoopReport>> {
        data(self.get("/api/v1/system/loops")).await
    }

    /// Reads the description of the API.
    pub async fn get_openapi(&self) -> Result<Json> {
        whole(self.get("/openapi.json")).await
    }
}
