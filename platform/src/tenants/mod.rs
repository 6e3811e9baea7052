//! Tenants: who owns data. Nothing is shared between two of them.
//!
//! The default tenant is made at the first start, and its admins are the admins of the platform: they
//! alone make tenants, each with a first admin key, and may deactivate them. The keys of an inactive
//! tenant are refused on every replica at once; its data stays.

mod create;
pub mod routes;
mod store;

use protocol::TenantId;
use uuid::Uuid;

pub use store::ensure_default;

/// The tenant that is made at the first start.
pub const DEFAULT_TENANT: TenantId = TenantId::of(Uuid::from_u128(1));
