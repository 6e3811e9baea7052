//! The connections of the hot path: one for each lane, which nobody else can borrow.
//!
//! A pool asks every connection that comes back whether it still lives, which is a round trip after each
//! batch, while the next one waits. A lane keeps its connection instead and says when all went well
//! ([`LaneConnection::put_back`]); only one that was dropped without that is asked before it is used again. A
//! transaction that was broken off is rolled back at once: its locks would hold up others, and so would the mere
//! fact that it is open hold up those who read events.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::plans::Plans;
use crate::error::Error;

/// How long a connection in doubt may take to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// The lanes that own a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named like the lanes")]
pub enum LaneDb {
    Create,
    Claim,
    Start,
    Complete,
    HandIn,
    Heartbeat,
    Logs,
}

impl LaneDb {
    pub(super) const ALL: [Self; 7] = [
        Self::Create,
        Self::Claim,
        Self::Start,
        Self::Complete,
        Self::HandIn,
        Self::Heartbeat,
        Self::Logs,
    ];
}

/// The one connection of a lane.
pub(super) struct OwnConnection {
    /// Makes it, and makes it again; it never lies idle in there.
    pool: PgPool,
    patience: Duration,
    plans: Arc<Plans>,
    kept: Arc<Mutex<Kept>>,
}

struct Kept {
    db: Option<PoolConnection<Postgres>>,
    state: State,
    /// Which generation its plans are of.
    plans: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The last batch ended well.
    Sound,
    /// A batch was broken off.
    InDoubt,
    /// A batch was broken off between BEGIN and COMMIT.
    InTransaction,
}

impl OwnConnection {
    /// Makes the connection when it is needed first; waits so long for one, or for another batch of the lane.
    pub(super) fn new(pool: PgPool, patience: Duration, plans: Arc<Plans>) -> Self {
        Self {
            pool,
            patience,
            plans,
            kept: Arc::new(Mutex::new(Kept {
                db: None,
                state: State::Sound,
                plans: 0,
            })),
        }
    }

    /// The connection, alive as far as one can know, with plans that suit its tables.
    pub(super) async fn acquire(&self) -> Result<LaneConnection, Error> {
        let turn = tokio::time::timeout(self.patience, Arc::clone(&self.kept).lock_owned());
        let mut kept = turn.await.map_err(|_| sqlx::Error::PoolTimedOut)?;
        kept.look_after().await;
        let plans = self.plans.generation();
        if kept.db.is_none() {
            kept.db = Some(self.pool.acquire().await?);
            kept.plans = plans;
        }
        kept.state = State::InDoubt;
        let are_old = kept.plans != plans;
        let mut lent = LaneConnection(Some(kept));
        if are_old {
            sqlx::raw_sql("discard plans").execute(&mut *lent).await?;
            lent.kept().plans = plans;
        }
        Ok(lent)
    }

    pub(super) async fn close(&self) {
        self.kept.lock().await.db = None;
        self.pool.close().await;
    }
}

impl Kept {
    /// Ends what was broken off on a connection, and finds out whether it still lives. If not, its place is free
    /// for a new one.
    async fn look_after(&mut self) {
        let Some(db) = &mut self.db else { return };
        let asked = async {
            match self.state {
                State::Sound => Ok(()),
                State::InDoubt => db.ping().await,
                State::InTransaction => {
                    sqlx::raw_sql("rollback").execute(&mut **db).await.map(drop)
                }
            }
        };
        let answered = tokio::time::timeout(ANSWER_PATIENCE, asked).await;
        if let Err(error) = answered.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
            tracing::warn!(%error, "a lane of the hot path has lost its connection");
            // Not given back: the pool would wait for the server to take its leave.
            drop(self.db.take().map(PoolConnection::detach));
        }
        self.state = State::Sound;
    }
}

/// The connection of a lane, lent to one batch.
pub struct LaneConnection(
    /// None once it is on its way back.
    Option<OwnedMutexGuard<Kept>>,
);

impl LaneConnection {
    /// Gives it back after all went well.
    pub fn put_back(mut self) {
        self.kept().state = State::Sound;
    }

    fn kept(&mut self) -> &mut Kept {
        self.0
            .as_mut()
            .expect("it is on its way back only when it is dropped")
    }

    pub(super) async fn begin(&mut self) -> sqlx::Result<()> {
        self.kept().state = State::InTransaction;
        sqlx::raw_sql("begin").execute(&mut **self).await?;
        Ok(())
    }

    pub(super) async fn commit(mut self) -> sqlx::Result<()> {
        sqlx::raw_sql("commit").execute(&mut *self).await?;
        self.put_back();
        Ok(())
    }
}

impl Deref for LaneConnection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        let kept = self.0.as_ref().and_then(|kept| kept.db.as_ref());
        kept.expect("it is lent with its connection")
    }
}

impl DerefMut for LaneConnection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        let kept = self.kept().db.as_mut();
        kept.expect("it is lent with its connection")
    }
}

impl Drop for LaneConnection {
    fn drop(&mut self) {
        let Some(mut kept) = self.0.take() else {
            return;
        };
        if kept.state == State::InTransaction
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { kept.look_after().await });
        }
    }
}
