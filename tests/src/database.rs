//! A database for one test.

use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::{AssertSqlSafe, Executor};
use uuid::Uuid;

use crate::server::server;

/// A clone of the migrated template.
pub(crate) struct Database {
    name: String,
}

impl Database {
    pub(crate) async fn clone_template() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let server = server();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("stint_test_{number}_{}", Uuid::new_v4().simple());
        let make = format!("create database {name} template {}", server.template());
        server
            .connect()
            .await
            .execute(AssertSqlSafe(make))
            .await
            .expect("the template can be cloned");
        Self { name }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn url(&self) -> String {
        server().url_of(&self.name)
    }

    /// Leaves it to the end of the server.
    pub(crate) fn keep(self) -> String {
        self.url()
    }

    pub(crate) async fn drop(self) {
        let drop = format!("drop database {} with (force)", self.name);
        server()
            .connect()
            .await
            .execute(AssertSqlSafe(drop))
            .await
            .expect("our own database can be dropped");
    }
}
