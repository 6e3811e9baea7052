//! Keys, and who a key makes the caller.

use super::{Client, Result, data};
use crate::{
    ApiKey, CreateKey, ExchangeToken, Identity, KeyId, NewKey, RevokedKey, RotateKey, Token,
};

impl Client {
    /// Makes a key. The answer is the only one that shows it.
    pub async fn create_key(&self, key: &CreateKey) -> Result<NewKey> {
        data(self.post("/api/v1/api-keys", key)).await
    }

    /// Lists all keys, without their secrets.
    pub async fn list_keys(&self) -> Result<Vec<ApiKey>> {
        data(self.get("/api/v1/api-keys")).await
    }

    /// Replaces a key by a new one with the same rights.
    pub async fn rotate_key(&self, id: KeyId, rotation: &RotateKey) -> Result<NewKey> {
        data(self.post(&format!("/api/v1/api-keys/{id}/rotate"), rotation)).await
    }

    /// Revokes a key at once.
    pub async fn revoke_key(&self, id: KeyId) -> Result<RevokedKey> {
        data(self.delete(&format!("/api/v1/api-keys/{id}"))).await
    }

    /// Exchanges a key for a short-lived token.
    pub async fn exchange_token(&self, exchange: &ExchangeToken) -> Result<Token> {
        data(self.post("/api/v1/auth/token", exchange)).await
    }

    /// Tells who the platform takes the caller for.
    pub async fn get_identity(&self) -> Result<Identity> {
        data(self.get("/api/v1/auth/me")).await
    }
}
