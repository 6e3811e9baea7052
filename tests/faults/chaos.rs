//! Anything may go wrong at any time; afterwards nothing is lost, believed twice, or stuck.

use std::time::{Duration, Instant};

use sqlx::PgConnection;
use stint_tests::place::{files_with, until};
use stint_tests::processes::{ADMIN_KEY, Tenant};
use stint_tests::until_within;

use crate::checker::check;
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::evidence::Evidence;
use crate::faults::{Planned, Saboteur, Sizes, database_answers, plan};
use crate::history::{Recorder, read};
use crate::load::{Load, MARKER, SECRET, Strength, runs_of_programs, with_programs};
use crate::wanted::{Outcome, Wanted};

const WORKERS: usize = 6;

/// How long completions are counted before the faults, and after.
const WINDOW: Duration = Duration::from_secs(10);

/// How long everything may take to end once nothing goes wrong any more: a lease of ten seconds, what the
/// leases held back, and a machine that is busy.
const END_PATIENCE: Duration = Duration::from_secs(150);

/// A cluster under a steady load, whose clients write down what they do.
pub(crate) struct Running {
    pub(crate) cluster: Cluster,
    pub(crate) saboteur: Saboteur,
    recorder: Recorder,
    load: Load,
}

impl Running {
    /// Starts everything, and waits until work is being done.
    pub(crate) async fn start(
        seed: u64,
        workers: usize,
        capacity: u32,
        strength: Strength,
    ) -> Self {
        let dice = Dice::new(seed);
        let mut cluster = Cluster::start(dice.fork(1)).await;
        let gate = cluster.stage.path().display().to_string();
        for _ in 0..workers {
            let key = cluster.admin_key();
            let worker = cluster.worker(key).await;
            cluster
                .workers
                .push(with_programs(worker, capacity, &gate).start());
        }
        let recorder = Recorder::create(&cluster.stage.file("history.jsonl"));
        let load = Load::start(&mut cluster, &recorder, &dice.fork(2), strength).await;
        until("workers are at work", async || {
            cluster.stage.read("runs").lines().count() > 20
        })
        .await;
        Self {
            cluster,
            saboteur: Saboteur::default(),
            recorder,
            load,
        }
    }

    /// How many tasks a second are completed during the next while.
    pub(crate) async fn completions_per_second(&mut self, window: Duration) -> f64 {
        let before = self.completions().await;
        let began = Instant::now();
        self.saboteur
            .keep_up(&mut self.cluster, began + window)
            .await;
        let after = self.completions().await;
        (after - before) / began.elapsed().as_secs_f64()
    }

    async fn completions(&self) -> f64 {
        let mut db = self.connect().await;
        let count: i64 =
            sqlx::query_scalar("select count(*) from task_results where state = 'completed'")
                .fetch_one(&mut db)
                .await
                .expect("results can be counted");
        f64::from(i32::try_from(count).expect("not that many"))
    }

    async fn connect(&self) -> PgConnection {
        until("the database answers", async || {
            database_answers(&self.cluster).await
        })
        .await;
        self.cluster.connect().await.expect("it answered just now")
    }

    /// Nothing goes wrong any more: waits until both replicas answer.
    pub(crate) async fn heal(&mut self) {
        self.saboteur.heal(&mut self.cluster).await;
        for number in 0..self.cluster.replicas.len() {
            let client = self.cluster.replicas[number].admin();
            until("the replica is ready", async || {
                self.cluster.revive();
                client
                    .get_readiness()
                    .await
                    .is_ok_and(|ready| ready.database && ready.migrations)
            })
            .await;
        }
    }

    /// Ends the load, lets everything come to its end, and reads what is left.
    pub(crate) async fn evidence(self) -> (Evidence, u64) {
        let Self {
            mut cluster,
            recorder,
            mut load,
            ..
        } = self;
        let tenant = Tenant::first_of(&cluster.replicas[0]);
        let identity = tenant.client.get_identity().await.expect("an identity");
        while_reviving(&mut cluster, load.stop_making()).await;
        let mut db = cluster.connect().await.expect("the database is whole");
        everything_ends(&mut cluster, &mut db).await;
        while_reviving(&mut cluster, load.stop()).await;
        recorder.flush();
        let mut evidence = Evidence {
            ops: read(&cluster.stage.read("history.jsonl")),
            is_over: true,
            ..Evidence::default()
        };
        let runs = cluster.stage.read("runs");
        evidence
            .ops
            .extend(runs_of_programs(&runs, identity.tenant_id.uuid()));
        evidence.read_database(&mut db).await;
        sqlx::raw_sql("checkpoint")
            .execute(&mut db)
            .await
            .expect("a checkpoint");
        let texts = [SECRET.to_owned(), ADMIN_KEY.to_owned()];
        for folder in [cluster.stage.path(), cluster.place.path()] {
            evidence.secrets_seen.extend(files_with(folder, &texts));
        }
        assert!(
            !files_with(cluster.place.path(), &[MARKER.to_owned()]).is_empty(),
            "the search finds what is there"
        );
        (evidence, recorder.operations())
    }
}

/// Starts again what ends, until something is done.
async fn while_reviving(cluster: &mut Cluster, done: impl Future<Output = ()>) {
    tokio::pin!(done);
    loop {
        tokio::select! {
            () = &mut done => return,
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                cluster.revive();
            }
        }
    }
}

/// Waits until every task and run has ended. What has not is found by the checker.
async fn everything_ends(cluster: &mut Cluster, db: &mut PgConnection) {
    let deadline = Instant::now() + END_PATIENCE;
    until_within(END_PATIENCE * 2, "everything has ended or time is over", async || {
        cluster.revive();
        let open: i64 = sqlx::query_scalar(
            "select (select count(*) from task_positions where state not in ('completed', 'failed', 'cancelled'))
                  + (select count(*) from workflows where completed_at is null)",
        )
        .fetch_one(&mut *db)
        .await
        .expect("the database is whole");
        open == 0 || Instant::now() > deadline
    })
    .await;
}

/// Runs a load, lets a plan of faults happen, heals, and checks.
pub(crate) async fn survive(
    scenario: &str,
    wanted: &Wanted,
    mut running: Running,
    plan: &[Planned],
) -> Outcome {
    let before = running.completions_per_second(WINDOW).await;
    running.saboteur.carry_out(&mut running.cluster, plan).await;
    if let Some(last) = plan.iter().map(|planned| planned.at + planned.lasts).max() {
        let began = plan.last().map_or(Duration::ZERO, |planned| planned.at);
        let rest = Instant::now() + last.saturating_sub(began);
        running.saboteur.keep_up(&mut running.cluster, rest).await;
    }
    running.heal().await;
    let after = running.completions_per_second(WINDOW).await;
    let faults = running.saboteur.done;
    let (evidence, operations) = running.evidence().await;
    let completed = evidence
        .places
        .iter()
        .filter(|place| place.state == "completed")
        .count();
    Outcome {
        scenario: scenario.to_owned(),
        seed: wanted.seed,
        faults,
        operations,
        violations: check(&evidence),
        recovery_ratio: Some((after / before * 100.0).round() / 100.0),
        figures: serde_json::json!({
            "tasks": evidence.tasks.len(), "completed": completed, "runs": evidence.runs.len(),
            "events": evidence.events.len(), "completions_per_second": (before * 10.0).round() / 10.0,
        }),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos() {
    let wanted = Wanted::read("chaos");
    let strength = Strength {
        pause: Duration::from_millis(150),
        slow_percent: 8,
        agents_percent: 12,
    };
    let running = Running::start(wanted.seed, WORKERS, 4, strength).await;
    let sizes = Sizes {
        replicas: 2,
        workers: WORKERS,
        links: running.cluster.links.len(),
    };
    let plan = plan(Dice::new(wanted.seed).fork(3), wanted.length, sizes);
    survive("chaos", &wanted, running, &plan).await.conclude();
}
