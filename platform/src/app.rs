//! Puts the parts of one replica together, and takes them apart again.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::Request;
use axum::response::Response;
use axum::{Router, ServiceExt};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::config::Config;
use crate::db::bus::{self, Outgoing};
use crate::db::silence;
use crate::db::{Bus, Pools};
use crate::http::{InFlight, Observed, Rates, Routes, Tails};
use crate::keys::KeyCache;
use crate::lanes::{Exits, Lanes};
use crate::loops::{self, Loops};
use crate::queue::Hints;
use crate::seal::Seal;
use crate::system::FleetGauges;
use crate::tasks::{self, Holders};

/// A client is asked whether it is still there when it has said nothing for so long.
const CLIENT_SILENCE_MAX: Duration = Duration::from_secs(15);
/// So long between two questions,
const CLIENT_QUESTION_EVERY: Duration = Duration::from_secs(5);
/// and after so many without an answer its connection is over.
const CLIENT_QUESTIONS: u32 = 3;

/// One replica: everything a handler, a lane or a loop needs. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The parts of a replica.
pub struct Parts {
    /// Every setting and limit.
    pub config: Config,
    /// The way to PostgreSQL.
    pub db: Pools,
    /// Tells what has happened.
    pub bus: Bus,
    /// Keys that were found valid.
    pub keys: KeyCache,
    /// Encrypts what must not lie open.
    pub seal: Seal,
    /// How much one key may ask.
    pub rates: Rates,
    /// Requests with an idempotency key that run now.
    pub in_flight: InFlight,
    /// What this replica knows about its queues; never the truth, only a hint.
    pub hints: Hints,
    /// The ways into the lanes of the hot path.
    pub lanes: Lanes,
    /// Agents that have claimed here.
    pub holders: Holders,
    /// Who follows events on this replica.
    pub event_tails: Tails,
    /// Who follows log entries on this replica.
    pub log_tails: Tails,
    /// How the loops are doing.
    pub loops: Loops,
    /// The numbers about fleets that were read last.
    pub gauges: FleetGauges,
    /// Cancelled when the platform shuts down.
    pub shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Runs something until it ends or the platform has shut down; shutdown waits for it.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }
}

/// The route tables of every domain.
pub(crate) fn route_tables() -> Vec<Routes> {
    vec![
        crate::auth::routes::routes(),
        crate::tenants::routes::routes(),
        crate::keys::routes::routes(),
        crate::workers::routes::routes(),
        crate::agents::routes::routes(),
        tasks::routes(),
        crate::workflows::routes(),
        crate::work_items::routes(),
        crate::work_items::task_routes(),
        crate::activations::routes(),
        crate::gates::routes(),
        crate::orchestrator::routes(),
        crate::steering::routes(),
        crate::briefs::routes(),
        crate::handoffs::routes(),
        crate::metering::routes(),
        tasks::people_routes(),
        crate::messages::routes(),
        crate::approvals::routes(),
        crate::workspaces::routes(),
        crate::workspaces::task_routes(),
        crate::playbooks::routes(),
        crate::events::routes(),
        crate::logs::routes(),
        crate::system::routes(),
    ]
}

/// A replica that is ready to serve.
pub struct Platform {
    app: App,
    routes: Router,
    outgoing: Outgoing,
    exits: Exits,
}

/// Whether a replica runs its loops. Tests step them by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunLoops {
    /// As they are due.
    Yes,
    /// Only when stepped.
    No,
}

impl Platform {
    /// Puts a replica together. The database is migrated already.
    pub fn new(config: Config, db: Pools, seal: Seal) -> Self {
        crate::system::install_metrics();
        let (bus, outgoing) = Bus::new();
        let (lanes, exits) = Lanes::new(&config.limits);
        let app = App(Arc::new(Parts {
            rates: Rates::new(&config.limits),
            event_tails: Tails::new(config.limits.streams_max),
            log_tails: Tails::new(config.limits.streams_max),
            lanes,
            config,
            db,
            bus,
            keys: KeyCache::default(),
            seal,
            in_flight: InFlight::default(),
            hints: Hints::default(),
            holders: Holders::default(),
            loops: Loops::new(),
            gauges: FleetGauges::default(),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }));
        Self {
            routes: router(&app),
            app,
            outgoing,
            exits,
        }
    }

    /// The replica, for whoever starts it.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Serves until [`Parts::shutdown`] is cancelled, then finishes what runs within the grace.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self, listener: TcpListener, run_loops: RunLoops) -> anyhow::Result<()> {
        self.serve_around(listener, run_loops, |routes| routes)
            .await
    }

    /// The same with something around all routes, such as what a test wants to see of each answer.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve_around<S>(
        self,
        listener: TcpListener,
        run_loops: RunLoops,
        around: impl FnOnce(Observed) -> S,
    ) -> anyhow::Result<()>
    where
        S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let Self {
            app,
            routes,
            outgoing,
            exits,
        } = self;
        ask_after_clients(&listener).context("preparing to listen")?;
        app.spawn(bus::run(app.clone(), outgoing));
        app.spawn(silence::watch(app.clone()));
        // Lanes go on until the last request that could wait in one has been answered.
        let requests_over = CancellationToken::new();
        exits.serve(&app, &requests_over);
        if run_loops == RunLoops::Yes {
            // Before the first request: a row that is on its way into a default partition when its day gets one of
            // its own is refused by the database.
            if let Err(error) = crate::history::make_partitions(app.clone()).await {
                tracing::warn!(%error, "the partitions of today could not be made before serving");
            }
            loops::start(&app);
        }
        let stop = app.shutdown.clone();
        let grace = Duration::from_secs(app.config.shutdown_grace_seconds);
        let served = axum::serve(
            listener,
            around(Observed(routes)).into_make_service_with_connect_info::<SocketAddr>(),
        )
        .with_graceful_shutdown(stop.clone().cancelled_owned());
        let overdue = async {
            stop.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            ended = served => ended.context("serving HTTP")?,
            () = overdue => tracing::warn!("requests still run after the grace of {grace:?}; leaving them"),
        }
        requests_over.cancel();
        app.tasks.close();
        if tokio::time::timeout(grace, app.tasks.wait()).await.is_err() {
            tracing::warn!("background work still runs after the grace of {grace:?}; leaving it");
        }
        if tokio::time::timeout(grace, app.db.close()).await.is_err() {
            tracing::warn!("the database does not answer; leaving the connections to it");
        }
        Ok(())
    }
}

/// Clients whose machine has gone say nothing: without questions of ours their connections would stay for good.
/// Those that come in inherit what is set here.
fn ask_after_clients(listener: &TcpListener) -> std::io::Result<()> {
    let questions = TcpKeepalive::new()
        .with_time(CLIENT_SILENCE_MAX)
        .with_interval(CLIENT_QUESTION_EVERY)
        .with_retries(CLIENT_QUESTIONS);
    SockRef::from(listener).set_tcp_keepalive(&questions)
}

/// Every route with its guard, and what surrounds them all.
fn router(app: &App) -> Router {
    let mut router = Router::new();
    for table in route_tables() {
        router = router.merge(table.mount(app));
    }
    router
        .merge(crate::system::docs_page())
        .fallback(crate::http::no_such_route)
        .method_not_allowed_fallback(crate::http::no_such_method)
        .with_state(app.clone())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_client_that_says_nothing_is_asked_whether_it_is_still_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        ask_after_clients(&listener).unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (connection, _) = accepted.unwrap();
        let connection = SockRef::from(&connection);
        assert!(connection.keepalive().unwrap());
        let silence = connection.tcp_keepalive_time().unwrap();
        assert_eq!(silence, CLIENT_SILENCE_MAX);
        drop(client);
    }
}
