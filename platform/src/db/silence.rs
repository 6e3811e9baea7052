//! Notices when the way to the database has fallen silent, and gives up whatever waits there.
//!
//! When a machine in between is replaced, or a cable cut, nobody is told: what was sent is lost, the answer never
//! comes, and the system waits for it for a quarter of an hour. A lane has one connection, so it would stand still
//! for as long, while other replicas go on and take away the leases that it could not renew. Therefore one more
//! connection asks the shortest of all questions again and again. When that is not answered in time, all
//! connections are given up: who waits for one is told that the outcome is unknown, and new ones are made.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::time::{sleep, timeout};

use crate::app::App;

/// How long the database may take to answer the shortest question: well below the shortest lease, and far above
/// what a busy server needs.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// Between two questions.
const BETWEEN: Duration = Duration::from_secs(1);

/// Asks until the platform shuts down.
pub async fn watch(app: App) {
    loop {
        tokio::select! {
            ended = ask(&app) => if let Err(error) = ended {
                tracing::debug!(%error, "the database cannot be asked whether it is there; trying again");
            },
            () = app.shutdown.cancelled() => return,
        }
        tokio::select! {
            () = sleep(BETWEEN) => {}
            () = app.shutdown.cancelled() => return,
        }
    }
}

/// Asks until there is no answer. A server that refuses connections, or ends them, is not silent.
async fn ask(app: &App) -> sqlx::Result<()> {
    let connecting = PgConnection::connect_with(app.db.options());
    let Ok(connected) = timeout(ANSWER_PATIENCE, connecting).await else {
        // Others may have theirs from a better time.
        return Ok(());
    };
    let mut db = connected?;
    loop {
        match timeout(ANSWER_PATIENCE, sqlx::raw_sql("select 1").execute(&mut db)).await {
            Ok(answered) => answered?,
            Err(_) => {
                tracing::warn!(
                    "the database has not answered for {ANSWER_PATIENCE:?}; making new connections"
                );
                app.db.give_up();
                return Ok(());
            }
        };
        sleep(BETWEEN).await;
    }
}
