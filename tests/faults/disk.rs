//! The disk of the database is full: nothing that was acknowledged is lost, and work goes on when there is room.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::Uid;
use serde_json::json;
use stint_protocol::client::ClientError;
use stint_protocol::{CreateTask, TaskId};
use stint_tests::holder::{Holder, completion};
use stint_tests::place::{Place, until};
use stint_tests::processes::{Stage, Tenant};
use stint_tests::{new_task, object};

use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::wanted::{Outcome, Wanted, say};

/// Room for an empty database and what it writes ahead, and not much more.
const DISK_MEGABYTES: u32 = 320;

/// Tasks of this many bytes are made until the disk is full.
const TASK_BYTES: usize = 200_000;

/// More than fit.
const TASKS_MAX: usize = 2_000;

/// Refusals that are looked at while the disk is full.
const REFUSALS: usize = 20;

/// A small disk in memory. It goes when this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path) -> Self {
        let size = format!("size={DISK_MEGABYTES}m,mode=755");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(path)
            .status();
        assert!(mount.is_ok_and(|status| status.success()), "root can mount");
        Self(path.to_owned())
    }

    /// Takes all the room there is, and gives it back when the answer is dropped.
    fn fill(&self) -> Ballast {
        let path = self.0.join("ballast");
        let mut file = File::create(&path).expect("there is room for a name");
        let piece = vec![0; 64 * 1024];
        while file.write_all(&piece).is_ok() {}
        Ballast(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
        drop(std::fs::remove_dir(&self.0));
    }
}

struct Ballast(PathBuf);

impl Drop for Ballast {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

async fn create(tenant: &Tenant, number: usize) -> Result<stint_protocol::Task, ClientError> {
    let task = CreateTask {
        input: Some(object(json!({ "text": "x".repeat(TASK_BYTES) }))),
        role: Some("alone".to_owned()),
        request_id: Some(format!("large-{number}")),
        ..new_task("large")
    };
    tenant.client.create_task(&task).await
}

/// What was made on a disk that filled up.
struct Made {
    kept: Vec<TaskId>,
    asked: usize,
    refused: usize,
    violations: Vec<String>,
}

/// Makes tasks until enough were refused because the disk is full.
async fn fill_up(tenant: &Tenant) -> Made {
    let mut made = Made {
        kept: Vec::new(),
        asked: 0,
        refused: 0,
        violations: Vec::new(),
    };
    while made.refused < REFUSALS && made.asked < TASKS_MAX {
        made.asked += 1;
        match create(tenant, made.asked).await {
            Ok(task) => made.kept.push(task.id),
            Err(error) => {
                made.refused += 1;
                if error.status() != Some(503) {
                    let found = format!("with a full disk a create was answered {error}");
                    made.violations.push(found);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    if made.refused == 0 {
        let found = format!("{} tasks fitted on the full disk", made.asked);
        made.violations.push(found);
    }
    made
}

/// There is room again: work goes on, and whatever was acknowledged is there.
async fn conclude(scenario: &str, wanted: &Wanted, tenant: &Tenant, mut made: Made) {
    until("there is room again", async || {
        create(tenant, made.asked + 1).await.is_ok()
    })
    .await;
    for id in &made.kept {
        if let Err(error) = tenant.client.get_task(*id).await {
            let found = format!("task {id} was acknowledged and is lost: {error}");
            made.violations.push(found);
        }
    }
    let holder = Holder::register(tenant, "heir").await;
    let task = holder
        .client
        .claim_task(&holder.claim())
        .await
        .expect("a claim")
        .expect("there are tasks");
    holder
        .client
        .complete_task(task.id, &completion(task.attempt, "done"))
        .await
        .expect("it holds the task");
    Outcome {
        scenario: scenario.to_owned(),
        seed: wanted.seed,
        faults: 1,
        operations: made.asked as u64,
        violations: made.violations,
        recovery_ratio: None,
        figures: json!({ "kept": made.kept.len(), "refused": made.refused }),
    }
    .conclude();
}

/// Whether a small disk can be made here.
fn is_root(scenario: &str) -> bool {
    let is_root = Uid::effective().is_root();
    if !is_root {
        say(&format!(
            "{scenario}: not run, because only root can make a small disk"
        ));
    }
    is_root
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_full() {
    let wanted = Wanted::read("disk_full");
    if !is_root("disk_full") {
        return;
    }
    let place = Place::new();
    let disk = SmallDisk::mount(place.path());
    let cluster = Cluster::start_in(place, Dice::new(wanted.seed)).await;
    let tenant = Tenant::first_of(&cluster.replicas[0]);
    let first = create(&tenant, 0).await.expect("there is room").id;

    let ballast = disk.fill();
    let mut made = fill_up(&tenant).await;
    made.kept.push(first);
    drop(ballast);
    conclude("disk_full", &wanted, &tenant, made).await;
}

/// The data folder of a platform with a private database is full, also while the platform dies and is started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_folder_full() {
    let wanted = Wanted::read("data_folder_full");
    if !is_root("data_folder_full") {
        return;
    }
    let stage = Stage::new();
    let folder = stage.file("small");
    std::fs::create_dir(&folder).expect("our own folder");
    let disk = SmallDisk::mount(&folder);
    let data = folder.join("data").display().to_string();
    let mut platform = stage
        .replica("platform", &[("STINT_DATA_DIR", data.as_str())])
        .await;
    let tenant = Tenant::first_of(&platform);
    let first = create(&tenant, 0).await.expect("there is room").id;

    let ballast = disk.fill();
    let mut made = fill_up(&tenant).await;
    made.kept.push(first);
    platform.kill9();
    platform.revive();
    until("it serves, or says why it does not", async || {
        let is_ready = tenant.client.get_readiness().await;
        is_ready.is_ok_and(|ready| ready.database)
            || platform.log().to_lowercase().contains("no space left")
    })
    .await;
    drop(ballast);
    until("it serves again", async || {
        // As a service manager does.
        platform.revive();
        let is_ready = tenant.client.get_readiness().await;
        is_ready.is_ok_and(|ready| ready.database && ready.migrations)
    })
    .await;
    conclude("data_folder_full", &wanted, &tenant, made).await;
}
