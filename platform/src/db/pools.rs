//! The way to PostgreSQL: who owns which connections, and what a transaction leaves behind.
//!
//! ```text
//! requests that change ─► writes    (lock_timeout 2 s)
//! requests that read   ─► reads     (read-only)
//! the hot path         ─► lanes     (`lanes.rs`: one connection each, plans kept)
//! loops, LISTEN        ─► internal  (requests cannot borrow these)
//! the look-out         ─► one more  (`silence`)
//! ```
//!
//! Nothing waits for a second connection while it holds one. A transaction is a [`Tx`]: beside its
//! connection it gathers what must be told after its commit, so that nobody can forget to tell it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use protocol::{TenantId, WorkItemId, WorkflowId};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use tokio_util::sync::CancellationToken;

use super::Note;
use super::lanes::{LaneConnection, LaneDb, OwnConnection};
use super::plans::Plans;
use crate::app::App;
use crate::config::DatabaseConfig;
use crate::error::{Error, is_connection_failure};

/// Connections that nobody can borrow from loops and LISTEN: the notifier, LISTEN, claims that are taken
/// back, and four loops at once.
const INTERNAL_CONNECTIONS: u32 = 7;
/// Asks whether the database is there.
const LOOK_OUT_CONNECTIONS: u32 = 1;

/// The pools of one replica.
#[derive(Clone)]
pub struct Pools(Arc<Inner>);

struct Inner {
    options: PgConnectOptions,
    config: DatabaseConfig,
    plans: Arc<Plans>,
    current: RwLock<Arc<Set>>,
}

/// Pools that were made together. When the way to the database falls silent they are given up together.
struct Set {
    writes: PgPool,
    reads: PgPool,
    internal: PgPool,
    lanes: Vec<OwnConnection>,
    given_up: CancellationToken,
}

impl Set {
    /// Connections are made when they are needed.
    fn new(options: &PgConnectOptions, config: &DatabaseConfig, plans: &Arc<Plans>) -> Self {
        let patience = Duration::from_secs(config.connection_wait_seconds);
        let pool = |size: u32| {
            PgPoolOptions::new()
                .max_connections(size)
                .acquire_timeout(patience)
                // A ping before each use would double the round trips; a dead connection shows itself.
                .test_before_acquire(false)
                .max_lifetime(None)
                .idle_timeout(Duration::from_secs(600))
        };
        Self {
            given_up: CancellationToken::new(),
            writes: pool(config.write_connections)
                .connect_lazy_with(options.clone().options([("lock_timeout", "2s")])),
            reads: pool(config.read_connections).connect_lazy_with(
                options
                    .clone()
                    .options([("default_transaction_read_only", "on")]),
            ),
            // Longer than a request's: a batch that waits for one row must end some time, too.
            internal: pool(INTERNAL_CONNECTIONS)
                .connect_lazy_with(options.clone().options([("lock_timeout", "5s")])),
            lanes: LaneDb::ALL
                .iter()
                .map(|_| {
                    let one = pool(1).connect_lazy_with(options.clone().options([
                        ("lock_timeout", "5s"),
                        ("plan_cache_mode", "force_generic_plan"),
                    ]));
                    OwnConnection::new(one, patience, Arc::clone(plans))
                })
                .collect(),
        }
    }
}

impl Pools {
    /// How many connections one replica may open.
    pub fn connections(config: &DatabaseConfig) -> u32 {
        config.write_connections
            + config.read_connections
            + INTERNAL_CONNECTIONS
            + LaneDb::ALL.len() as u32
            + LOOK_OUT_CONNECTIONS
    }

    /// Prepares the pools; connections are made when they are needed.
    pub fn new(options: PgConnectOptions, config: &DatabaseConfig) -> Self {
        let options = options
            .application_name("stint-platform")
            .statement_cache_capacity(256)
            .options([
                // A writer that hangs must not hold its locks for ever.
                ("idle_in_transaction_session_timeout", "60s"),
                ("statement_timeout", "60s"),
                ("jit", "off"),
                // The server gives up a replica whose machine has gone, and frees what it has locked.
                ("tcp_keepalives_idle", "10"),
                ("tcp_keepalives_interval", "5"),
                ("tcp_keepalives_count", "3"),
                ("tcp_user_timeout", "20s"),
            ]);
        let plans = Arc::default();
        Self(Arc::new(Inner {
            current: RwLock::new(Arc::new(Set::new(&options, config, &plans))),
            plans,
            options,
            config: config.clone(),
        }))
    }

    fn set(&self) -> Arc<Set> {
        let current = self
            .0
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    pub(super) fn plans(&self) -> &Plans {
        &self.0.plans
    }

    /// How a connection beside the pools is made.
    pub fn options(&self) -> &PgConnectOptions {
        &self.0.options
    }

    /// Gives up every connection, because none is answered any more. Those that need one from now on get a new one.
    pub fn give_up(&self) {
        let new = Arc::new(Set::new(&self.0.options, &self.0.config, &self.0.plans));
        let mut current = self
            .0
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, new);
        drop(current);
        old.given_up.cancel();
    }

    /// Does what needs the database, unless the way to it falls silent meanwhile.
    ///
    /// # Errors
    /// 503 `outcome_unknown` when the connections of this moment were given up.
    pub async fn unless_silent<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        let given_up = self.set().given_up.clone();
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = given_up.cancelled() => Err(Error::outcome_unknown()),
        }
    }

    /// Opens the transaction of a request that changes something.
    ///
    /// # Errors
    /// 503 when the database cannot be reached.
    pub async fn begin(&self) -> Result<Tx, Error> {
        Ok(Tx::new(Opened::OnPool(self.set().writes.begin().await?)))
    }

    /// The connection of a lane, for statements that commit by themselves. It is free again when what
    /// this returns is put back or dropped; a lane that holds it and asks for it once more waits for itself.
    ///
    /// # Errors
    /// 503 when the database cannot be reached.
    pub async fn lane(&self, lane: LaneDb) -> Result<LaneConnection, Error> {
        self.set().lanes[lane as usize].acquire().await
    }

    /// Opens a transaction on the connection of a lane.
    ///
    /// # Errors
    /// 503 when the database cannot be reached.
    pub async fn begin_lane(&self, lane: LaneDb) -> Result<Tx, Error> {
        let mut db = self.lane(lane).await?;
        db.begin().await?;
        Ok(Tx::new(Opened::OnLane(db)))
    }

    /// Opens the transaction of a loop.
    ///
    /// # Errors
    /// 503 when the database cannot be reached.
    pub async fn begin_internal(&self) -> Result<Tx, Error> {
        Ok(Tx::new(Opened::OnPool(self.set().internal.begin().await?)))
    }

    /// A read-only connection for a request.
    ///
    /// # Errors
    /// 503 when the database cannot be reached.
    pub async fn reader(&self) -> Result<PoolConnection<Postgres>, Error> {
        Ok(self.set().reads.acquire().await?)
    }

    /// A connection for one statement of a loop, which commits by itself.
    ///
    /// # Errors
    /// 503 when the database cannot be reached.
    pub async fn internal(&self) -> Result<PoolConnection<Postgres>, Error> {
        Ok(self.set().internal.acquire().await?)
    }

    /// The pool that LISTEN takes its connection from.
    pub(crate) fn internal_pool(&self) -> PgPool {
        self.set().internal.clone()
    }

    /// How many connections each pool has and how many of them are in use now.
    pub fn usage(&self) -> [PoolUsage; 3] {
        let set = self.set();
        [
            ("writes", &set.writes),
            ("reads", &set.reads),
            ("internal", &set.internal),
        ]
        .map(|(name, pool)| PoolUsage {
            name,
            most: pool.options().get_max_connections(),
            open: pool.size(),
            in_use: pool
                .size()
                .saturating_sub(u32::try_from(pool.num_idle()).unwrap_or(u32::MAX)),
        })
    }

    /// Closes every connection.
    pub async fn close(&self) {
        let set = self.set();
        set.writes.close().await;
        set.reads.close().await;
        set.internal.close().await;
        for lane in &set.lanes {
            lane.close().await;
        }
    }
}

/// How busy a pool is.
#[derive(Clone, Copy, Debug)]
pub struct PoolUsage {
    /// Names the pool.
    pub name: &'static str,
    /// Connections it may open.
    pub most: u32,
    /// Connections it has open.
    pub open: u32,
    /// Connections that someone holds.
    pub in_use: u32,
}

/// A transaction, and what must be told after its commit.
pub struct Tx {
    tx: Opened,
    notes: Vec<Note>,
    counted: Vec<metrics::Counter>,
    unsettled: Unsettled,
    steered: Option<WorkflowId>,
}

/// An open transaction; it is rolled back when it is dropped.
enum Opened {
    OnPool(Transaction<'static, Postgres>),
    OnLane(LaneConnection),
}

impl Opened {
    async fn commit(self) -> sqlx::Result<()> {
        match self {
            Self::OnPool(tx) => tx.commit().await,
            Self::OnLane(db) => db.commit().await,
        }
    }
}

/// Runs whose tasks were moved, and what that means for their gates.
pub type Unsettled = BTreeMap<(TenantId, WorkflowId, Option<WorkItemId>), Touch>;

/// What the moves of a transaction mean for the gates of a run; a later one includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touch {
    /// A task ended: there may be room for another one.
    Freed,
    /// A task went where it can be claimed, or waits for it.
    Queued,
    /// A task may be held at a gate that is open.
    Held,
}

impl Tx {
    fn new(tx: Opened) -> Self {
        Self {
            tx,
            notes: Vec::new(),
            counted: Vec::new(),
            unsettled: Unsettled::new(),
            steered: None,
        }
    }

    /// Remembers that all of this is done by the orchestrator of a run.
    pub fn steer(&mut self, run: WorkflowId) {
        self.steered = Some(run);
    }

    /// Whether all of this is done by the orchestrator of a run.
    pub fn is_steered(&self, run: WorkflowId) -> bool {
        self.steered == Some(run)
    }

    /// The connection.
    pub fn conn(&mut self) -> &mut PgConnection {
        match &mut self.tx {
            Opened::OnPool(tx) => tx,
            Opened::OnLane(db) => db,
        }
    }

    /// Remembers what to tell this replica and the others once this has committed.
    pub fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    /// Remembers what to count once this has committed.
    pub fn count(&mut self, counter: metrics::Counter) {
        self.counted.push(counter);
    }

    /// Remembers that tasks of a run were moved: its gates must be settled before the commit.
    pub fn unsettle(
        &mut self,
        tenant: TenantId,
        workflow: WorkflowId,
        work_item: Option<WorkItemId>,
        touch: Touch,
    ) {
        let known = self
            .unsettled
            .entry((tenant, workflow, work_item))
            .or_insert(touch);
        *known = touch.max(*known);
    }

    /// The runs whose gates must be settled.
    pub fn take_unsettled(&mut self) -> Unsettled {
        std::mem::take(&mut self.unsettled)
    }

    /// Commits before there is a replica to tell.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn commit_quietly(self) -> Result<(), Error> {
        debug_assert!(
            self.notes.is_empty(),
            "what must be told is told by `commit`"
        );
        Ok(self.tx.commit().await?)
    }

    /// Commits, then tells.
    ///
    /// # Errors
    /// 503 `outcome_unknown` when the connection died meanwhile.
    pub async fn commit(self, app: &App) -> Result<(), Error> {
        debug_assert!(
            self.unsettled.is_empty(),
            "whoever moves tasks of a run settles its gates"
        );
        self.tx.commit().await.map_err(|error| {
            if is_connection_failure(&error) {
                Error::outcome_unknown()
            } else {
                error.into()
            }
        })?;
        for counter in self.counted {
            counter.increment(1);
        }
        app.bus.publish(app, self.notes);
        Ok(())
    }
}

/// For a statement that commits by itself: when its connection died, nobody knows whether it did.
pub fn unknown_outcome(error: Error) -> Error {
    match error
        .refusal()
        .and_then(|refused| refused.to_wire().details?.reason_code)
    {
        Some(protocol::ReasonCode::DatabaseUnavailable) => Error::outcome_unknown(),
        _ => error,
    }
}
