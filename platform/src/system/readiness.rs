//! Whether the platform can do its work.

use std::time::Duration;

use protocol::Readiness;

use crate::app::App;
use crate::db::migrate;
use crate::error::Error;

/// How long the database may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Looks whether the database answers in time and is migrated, and whether we are shutting down.
pub(super) async fn look(app: &App) -> Readiness {
    let looked = tokio::time::timeout(ANSWERS_WITHIN, ask(app)).await;
    let (database, migrations) = match looked {
        Ok(Ok(migrations)) => (true, migrations),
        Ok(Err(error)) => {
            tracing::debug!(%error, "not ready");
            (false, false)
        }
        Err(_) => (false, false),
    };
    let is_ready = database && migrations && !app.shutdown.is_cancelled();
    Readiness {
        status: if is_ready { "ready" } else { "not_ready" }.to_owned(),
        database,
        migrations,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Whether the database is migrated; an error when it does not answer.
async fn ask(app: &App) -> Result<bool, Error> {
    let mut db = app.db.reader().await?;
    match migrate::is_migrated(&mut db).await {
        Ok(is_migrated) => Ok(is_migrated),
        // It answers, but has never been migrated.
        Err(sqlx::Error::Database(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
