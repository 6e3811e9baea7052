//! The data folder: what lies where, who may use it, and the password.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::PORT;
use super::user::{self, ServerUser};

/// Longest path of a Unix socket that the kernel takes, without the closing NUL byte.
const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// A data folder that is ours alone, because we hold its lock, and that the server can reach.
pub(super) struct Folder {
    pub(super) root: PathBuf,
    pub(super) cluster: PathBuf,
    pub(super) socket_dir: PathBuf,
    pub(super) user: ServerUser,
    /// Released when the folder is dropped, which the server's thread does last of all.
    _lock: File,
}

impl Folder {
    pub(super) fn open(data_dir: &Path) -> anyhow::Result<Self> {
        make_root(data_dir)?;
        let root = data_dir
            .canonicalize()
            .with_context(|| format!("opening the data folder {}", data_dir.display()))?;
        let lock = take_lock(&root)?;
        let cluster = root.join("cluster");
        let user = ServerUser::choose(&cluster)?;
        user::check_entry(&root, &user)?;
        let socket_dir = make_socket_dir(&root, &user)?;
        Ok(Self {
            root,
            cluster,
            socket_dir,
            user,
            _lock: lock,
        })
    }

    /// The major version the cluster was made with, or nothing if there is no cluster yet.
    pub(super) fn cluster_major(&self) -> anyhow::Result<Option<u32>> {
        if !self.cluster.exists() {
            return Ok(None);
        }
        let path = self.cluster.join("PG_VERSION");
        let text = fs::read_to_string(&path).with_context(|| {
            format!(
                "{} exists but is no PostgreSQL cluster; move it away, or restore it from a backup",
                self.cluster.display()
            )
        })?;
        let major = text
            .trim()
            .parse()
            .with_context(|| format!("{} should hold a version number", path.display()))?;
        Ok(Some(major))
    }

    /// The password of the database user, made at the first start.
    pub(super) fn password(&self, cluster_exists: bool) -> anyhow::Result<SecretString> {
        let path = self.root.join("secret");
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(SecretString::from(text.trim())),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("reading {}", path.display()));
            }
        }
        ensure!(
            !cluster_exists,
            "{} is missing or empty; it holds the password of the private database, so restore \
             it from the backup of this folder",
            path.display(),
        );
        let password = SecretString::from(hex::encode(rand::random::<[u8; 32]>()));
        // Complete under its final name before the cluster that needs it can exist.
        let half_done = self.root.join("secret.new");
        write_private(&half_done, password.expose_secret())?;
        fs::rename(&half_done, &path).with_context(|| format!("writing {}", path.display()))?;
        self.sync()?;
        Ok(password)
    }

    /// Writes the file that the cluster's own configuration includes.
    pub(super) fn write_tuning(&self, text: &str) -> anyhow::Result<()> {
        let path = self.root.join("stint.conf");
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(0o644))
            .with_context(|| format!("opening {} to the server", path.display()))
    }

    /// Makes renames in this folder survive a power cut.
    pub(super) fn sync(&self) -> anyhow::Result<()> {
        File::open(&self.root)
            .and_then(|folder| folder.sync_all())
            .with_context(|| format!("writing {} to disk", self.root.display()))
    }
}

/// Writes a file that only its owner can read, and waits until it is on disk.
pub(super) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().with_context(|| format!("writing {}", path.display()))
}

fn make_root(data_dir: &Path) -> anyhow::Result<()> {
    if data_dir.is_dir() {
        return Ok(());
    }
    let make = || {
        fs::create_dir_all(data_dir)?;
        // Others may pass through, as the server's user must, but not look around. What is
        // secret in here is closed by its own mode.
        fs::set_permissions(data_dir, Permissions::from_mode(0o711))
    };
    make().with_context(|| {
        format!(
            "cannot make the data folder {}; choose one this user can write to, or set \
             DATABASE_URL to use a PostgreSQL server that runs elsewhere",
            data_dir.display()
        )
    })
}

fn take_lock(root: &Path) -> anyhow::Result<File> {
    let path = root.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("opening {}; is the folder writable?", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder)
                .with_context(|| format!("reading {}", path.display()))?;
            bail!(
                "the data folder {} is in use by another platform (process {}); its private \
                 database serves one platform only. To run several replicas, set DATABASE_URL \
                 to a PostgreSQL server they share; to run a second, separate platform, give it \
                 a data folder of its own",
                root.display(),
                if holder.trim().is_empty() {
                    "unknown"
                } else {
                    holder.trim()
                },
            );
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| {
                format!(
                    "locking {}; the data folder must be on a local disk",
                    path.display()
                )
            });
        }
    }
    // Only for the sentence above; the lock itself is what counts.
    let name_us = |file: &mut File| {
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        write!(file, "{}", std::process::id())
    };
    name_us(&mut file).with_context(|| format!("writing {}", path.display()))?;
    Ok(file)
}

/// Makes the folder of the socket: inside the data folder, or, where the path would be too long
/// for the kernel, in the temporary folder under a name that depends on the data folder.
fn make_socket_dir(root: &Path, user: &ServerUser) -> anyhow::Result<PathBuf> {
    let digest = hex::encode(&Sha256::digest(root.as_os_str().as_encoded_bytes())[..8]);
    let name = format!("stint-{digest}");
    let places = [
        root.join("run"),
        std::env::temp_dir().join(&name),
        Path::new("/tmp").join(&name),
    ];
    let Some(place) = places.into_iter().find(|place| socket_fits(place)) else {
        bail!(
            "no folder is short enough for the socket of {}",
            root.display()
        );
    };
    match DirBuilder::new().mode(0o700).create(&place) {
        Ok(()) => user.take(&place)?,
        // Ours since we hold the lock, though a copied or restored folder may have other owners.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && place.starts_with(root) => {
            fs::set_permissions(&place, Permissions::from_mode(0o700))
                .with_context(|| format!("closing {} to others", place.display()))?;
            user.take(&place)?;
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("making {}", place.display())),
    }
    // In a shared temporary folder somebody else may have been first, to listen in our place.
    let found =
        fs::symlink_metadata(&place).with_context(|| format!("looking at {}", place.display()))?;
    ensure!(
        found.is_dir() && found.uid() == user.uid && found.mode() & 0o077 == 0,
        "{} must be a folder of user {} that nobody else can enter (mode 0700), because the \
         database listens there; remove it, and it is made anew",
        place.display(),
        user.name,
    );
    user::check_entry(&place, user)?;
    Ok(place)
}

fn socket_fits(folder: &Path) -> bool {
    let socket = folder.join(format!(".s.PGSQL.{PORT}"));
    socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_may_have_as_many_bytes_as_the_kernel_takes() {
        let name = format!("/.s.PGSQL.{PORT}").len();
        let longest = format!("/{}", "x".repeat(SOCKET_PATH_BYTES_MAX - name - 1));
        assert!(socket_fits(Path::new(&longest)));
        assert!(!socket_fits(Path::new(&format!("{longest}x"))));
    }

    #[test]
    fn a_folder_in_use_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let held = take_lock(folder.path()).unwrap();
        let refusal = take_lock(folder.path()).unwrap_err().to_string();
        assert!(refusal.contains("DATABASE_URL"), "{refusal}");
        assert!(
            refusal.contains(&std::process::id().to_string()),
            "{refusal}"
        );
        drop(held);
        take_lock(folder.path()).unwrap();
    }

    #[test]
    fn a_secret_is_closed_to_others_even_if_it_was_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        write_private(&path, "new").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }
}
