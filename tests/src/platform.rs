//! A platform for one test: its replicas, its database, and the ways in.

use std::cell::RefCell;

use axum::Router;
use secrecy::SecretString;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use stint_platform::app::{App, RunLoops};
use stint_platform::config::Config;
use stint_platform::loops::Turn;
use stint_platform::start::start;
use stint_protocol::client::Client;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::answers::Misfits;
use crate::database::Database;
use crate::log::Errors;
use crate::run::Setup;

/// The admin key of the default tenant.
const ADMIN_KEY: &str = "st_admin_of_the_test_platform_00000000";
/// 32 bytes in base64.
const SEAL_KEY: &str = "dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=";

/// A running platform with a database of its own.
pub struct TestPlatform {
    first: Replica,
    serving: RefCell<Vec<(App, JoinHandle<anyhow::Result<()>>)>>,
    config: Config,
    pub(crate) database: Database,
    pub(crate) sql: PgPool,
    pub(crate) errors: Errors,
    pub(crate) misfits: Misfits,
    pub(crate) http: reqwest::Client,
}

/// One process of a platform, as far as its clients can tell.
#[derive(Clone)]
pub struct Replica {
    app: App,
    url: String,
}

impl Replica {
    async fn start(
        config: Config,
        run_loops: RunLoops,
        misfits: &Misfits,
    ) -> (Self, JoinHandle<anyhow::Result<()>>) {
        let listener = TcpListener::bind(config.listen).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let started = start(config).await.expect("the platform starts");
        let app = started.platform.app().clone();
        let around = {
            let misfits = misfits.clone();
            move |routes| misfits.watch(Router::new().fallback_service(routes))
        };
        let serving = tokio::spawn(started.platform.serve_around(listener, run_loops, around));
        let replica = Self {
            app,
            url: format!("http://{address}"),
        };
        (replica, serving)
    }

    /// The replica from inside.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client with this key.
    pub fn client(&self, key: &str) -> Client {
        Client::new(&self.url, key).expect("a key and an address")
    }

    /// A client with the admin key.
    pub fn admin(&self) -> Client {
        self.client(ADMIN_KEY)
    }

    /// Runs one turn of a loop.
    ///
    /// # Panics
    /// When the turn fails.
    pub async fn run_loop(&self, name: &str) -> Turn {
        self.app
            .loops
            .run_once(&self.app, name)
            .await
            .unwrap_or_else(|error| panic!("the loop {name} failed: {error}"))
    }
}

impl TestPlatform {
    pub(crate) async fn start(setup: Setup, errors: Errors) -> Self {
        let Setup {
            mut config,
            run_loops,
            ..
        } = setup;
        let database = Database::clone_template().await;
        config.database.database_url = Some(SecretString::from(database.url()));
        config.auth.admin_api_key = Some(SecretString::from(ADMIN_KEY));
        config.auth.seal_key = Some(SecretString::from(SEAL_KEY));
        let misfits = Misfits::default();
        let (first, serving) = Replica::start(config.clone(), run_loops, &misfits).await;
        // The client of the protocol settles which TLS the process uses.
        drop(first.admin());
        let sql = PgPoolOptions::new()
            .max_connections(3)
            .connect_lazy(&database.url())
            .expect("the URL is one");
        let t = Self {
            serving: RefCell::new(vec![(first.app.clone(), serving)]),
            first,
            config,
            database,
            sql,
            errors,
            misfits,
            http: reqwest::Client::new(),
        };
        t.beat_pulse().await;
        t
    }

    /// The first replica.
    pub fn first(&self) -> &Replica {
        &self.first
    }

    /// The first replica from inside.
    pub fn app(&self) -> &App {
        &self.first.app
    }

    /// The address of the first replica.
    pub fn url(&self) -> &str {
        &self.first.url
    }

    /// The admin key of the default tenant.
    pub fn admin_key(&self) -> &'static str {
        ADMIN_KEY
    }

    /// Starts one more replica on the same database. Its loops are stepped by hand.
    pub async fn replica(&self) -> Replica {
        self.replica_with(RunLoops::No).await
    }

    /// Starts one more replica on the same database, which runs its loops as they are due, or not.
    pub async fn replica_with(&self, run_loops: RunLoops) -> Replica {
        let (replica, serving) =
            Replica::start(self.config.clone(), run_loops, &self.misfits).await;
        self.serving
            .borrow_mut()
            .push((replica.app.clone(), serving));
        replica
    }

    /// Runs one turn of a loop on the first replica.
    ///
    /// # Panics
    /// When the turn fails.
    pub async fn run_loop(&self, name: &str) -> Turn {
        self.first.run_loop(name).await
    }

    /// The database, for what no route can do: ageing rows, installing a trigger, looking inside.
    pub fn sql(&self) -> &PgPool {
        &self.sql
    }

    /// Runs statements that answer nothing.
    ///
    /// # Panics
    /// When one of them fails.
    pub async fn execute(&self, statements: &str) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned()))
            .execute(&self.sql)
            .await
            .expect("the statement of a test works");
    }

    /// Takes out the errors that were logged until now; what is left at the end fails the test.
    pub fn take_errors(&self) -> Vec<String> {
        self.errors.take()
    }

    /// Takes out what was wrong with answers until now; what is left at the end fails the test.
    pub fn take_misfits(&self) -> Vec<String> {
        self.misfits.take()
    }

    /// Ends the platform and drops its database.
    pub(crate) async fn stop(self) {
        let serving = self.serving.take();
        for (app, _) in &serving {
            app.shutdown.cancel();
        }
        for (_, handle) in serving {
            if let Ok(Err(error)) = handle.await {
                tracing::warn!("a replica ended badly: {error:#}");
            }
        }
        self.sql.close().await;
        self.database.drop().await;
    }
}
