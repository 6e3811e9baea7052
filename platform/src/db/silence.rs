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
const BETWEEN: Duration = Duration::from_secs(2);

/// Asks until the platform shuts down.
pub async fn watch(app: App) {
    let mut is_silent = false;
    loop {
        tokio::select! {
            ended = ask(&app, &mut is_silent) => if let Err(error) = ended {
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

/// Asks over one connection for as long as there are answers.
///
/// A server that refuses a connection, or ends it, is not silent. Neither is one that lets a new connection wait,
/// as a pooler does that has no more: nothing is given up before there was a first answer.
async fn ask(app: &App, is_silent: &mut bool) -> sqlx::Result<()> {
    let connecting = async {
        let mut db = PgConnection::connect_with(app.db.options()).await?;
        question(&mut db).await?;
        Ok::<_, sqlx::Error>(db)
    };
    let Ok(connected) = timeout(ANSWER_PATIENCE, connecting).await else {
        *is_silent = true;
        return Ok(());
    };
    let mut db = connected?;
    if std::mem::take(is_silent) {
        // Others may have connected in a better moment, of which we do not know.
        app.db.give_up();
    }
    loop {
        sleep(BETWEEN).await;
        match timeout(ANSWER_PATIENCE, question(&mut db)).await {
            Ok(answered) => answered?,
            Err(_) => {
                tracing::warn!(
                    "the database has not answered for {ANSWER_PATIENCE:?}; making new connections"
                );
                app.db.give_up();
                return Ok(());
            }
        }
    }
}

async fn question(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql("select 1").execute(db).await.map(drop)
}
