//! Making the cluster, once.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use secrecy::{ExposeSecret, SecretString};
use tracing::{info, warn};

use super::binaries::Binaries;
use super::folder::{Folder, write_private};
use super::{NAME, process};

/// Clusters that are being made; one that is left over belongs to a start that did not finish.
const UNFINISHED: &str = "cluster.new-";

/// Makes the cluster in a folder of another name and renames it when it is complete.
///
/// `initdb` writes `PG_VERSION` early, so only the name tells a whole cluster from half of one.
pub(super) fn make(
    folder: &Folder,
    binaries: &Binaries,
    password: &SecretString,
) -> anyhow::Result<()> {
    remove_unfinished(&folder.root)?;
    // A name nobody used before: an initdb of a killed platform may still be writing to its own.
    let suffix = hex::encode(rand::random::<[u8; 4]>());
    let unfinished = folder.root.join(format!("{UNFINISHED}{suffix}"));
    DirBuilder::new()
        .mode(0o700)
        .create(&unfinished)
        .with_context(|| format!("making {}", unfinished.display()))?;
    folder.user.take(&unfinished)?;

    let password_file = folder.root.join("secret.initdb");
    write_private(&password_file, password.expose_secret())?;
    folder.user.take(&password_file)?;
    info!(
        "making a PostgreSQL {} cluster in {}",
        binaries.version.major,
        folder.root.display()
    );
    let made = run_initdb(folder, binaries, &unfinished, &password_file);
    fs::remove_file(&password_file)
        .with_context(|| format!("removing {}", password_file.display()))?;
    made?;

    include_tuning(&unfinished)?;
    fs::rename(&unfinished, &folder.cluster)
        .with_context(|| format!("moving the new cluster to {}", folder.cluster.display()))?;
    folder.sync()
}

fn run_initdb(
    folder: &Folder,
    binaries: &Binaries,
    cluster: &Path,
    password_file: &Path,
) -> anyhow::Result<()> {
    let program = binaries.folder.join("initdb");
    // This thread waits for the program, as `process::command` asks.
    let output = process::command(&program, &folder.user, Signal::SIGTERM)
        .arg("--pgdata")
        .arg(cluster)
        .args([
            "--username",
            NAME,
            "--encoding",
            "UTF8",
            "--locale",
            process::LOCALE,
        ])
        .args(["--auth", "scram-sha-256", "--data-checksums", "--pwfile"])
        .arg(password_file)
        .output()
        .with_context(|| format!("running {}", program.display()))?;
    if !output.status.success() {
        bail!(
            "{} failed ({}):\n{}{}",
            program.display(),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
    }
    Ok(())
}

/// Lets the tuning stand in a file of ours, so that a later release can change it. Settings made
/// with ALTER SYSTEM are read after it, and win.
fn include_tuning(cluster: &Path) -> anyhow::Result<()> {
    let path = cluster.join("postgresql.conf");
    let append = || {
        let mut file = OpenOptions::new().append(true).open(&path)?;
        file.write_all(b"\ninclude_if_exists = '../stint.conf'\n")?;
        file.sync_all()
    };
    append().with_context(|| format!("writing {}", path.display()))
}

fn remove_unfinished(root: &Path) -> anyhow::Result<()> {
    let entries = fs::read_dir(root).with_context(|| format!("reading {}", root.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("reading {}", root.display()))?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            // Left for the next start if its initdb still writes to it.
            if let Err(error) = fs::remove_dir_all(entry.path()) {
                warn!(
                    "an unfinished cluster stays for now: {}: {error}",
                    entry.path().display()
                );
            }
        }
    }
    Ok(())
}
