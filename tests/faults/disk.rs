//! The disk of the database is full: nothing that was acknowledged is lost, and work goes on when there is room.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::Uid;
use serde_json::json;
use stint_protocol::CreateTask;
use stint_protocol::client::ClientError;
use stint_tests::holder::{Holder, completion};
use stint_tests::place::{Place, until};
use stint_tests::processes::Tenant;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_full() {
    let wanted = Wanted::read("disk_full");
    if !Uid::effective().is_root() {
        say("disk_full: not run, because only root can make a small disk");
        return;
    }
    let place = Place::new();
    let disk = SmallDisk::mount(place.path());
    let cluster = Cluster::start_in(place, Dice::new(wanted.seed)).await;
    let tenant = Tenant::first_of(&cluster.replicas[0]);
    let mut kept = vec![create(&tenant, 0).await.expect("there is room").id];

    let ballast = disk.fill();
    let (mut refused, mut violations, mut number) = (0, Vec::new(), 0);
    while refused < REFUSALS && number < TASKS_MAX {
        number += 1;
        match create(&tenant, number).await {
            Ok(task) => kept.push(task.id),
            Err(error) => {
                refused += 1;
                if error.status() != Some(503) {
                    violations.push(format!("with a full disk a create was answered {error}"));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    if refused == 0 {
        violations.push(format!("{number} tasks fitted on the full disk"));
    }
    drop(ballast);
    until("there is room again", async || {
        create(&tenant, number + 1).await.is_ok()
    })
    .await;

    let holder = Holder::register(&tenant, "heir").await;
    for id in &kept {
        if let Err(error) = tenant.client.get_task(*id).await {
            violations.push(format!("task {id} was acknowledged and is lost: {error}"));
        }
    }
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
        scenario: "disk_full".to_owned(),
        seed: wanted.seed,
        faults: 1,
        operations: number as u64,
        violations,
        recovery_ratio: None,
        figures: json!({ "kept": kept.len(), "refused": refused }),
    }
    .conclude();
}
