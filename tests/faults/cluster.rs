//! Everything that can be hurt: a database, two replicas, workers, and the wires between them.
//!
//! ```text
//! worker 0 ── link ──► replica 0 ── wire ──┐
//! worker 1 ── link ──► replica 1 ── wire ──┴─► PostgreSQL
//! client   ── link ──► one of the two
//! ```

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::ExposeSecret as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use stint_platform::db::keeper::Keeper;
use stint_tests::place::Place;
use stint_tests::processes::{ADMIN_KEY, PlatformProcess, Stage, WorkerProcess};

use crate::dice::Dice;
use crate::proxy::{Effect, Proxy, Target};

/// 32 bytes in base64, the same for all replicas.
const SEAL_KEY: &str = "c2l4dGVlbiBieXRlcyBhbmQgc2l4dGVlbiBieXRlcyE=";

/// The socket of a private server, in its folder.
const SOCKET: &str = ".s.PGSQL.5432";

/// A database with two replicas, and whatever was connected to them.
pub(crate) struct Cluster {
    // In the order in which they are dropped: who uses something goes before it.
    pub(crate) workers: Vec<WorkerProcess>,
    pub(crate) replicas: Vec<PlatformProcess>,
    pub(crate) links: Vec<Proxy>,
    pub(crate) wires: Vec<Proxy>,
    keeper: Option<Keeper>,
    pub(crate) place: Place,
    pub(crate) stage: Stage,
    dice: Dice,
}

impl Cluster {
    /// A database and two replicas on it.
    pub(crate) async fn start(dice: Dice) -> Self {
        Self::start_in(Place::new(), dice).await
    }

    /// The same, with the database in this folder.
    pub(crate) async fn start_in(place: Place, dice: Dice) -> Self {
        let keeper = place.start().await;
        let stage = Stage::new();
        let options = keeper.connect_options();
        let socket = options.get_socket().expect("a private server has one");
        let (user, _) = keeper.url().expose_secret().split_once('@').map_or_else(
            || panic!("a private server has a password"),
            |(user, host)| (user.to_owned(), host.to_owned()),
        );
        let mut wires = Vec::new();
        let mut replicas = Vec::new();
        for (number, name) in ["one", "two"].into_iter().enumerate() {
            let target = Target::Socket(socket.join(SOCKET));
            let wire = Proxy::start(target, dice.fork(number as u64)).await;
            let url = format!("{user}@127.0.0.1:{}/stint", wire.port());
            let settings = [
                ("DATABASE_URL", url.as_str()),
                ("STINT_SEAL_KEY", SEAL_KEY),
                // As few as work, so that a lost or waiting one is felt.
                ("STINT_WRITE_CONNECTIONS", "4"),
                ("STINT_READ_CONNECTIONS", "4"),
                ("STINT_SHUTDOWN_GRACE_SECONDS", "5"),
                ("STINT_RATE_PER_SECOND", "5000"),
            ];
            replicas.push(stage.replica(name, &settings).await);
            wires.push(wire);
        }
        Self {
            workers: Vec::new(),
            replicas,
            links: Vec::new(),
            wires,
            keeper: Some(keeper),
            place,
            stage,
            dice,
        }
    }

    /// A new wire to one of the replicas, in turn; its address.
    pub(crate) async fn link(&mut self) -> String {
        let number = self.links.len();
        let replica = &self.replicas[number % self.replicas.len()];
        let port = replica
            .url
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        let target = Target::Port(port.expect("an address ends in its port"));
        let link = Proxy::start(target, self.dice.fork(100 + number as u64)).await;
        let url = link.url();
        self.links.push(link);
        url
    }

    /// A worker that is configured, not started, on a link of its own.
    pub(crate) async fn worker(&mut self, key: &str) -> WorkerProcess {
        let url = self.link().await;
        let name = format!("w{}", self.links.len());
        self.stage.worker(&name, &url, key)
    }

    /// How the database is reached beside all wires.
    pub(crate) fn database(&self) -> PgConnectOptions {
        self.keeper().connect_options()
    }

    pub(crate) async fn connect(&self) -> sqlx::Result<PgConnection> {
        PgConnection::connect_with(&self.database()).await
    }

    fn keeper(&self) -> &Keeper {
        self.keeper.as_ref().expect("the database is there")
    }

    /// The database goes away in order.
    pub(crate) async fn stop_database(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.stop().await;
        }
    }

    /// The database comes back.
    pub(crate) async fn start_database(&mut self) {
        self.keeper = Some(self.place.start().await);
    }

    /// Sends a signal to the first process of the database, which answers for all others.
    pub(crate) fn signal_database(&self, signal: Signal) {
        if let Some(server) = self.place.server() {
            // It may have ended meanwhile.
            kill(server, signal).ok();
        }
    }

    /// Every process of the database.
    pub(crate) fn database_processes(&self) -> Vec<Pid> {
        let Some(server) = self.place.server() else {
            return Vec::new();
        };
        let is_child = |stat: &str| {
            let rest = stat.rsplit(')').next().unwrap_or_default();
            rest.split_whitespace().nth(1) == Some(&server.to_string())
        };
        let entries = fs::read_dir("/proc").expect("the processes of this machine");
        let numbers = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let children = numbers.filter(|number: &i32| {
            fs::read_to_string(format!("/proc/{number}/stat")).is_ok_and(|stat| is_child(&stat))
        });
        std::iter::once(server)
            .chain(children.map(Pid::from_raw))
            .collect()
    }

    /// Starts again what has ended, as a machine's service manager does. Tells how many had.
    pub(crate) fn revive(&mut self) -> usize {
        let replicas = self.replicas.iter_mut().map(PlatformProcess::revive);
        let workers = self.workers.iter_mut().map(WorkerProcess::revive);
        replicas
            .chain(workers)
            .filter(|had_ended| *had_ended)
            .count()
    }

    /// All wires are whole.
    pub(crate) fn mend_wires(&self) {
        for wire in self.links.iter().chain(&self.wires) {
            wire.set(Effect::Pass);
        }
    }

    /// The first tenant, whose key all processes were given.
    pub(crate) fn admin_key(&self) -> &'static str {
        ADMIN_KEY
    }
}
