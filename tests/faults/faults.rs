//! What can go wrong, a plan of it that follows from a seed, and its carrying out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{Connection as _, PgConnection};

use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::proxy::{Effect, Way};

/// Connections that use up what a private server has.
const IDLE_CONNECTIONS: usize = 300;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9` of a replica; it is started again at the end.
    KillReplica(usize),
    /// SIGTERM to a replica; it is started again at the end.
    EndReplica(usize),
    /// SIGSTOP to a replica, SIGCONT at the end.
    PauseReplica(usize),
    KillWorker(usize),
    EndWorker(usize),
    PauseWorker(usize),
    /// `kill -9` of the database server.
    KillDatabase,
    /// Its immediate shutdown, as after a loss of power.
    RestartDatabase,
    /// SIGSTOP to all of its processes, SIGCONT at the end.
    PauseDatabase,
    /// Every second session is ended by the server.
    KillSessions,
    /// Idle connections take whatever there is.
    UseUpConnections,
    /// A transaction that does nothing holds its snapshot.
    HoldTransaction,
    /// Something happens to the wire of a worker or client.
    Link(usize, Effect),
    /// Something happens to the wire between a replica and the database.
    Wire(usize, Effect),
}

/// One fault of a plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
    pub(crate) fault: Fault,
}

/// What a fault happens to; one thing at a time happens to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Replica(usize),
    Worker(usize),
    Database,
    Sessions,
    Transaction,
    Link(usize),
    Wire(usize),
}

impl Fault {
    fn victim(self) -> Victim {
        match self {
            Self::KillReplica(n) | Self::EndReplica(n) | Self::PauseReplica(n) => {
                Victim::Replica(n)
            }
            Self::KillWorker(n) | Self::EndWorker(n) | Self::PauseWorker(n) => Victim::Worker(n),
            Self::KillDatabase | Self::RestartDatabase | Self::PauseDatabase => Victim::Database,
            Self::KillSessions | Self::UseUpConnections => Victim::Sessions,
            Self::HoldTransaction => Victim::Transaction,
            Self::Link(n, _) => Victim::Link(n),
            Self::Wire(n, _) => Victim::Wire(n),
        }
    }
}

/// A plan of random faults for a cluster of this size.
pub(crate) fn plan(mut dice: Dice, length: Duration, sizes: Sizes) -> Vec<Planned> {
    let mut planned = Vec::new();
    let mut busy: BTreeMap<Victim, Duration> = BTreeMap::new();
    let mut at = Duration::ZERO;
    loop {
        at += dice.millis(1_000, 5_000);
        if at >= length {
            return planned;
        }
        let (fault, lasts) = draw(&mut dice, &sizes);
        let lasts = lasts.min(length - at);
        let free_at = busy.entry(fault.victim()).or_default();
        if *free_at <= at {
            // What was hurt gets a moment to recover, or nothing would ever be done.
            *free_at = at + lasts + Duration::from_secs(2);
            planned.push(Planned { at, lasts, fault });
        }
    }
}

/// How many of everything there are.
pub(crate) struct Sizes {
    pub(crate) replicas: usize,
    pub(crate) workers: usize,
    pub(crate) links: usize,
}

fn draw(dice: &mut Dice, sizes: &Sizes) -> (Fault, Duration) {
    let replica = dice.below(sizes.replicas);
    let worker = dice.below(sizes.workers);
    let fault = match dice.below(20) {
        0 | 1 => Fault::KillReplica(replica),
        2 => Fault::EndReplica(replica),
        3 => Fault::PauseReplica(replica),
        4 | 5 => Fault::KillWorker(worker),
        6 => Fault::EndWorker(worker),
        7 | 8 => Fault::PauseWorker(worker),
        9 => Fault::KillDatabase,
        10 => Fault::RestartDatabase,
        11 => Fault::PauseDatabase,
        12 => Fault::KillSessions,
        13 => Fault::UseUpConnections,
        14 => Fault::HoldTransaction,
        15..=17 => Fault::Link(dice.below(sizes.links), effect(dice)),
        _ => Fault::Wire(replica, effect(dice)),
    };
    let lasts = match fault {
        // Leases of workers last ten seconds: some outlive the pause, and some do not.
        Fault::PauseWorker(_) => dice.millis(1_000, 22_000),
        Fault::KillWorker(_) | Fault::EndWorker(_) => dice.millis(500, 8_000),
        Fault::HoldTransaction => dice.millis(5_000, 20_000),
        Fault::KillSessions => Duration::from_millis(100),
        _ => dice.millis(200, 6_000),
    };
    (fault, lasts)
}

fn effect(dice: &mut Dice) -> Effect {
    match dice.below(10) {
        0 => Effect::Delay {
            least: dice.millis(5, 50),
            jitter: dice.millis(1, 300),
        },
        1 => Effect::CutAfter(dice.below(4_000)),
        2 => Effect::Stuck(Way::Requests),
        3 => Effect::Stuck(Way::Answers),
        4 => Effect::BlackHole,
        5 => Effect::HalfOpen,
        6 => Effect::DropRequest,
        7 => Effect::DropAnswer,
        8 => Effect::Forgotten,
        _ => Effect::Refuse,
    }
}

/// Lets faults happen to a cluster, and ends them.
#[derive(Default)]
pub(crate) struct Saboteur {
    active: Vec<Active>,
    /// How many faults have happened.
    pub(crate) done: usize,
}

struct Active {
    until: Instant,
    fault: Fault,
    held: Held,
}

/// What keeps a fault going.
enum Held {
    Nothing,
    Paused(Vec<Pid>),
    Connections(Vec<PgConnection>),
}

impl Saboteur {
    /// Carries out a plan.
    pub(crate) async fn carry_out(&mut self, cluster: &mut Cluster, plan: &[Planned]) {
        let began = Instant::now();
        for planned in plan {
            self.keep_up(cluster, began + planned.at).await;
            self.begin(cluster, planned.fault, planned.lasts).await;
        }
    }

    /// Ends faults as they are over, and starts again what has ended, until a moment.
    pub(crate) async fn keep_up(&mut self, cluster: &mut Cluster, moment: Instant) {
        loop {
            let now = Instant::now();
            let over: Vec<Active> = self
                .active
                .extract_if(.., |active| active.until <= now)
                .collect();
            for active in over {
                end(cluster, active);
            }
            self.revive(cluster);
            if now >= moment {
                return;
            }
            tokio::time::sleep((moment - now).min(Duration::from_millis(50))).await;
        }
    }

    /// Processes that a fault has ended stay so until it is over; others are started again.
    fn revive(&self, cluster: &mut Cluster) {
        let is_down = |victim| {
            self.active
                .iter()
                .any(|active| active.fault.victim() == victim)
        };
        for number in 0..cluster.replicas.len() {
            if !is_down(Victim::Replica(number)) {
                cluster.replicas[number].revive();
            }
        }
        for number in 0..cluster.workers.len() {
            if !is_down(Victim::Worker(number)) {
                cluster.workers[number].revive();
            }
        }
    }

    /// Lets one fault happen.
    pub(crate) async fn begin(&mut self, cluster: &mut Cluster, fault: Fault, lasts: Duration) {
        tracing::debug!(?fault, ?lasts, "a fault");
        let held = strike(cluster, fault).await;
        self.done += 1;
        self.active.push(Active {
            until: Instant::now() + lasts,
            fault,
            held,
        });
    }

    /// Ends every fault, and makes everything whole.
    pub(crate) async fn heal(&mut self, cluster: &mut Cluster) {
        for active in self.active.drain(..) {
            end(cluster, active);
        }
        cluster.mend_wires();
        self.keep_up(cluster, Instant::now()).await;
    }
}

async fn strike(cluster: &mut Cluster, fault: Fault) -> Held {
    match fault {
        Fault::KillReplica(n) => {
            cluster.replicas[n].revive();
            cluster.replicas[n].kill9();
        }
        Fault::KillWorker(n) => {
            cluster.workers[n].revive();
            cluster.workers[n].kill9();
        }
        Fault::EndReplica(n) => {
            cluster.replicas[n].revive();
            cluster.replicas[n].ask_to_stop();
        }
        Fault::EndWorker(n) => {
            cluster.workers[n].revive();
            cluster.workers[n].ask_to_stop();
        }
        Fault::PauseReplica(n) => {
            cluster.replicas[n].revive();
            cluster.replicas[n].pause();
        }
        Fault::PauseWorker(n) => {
            cluster.workers[n].revive();
            cluster.workers[n].pause();
        }
        Fault::KillDatabase => cluster.signal_database(Signal::SIGKILL),
        Fault::RestartDatabase => cluster.signal_database(Signal::SIGQUIT),
        Fault::PauseDatabase => {
            let paused = cluster.database_processes();
            signal_all(&paused, Signal::SIGSTOP);
            return Held::Paused(paused);
        }
        Fault::KillSessions => kill_sessions(cluster).await,
        Fault::UseUpConnections => return Held::Connections(idle_connections(cluster).await),
        Fault::HoldTransaction => return Held::Connections(idle_transaction(cluster).await),
        Fault::Link(n, effect) => cluster.links[n].set(effect),
        Fault::Wire(n, effect) => cluster.wires[n].set(effect),
    }
    Held::Nothing
}

fn end(cluster: &mut Cluster, active: Active) {
    match active.fault {
        Fault::PauseReplica(n) => cluster.replicas[n].resume(),
        Fault::PauseWorker(n) => cluster.workers[n].resume(),
        Fault::Link(n, _) => cluster.links[n].set(Effect::Pass),
        Fault::Wire(n, _) => cluster.wires[n].set(Effect::Pass),
        // What has ended is started again by `revive`.
        _ => {}
    }
    match active.held {
        Held::Paused(paused) => signal_all(&paused, Signal::SIGCONT),
        Held::Connections(connections) => drop(connections),
        Held::Nothing => {}
    }
}

fn signal_all(processes: &[Pid], signal: Signal) {
    for process in processes {
        // Some may have ended meanwhile.
        kill(*process, signal).ok();
    }
}

/// A connection, unless the database is away or paused at this moment.
async fn connection(cluster: &Cluster) -> Option<PgConnection> {
    let connecting = cluster.connect();
    tokio::time::timeout(Duration::from_millis(500), connecting)
        .await
        .ok()?
        .ok()
}

async fn kill_sessions(cluster: &Cluster) {
    let Some(mut db) = connection(cluster).await else {
        return;
    };
    let killing = sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where backend_type = 'client backend' and pid <> pg_backend_pid() and pid % 2 = 0",
    );
    drop(killing.execute(&mut db).await);
}

async fn idle_connections(cluster: &Cluster) -> Vec<PgConnection> {
    let mut connections = Vec::new();
    while connections.len() < IDLE_CONNECTIONS {
        let Some(db) = connection(cluster).await else {
            break;
        };
        connections.push(db);
    }
    connections
}

async fn idle_transaction(cluster: &Cluster) -> Vec<PgConnection> {
    let Some(mut db) = connection(cluster).await else {
        return Vec::new();
    };
    let begun = sqlx::raw_sql("begin; select pg_current_xact_id(), count(*) from task_queue");
    drop(begun.execute(&mut db).await);
    vec![db]
}

/// Whether the database answers.
pub(crate) async fn database_answers(cluster: &Cluster) -> bool {
    match connection(cluster).await {
        Some(mut db) => db.ping().await.is_ok(),
        None => false,
    }
}

#[test]
fn a_seed_gives_the_same_plan_again() {
    let drawn = |seed| {
        let sizes = Sizes {
            replicas: 2,
            workers: 6,
            links: 12,
        };
        let plan = plan(Dice::new(seed), Duration::from_secs(300), sizes);
        plan.iter()
            .map(|planned| format!("{planned:?}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
    assert!(drawn(1).len() > 50, "hardly anything goes wrong");
}
