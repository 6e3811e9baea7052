//! Tenants, for the platform's own admin key.

use super::{Client, Filters, Result, data, whole};
use crate::{CreateTenant, NewTenant, Page, Tenant, TenantId, UpdateTenant};

impl Client {
    /// Makes a tenant with its first admin key.
    pub async fn create_tenant(&self, tenant: &CreateTenant) -> Result<NewTenant> {
        data(self.post("/api/v1/tenants", tenant)).await
    }

    /// Lists tenants. Filters: `page`, `per_page`.
    pub async fn list_tenants(&self, filters: Filters<'_>) -> Result<Page<Tenant>> {
        whole(self.get("/api/v1/tenants").query(filters)).await
    }

    /// Reads one tenant.
    pub async fn get_tenant(&self, id: TenantId) -> Result<Tenant> {
        data(self.get(&format!("/api/v1/tenants/{id}"))).await
    }

    /// Changes a tenant.
    pub async fn update_tenant(&self, id: TenantId, change: &UpdateTenant) -> Result<Tenant> {
        data(self.patch(&format!("/api/v1/tenants/{id}"), change)).await
    }
}
